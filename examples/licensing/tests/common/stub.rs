//! A stand-in for the organization service: it counts, and waits where it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use example_service::{Server, serve};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

pub(crate) struct Stub {
    shared: Arc<Shared>,
    url: String,
    server: std::sync::Mutex<Option<Server>>,
}

struct Shared {
    calls: AtomicU64,
    forgetful: AtomicBool,
    name: Mutex<String>,
    correlation: Mutex<Option<String>>,
    /// A permit lets one call be answered.
    gate: Semaphore,
}

impl Stub {
    /// Starts one that knows every organization.
    pub(crate) async fn start() -> Self {
        Self::with_permits(Semaphore::MAX_PERMITS).await
    }

    /// Starts one whose calls wait for [`let_answer`](Self::let_answer), after they have read what they will answer.
    pub(crate) async fn gated() -> Self {
        Self::with_permits(0).await
    }

    async fn with_permits(permits: usize) -> Self {
        let (calls, correlation) = (AtomicU64::new(0), Mutex::new(None));
        let name = Mutex::new("OptimaGrowth".to_owned());
        let (forgetful, gate) = (AtomicBool::new(false), Semaphore::new(permits));
        let shared = Arc::new(Shared { calls, forgetful, name, correlation, gate });
        let router = Router::new().route("/v1/organization/{id}", get(find)).with_state(Arc::clone(&shared));
        let server = serve(0, router).await.unwrap();
        let url = format!("http://{}/", server.address());
        Self { shared, url, server: std::sync::Mutex::new(Some(server)) }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Is gone, as if it had been killed.
    pub(crate) fn stop(&self) {
        self.server.lock().unwrap().take();
    }

    /// Knows no organization any more.
    pub(crate) fn forget_all(&self) {
        self.shared.forgetful.store(true, SeqCst);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(SeqCst)
    }

    pub(crate) async fn rename(&self, name: &str) {
        *self.shared.name.lock().await = name.to_owned();
    }

    pub(crate) async fn last_correlation(&self) -> Option<String> {
        self.shared.correlation.lock().await.clone()
    }

    /// Waits until a call has read what it will answer.
    pub(crate) async fn called(&self, times: u64) {
        let called = async {
            while self.calls() < times {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), called).await.expect("called within 5 s");
    }

    pub(crate) fn let_answer(&self) {
        self.shared.gate.add_permits(1);
    }
}

async fn find(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, axum::Json<Value>) {
    let correlation = headers.get("tmx-correlation-id").map(|value| value.to_str().unwrap().to_owned());
    *shared.correlation.lock().await = correlation;
    let name = shared.name.lock().await.clone();
    shared.calls.fetch_add(1, SeqCst);
    shared.gate.acquire().await.unwrap().forget();
    if shared.forgetful.load(SeqCst) {
        return (StatusCode::NOT_FOUND, axum::Json(json!({"errors": []})));
    }
    let found = json!({"id": id, "name": name, "contactName": "Admin", "contactEmail": "a@example.com", "contactPhone": "888888888"});
    (StatusCode::OK, axum::Json(found))
}
