//! What the suite is told of the binder and its broker: `KAFKA_URL=host:port`, and `DEMO_BROKERCTL` is the program that stops and starts it.
//!
//! For the cases of the network the broker tells clients of its listener `KAFKA_PROXY_TARGET=host:port` that it is at `KAFKA_PROXY_URL=host:port`,
//! where the suite puts a proxy.

use std::time::Duration;

use binder_core::testkit::suite::{Broker, Harness, program};
use serde_json::json;

pub(crate) fn harness() -> Harness {
    let url = std::env::var("KAFKA_URL").unwrap_or_default();
    let settings =
        json!({ "topic.metadata.refresh.interval.ms": 2000, "heartbeat.interval.ms": 200, "fetch.wait.max.ms": 50 });
    let slow = json!({ "configuration": { "max.poll.interval.ms": 6000, "session.timeout.ms": 6000 } });
    let mut harness = Harness::new("kafka", || {
        let broker = Broker::new(binder_kafka::factory());
        match std::env::var("DEMO_BROKERCTL") {
            Ok(control) => broker.with_control(program(control, "kafka")),
            Err(_) => broker,
        }
    });
    if url.is_empty() {
        harness = harness.unavailable("KAFKA_URL is not set");
    }
    if let (Ok(listen), Ok(target)) = (std::env::var("KAFKA_PROXY_URL"), std::env::var("KAFKA_PROXY_TARGET")) {
        harness = harness.proxied(listen, target, |address| {
            let limits = json!({
                "socket.timeout.ms": 2000,
                "socket.connection.setup.timeout.ms": 2000,
                "api.version.request.timeout.ms": 2000,
            });
            json!({ "brokers": address.to_string(), "configuration": limits })
        });
    }
    harness
        .section(json!({ "brokers": url, "configuration": settings }))
        .too_large(1_100_000)
        .consumer_timeout(Duration::from_secs(6), slow)
}
