//! The events since the start, newest last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use example_service::Json;
use serde::Serialize;
use serde_json::Value;

const KEPT: usize = 1000;

/// The last 1,000 events, and how many there were; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Events>>);

#[derive(Clone, Debug, Default, Serialize)]
struct Events {
    count: u64,
    events: VecDeque<Value>,
}

impl Log {
    pub(crate) fn add(&self, event: Value) {
        let mut log = self.lock();
        log.count += 1;
        if log.events.len() == KEPT {
            log.events.pop_front();
        }
        log.events.push_back(event);
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /events`.
pub(crate) fn routes(log: Log) -> Router {
    let events = async |State(log): State<Log>| Json(log.lock().clone());
    Router::new().route("/events", get(events)).with_state(log)
}
