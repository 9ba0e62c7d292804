//! One node of three is lost: `RABBIT_URL` names all nodes, and `DEMO_BROKERCTL` is the program that kills them.

use std::collections::BTreeSet;
use std::time::Duration;

use binder_core::binder::{Binder, BinderHealth, Consumer, ConsumerBinding, Parcel};
use binder_core::config::{ConsumerProperties, Section, Start};
use serde_json::json;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::support::*;

#[macro_use]
mod support;

fn main() {
    let cluster = std::env::var("RABBIT_URL").is_ok_and(|url| url.contains(','));
    support::run_if(cluster, &["RABBIT_URL", "DEMO_BROKERCTL"], cases![a_lost_node_takes_nothing_with_it]);
}

/// What is sent at last.
const LAST: &str = "last";

fn stream(destination: &str, start: Start) -> ConsumerBinding {
    let mut binding = input(destination, None);
    binding.section = Section::new("rabbit", json!({ "container-type": "stream" }));
    binding.properties = ConsumerProperties::default().start(start);
    binding
}

async fn receive_settled(reader: &mut dyn Consumer, count: usize) -> Vec<Parcel> {
    let received = receive(reader, count).await;
    settle(reader, received.last().expect("some"));
    received
}

async fn until_last(reader: &mut dyn Consumer) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|text| text != LAST) {
        let received = receive(reader, 1).await;
        settle(reader, &received[0]);
        seen.extend(texts(&received));
    }
    seen
}

async fn control(verb: &str, node: &str) {
    let program = std::env::var("DEMO_BROKERCTL").expect("checked by run");
    let done = Command::new(program).args(["brokers", verb, node]).status().await.expect("the program is there");
    assert!(done.success(), "{node} did not {verb}");
}

/// The receiver's node is lost, which also leads the queue: it was declared there.
async fn a_lost_node_takes_nothing_with_it(broker: Broker) {
    let second_first = broker.reordered(1);
    let (sending, receiving) = (broker.binder(), second_first.binder());
    let destination = name("cluster");
    let mut binding = input(&destination, Some("g"));
    binding.section =
        Section::new("rabbit", json!({ "quorum": { "enabled": true }, "dlq-quorum": { "enabled": true } }));
    let mut receiver = consumer_of(&receiving, &binding).await;
    let mut reader = consumer_of(&receiving, &stream(&destination, Start::Latest)).await;
    let sender = producer(&sending, &destination).await;
    assert!(send_in_order(&*sender, &numbers(200)).await.iter().all(Result::is_ok));

    let mut read = texts(&receive_settled(&mut *reader, 100).await);
    control("kill", "rabbit-2").await;
    // until there is another leader the broker may refuse: whoever sends tries again
    for number in &numbers(400)[200..] {
        let begun = Instant::now();
        while let Err(refused) = send(&*sender, number).await {
            assert!(refused.is_retryable() && begun.elapsed() < SOON, "{number}: {refused:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 400 {
        // what was not settled before the loss comes again
        let received = receive(&mut *receiver, 1).await;
        settle(&mut *receiver, &received[0]);
        seen.insert(text(&received[0]));
    }
    assert_eq!(seen, numbers(400).into_iter().collect());
    // the reader of a stream goes on behind what it had: it sees what the stream holds, each once
    send(&*sender, LAST).await.expect("sent");
    let mut fresh = consumer_of(&sending, &stream(&destination, Start::Earliest)).await;
    let held = until_last(&mut *fresh).await;
    read.extend(until_last(&mut *reader).await);
    assert_eq!(read, held);
    assert_eq!(receiving.health(), BinderHealth::Up);
    control("start", "rabbit-2").await;
}
