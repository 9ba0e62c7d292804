//! The service on memory, and its user.

#![allow(dead_code, reason = "each test program uses a part")]

use binder_core::binder::{Binder, ConsumerBinding};
use binder_core::memory::MemoryBinder;
use binder_core::prelude::{Config, Message};
use example_service::{Binders, Running};
use organization::Settings;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;

const DESTINATION: &str = "orgChangeTopic";
pub(crate) const OSTOCK: &str = "e6a625cc-718b-48c2-ac76-1dfdff9a531e";
pub(crate) const WITH_LICENSE: &str = "d898a142-de44-466c-8c88-9ceb2c2429d3";

/// The service, and the broker on which it announces.
pub(crate) struct Fixture {
    service: Running,
    broker: MemoryBinder,
    http: Client,
}

/// An event as it is on the broker.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) key: String,
    pub(crate) header: String,
    pub(crate) payload: String,
}

/// Starts the service with its own `stream.yaml`.
pub(crate) async fn start() -> Fixture {
    start_on(MemoryBinder::new(), "stream: {}").await
}

/// Starts the service on a broker that takes no more messages.
pub(crate) async fn start_on_a_full_broker() -> Fixture {
    let broker = MemoryBinder::with_retention(1);
    let mut idle = ConsumerBinding::new(DESTINATION);
    idle.group = Some("idle".to_owned());
    drop(broker.bind_consumer(&idle).await.unwrap());
    broker.publish(DESTINATION, Message::new("the one that is kept for the idle group")).unwrap();
    start_on(broker, "stream: { bindings: { output: { producer: { send-timeout: 100ms } } } }").await
}

async fn start_on(broker: MemoryBinder, over: &str) -> Fixture {
    let binders = Binders::new().with("memory", broker.clone());
    let config = Config::builder().yaml(include_str!("../../stream.yaml")).yaml(over).build().unwrap();
    let settings = Settings { common: Default::default(), port: 0, database_url: "sqlite::memory:".to_owned() };
    let service = organization::start(settings, config, binders).await.unwrap();
    Fixture { service, broker, http: Client::new() }
}

impl Fixture {
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.http.put(self.url(path))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(self.url(path))
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.http.delete(self.url(path))
    }

    pub(crate) fn patch(&self, path: &str) -> RequestBuilder {
        self.http.patch(self.url(path))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.address())
    }

    /// Returns all that was announced.
    pub(crate) fn events(&self) -> Vec<Event> {
        let read = |message: &Message<_>| Event {
            key: message.key_str().unwrap_or_default().to_owned(),
            header: message
                .headers()
                .get("tmx-correlation-id")
                .and_then(|id| id.as_str())
                .unwrap_or_default()
                .to_owned(),
            payload: text(message.payload().unwrap()),
        };
        self.broker.messages(DESTINATION).iter().map(read).collect()
    }

    pub(crate) async fn stop(self) {
        self.service.stop().await.unwrap();
    }
}

fn text(bytes: &impl AsRef<[u8]>) -> String {
    String::from_utf8(bytes.as_ref().to_vec()).unwrap()
}

/// Sends a request, and returns status and body: JSON, or null if there is none.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

/// Sends a request that is an error, and returns its status; the body must be a JSON error that agrees with it.
pub(crate) async fn refused(request: RequestBuilder) -> StatusCode {
    let (status, body) = answer(request).await;
    let name = status.canonical_reason().unwrap().to_uppercase().replace(' ', "_");
    assert_eq!(body["metadata"]["status"], name, "{body}");
    assert!(body["errors"][0]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert!(status.is_client_error() || status.is_server_error());
    status
}
