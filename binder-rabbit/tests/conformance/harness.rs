//! What the suite is told of the binder and its broker: `RABBIT_URL=amqp://…`, and `DEMO_BROKERCTL` is the program that stops and starts it.

use binder_core::testkit::suite::{Broker, Feature, Harness, Place, program};
use serde_json::json;

/// Divides a URL into what stands before `host:port`, this, and what follows.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let begin = url.find('@').map(|at| at + 1).or_else(|| url.find("://").map(|at| at + 3))?;
    let end = url[begin..].find('/').map_or(url.len(), |length| begin + length);
    Some((&url[..begin], &url[begin..end], &url[end..]))
}

pub(crate) fn harness() -> Harness {
    let url = std::env::var("RABBIT_URL").unwrap_or_default();
    let mut harness = Harness::new("rabbit", || {
        let broker = Broker::new(binder_rabbit::factory());
        match std::env::var("DEMO_BROKERCTL") {
            Ok(control) => broker.with_control(program(control, "rabbit")),
            Err(_) => broker,
        }
    });
    if url.is_empty() {
        harness = harness.unavailable("RABBIT_URL is not set");
    }
    if let Some((before, target, after)) = parts(&url) {
        let (before, after) = (before.to_owned(), after.to_owned());
        harness = harness.proxied("127.0.0.1:0", target, move |address| {
            let reconnect = json!({ "initial": "50ms", "max": "500ms" });
            json!({ "url": format!("{before}{address}{after}"), "heartbeat": "1s", "connect-timeout": "1s", "reconnect": reconnect })
        });
    }
    harness
        .section(json!({ "url": url, "max-message-size": 1_000_000, "consumer-timeout": "0s" }))
        .dead_letters(|destination, group| Place::group(destination, format!("{group}.dlq")))
        .too_large(1_000_001)
        .ordered(json!({ "single-active-consumer": true }))
        .lacks(Feature::History, "a queue has what came after it was declared")
        .lacks(Feature::Rebalance, "members of a group compete for one queue; partitions are assigned by hand")
        .lacks(Feature::DuplicateHeaders, "AMQP has one header of a name")
}
