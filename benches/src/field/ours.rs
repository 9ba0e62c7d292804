//! The library, as a service would use it.

use std::time::Duration;

use binder_core::prelude::*;
use futures::StreamExt;
use serde_json::Value;

use super::event::{Event, Source};
use super::player::{Consumer, Producer, WINDOW};
use super::sink::Sink;

pub const GROUP: &str = "bench";

pub async fn handle(event: Event, State(sink): State<Sink>) {
    sink.take(event);
}

/// A handler that takes time.
pub async fn handle_slowly(event: Event, State((sink, pause)): State<(Sink, Duration)>) {
    tokio::time::sleep(pause).await;
    sink.take(event);
}

/// Something that receives, until it is closed.
pub struct Receiver {
    pub app: Application,
}

impl Consumer for Receiver {
    async fn close(self) {
        self.app.shutdown().await.expect("it ends");
    }
}

pub struct Sender {
    pub app: Application,
    pub output: Output<Event>,
    pub batch: bool,
}

impl Producer for Sender {
    async fn send(&mut self, source: Source) {
        let output = &self.output;
        match source {
            Source::Ready { events, end, .. } if self.batch => {
                output.send_all(events.iter().cycle().take(end)).await.expect("sent");
            }
            source => {
                let sends = source.map(async |event| output.send(&event).await);
                sends.buffer_unordered(WINDOW).for_each(async |sent| sent.expect("sent")).await;
            }
        }
    }

    async fn close(self) {
        self.app.shutdown().await.expect("it ends");
    }
}

/// Puts `PATH=VALUE` where it belongs: a path begins with `producer` or `consumer`.
pub fn put(producer: &mut Value, consumer: &mut Value, set: &str) {
    let (path, value) = set.split_once('=').expect("it was checked");
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    let (side, path) = path.split_once('/').expect("a path below producer or consumer");
    let mut place = match side {
        "producer" => producer,
        "consumer" => consumer,
        _ => panic!("{set} is neither of the producer nor of the consumer"),
    };
    for key in path.split('/') {
        place = &mut place[key];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setting_goes_to_its_place() {
        let (mut producer, mut consumer) = (json!({}), json!({ "prefetch": 1 }));
        for set in
            ["producer/kafka/linger=5ms", "consumer/kafka/configuration/fetch.min.bytes=10", "consumer/prefetch=7"]
        {
            put(&mut producer, &mut consumer, set);
        }
        assert_eq!(producer, json!({ "kafka": { "linger": "5ms" } }));
        assert_eq!(consumer, json!({ "kafka": { "configuration": { "fetch.min.bytes": 10 } }, "prefetch": 7 }));
    }
}
