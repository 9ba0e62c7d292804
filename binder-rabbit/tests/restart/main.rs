//! The broker is restarted under load: `RABBIT_URL=amqp://…`, and `DEMO_BROKERCTL` is the program that stops and starts it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use binder_core::binder::{Binder, BinderHealth, ConsumerBinding, Producer, ProducerBinding, Received};
use binder_core::config::{Section, Start};
use binder_rabbit::RabbitBinder;
use bytes::BytesMut;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::support::*;

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

fn main() {
    support::run_in_turn(
        &["RABBIT_URL", "DEMO_BROKERCTL"],
        cases![every_acknowledged_send_survives_a_restart, a_broker_that_falls_silent_is_not_up],
    );
}

/// Index of the reader of the stream.
const STREAM: usize = 2;

/// What is sent to the stream at last.
const LAST: &str = "last";

/// Everything that is in the stream, in its order. It may lack what was acknowledged because queues took it.
async fn whole_stream(binder: &RabbitBinder, destination: &str, producer: &dyn Producer) -> Vec<String> {
    let mut binding = stream(destination);
    binding.properties.start = Some(Start::Earliest);
    let mut reader = consumer_of(binder, &binding).await;
    send(producer, LAST).await.expect("sent");
    let mut all = Vec::new();
    while all.last().is_none_or(|text| text != LAST) {
        let received = receive(&mut *reader, 1).await;
        settle(&mut *reader, &received[0]);
        all.extend(texts(&received));
    }
    all
}

fn stream(destination: &str) -> ConsumerBinding {
    let mut binding = input(destination, None);
    binding.section = Section::new("consumer.rabbit", json!({ "container-type": "stream" }));
    binding
}

async fn every_acknowledged_send_survives_a_restart(broker: Broker) {
    let binder = broker.binder();
    let destination = name("restart");
    let bindings = [input(&destination, Some("one")), input(&destination, Some("two")), stream(&destination)];
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let mut readers = Vec::new();
    for (index, binding) in bindings.iter().enumerate() {
        let count = if binding.group.is_some() { 2 } else { 1 };
        for _ in 0..count {
            let mut consumer = consumer_of(&binder, binding).await;
            let seen_in = seen_in.clone();
            readers.push(tokio::spawn(async move {
                let mut arena = BytesMut::new();
                loop {
                    let Received::Batch(view) = consumer.recv_many(50).await.expect("received") else { continue };
                    let parcels: Vec<_> = (0..view.len()).map(|index| view.detach(index, &mut arena)).collect();
                    drop(view);
                    for parcel in &parcels {
                        settle(&mut *consumer, parcel);
                        let _ = seen_in.send((index, text(parcel)));
                    }
                }
            }));
        }
    }
    let mut binding = ProducerBinding::new(destination.as_str());
    // A broker may be down for long on a busy machine; the claim is about loss, not about the deadline.
    binding.properties.send_timeout = Duration::from_secs(150);
    let producer = producer_of(&binder, &binding).await;
    let sending = {
        let producer = Arc::clone(&producer);
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for round in 0..400 {
                let payloads: Vec<_> = (0..50).map(|number| format!("{round}/{number}")).collect();
                let answers = send_all(&*producer, &payloads).await;
                assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
                acknowledged.extend(payloads);
                sleep(Duration::from_millis(5)).await;
            }
            acknowledged
        })
    };
    sleep(Duration::from_millis(500)).await;
    let program = std::env::var("DEMO_BROKERCTL").expect("checked by run");
    for verb in ["stop", "start"] {
        let done =
            Command::new(&program).args(["brokers", verb, "rabbit"]).status().await.expect("the program is there");
        assert!(done.success(), "the broker did not {verb}");
    }
    let acknowledged: BTreeSet<String> = sending.await.expect("sent").into_iter().collect();
    let mut missing: BTreeSet<_> =
        acknowledged.iter().flat_map(|text| [(0, text.clone()), (1, text.clone())]).collect();
    let mut streamed = Vec::new();
    while !missing.is_empty() {
        let next = timeout(SOON, seen.recv()).await.unwrap_or_else(|_| panic!("{} are missing", missing.len()));
        let next = next.expect("readers run");
        if next.0 == STREAM {
            streamed.push(next.1);
        } else {
            missing.remove(&next);
        }
    }
    for binding in &bindings {
        assert_eq!(wait_status(&binding.status, |health| *health == BinderHealth::Up).await, BinderHealth::Up);
    }
    let expected = whole_stream(&binder, &destination, &*producer).await;
    while streamed.last().is_none_or(|text| text != LAST) {
        let next = timeout(SOON, seen.recv()).await.unwrap_or_else(|_| panic!("{} of the stream", streamed.len()));
        streamed.extend(next.filter(|(reader, _)| *reader == STREAM).map(|(_, text)| text));
    }
    assert_eq!(streamed, expected, "each once and in order: all were settled before the restart, or not read");
    let raw = broker.raw().await;
    for group in ["one", "two"] {
        raw.wait_for(&format!("{destination}.{group}"), |seen| seen.is_some_and(|(_, consumers)| consumers == 2)).await;
    }
    assert_eq!(binder.health(), BinderHealth::Up);
    readers.into_iter().for_each(|reader| reader.abort());
}

/// Lets the broker go on when it is dropped, whatever a case has come to.
struct Frozen;

impl Frozen {
    fn broker() -> Self {
        let frozen = Self;
        brokers("freeze");
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        brokers("thaw");
    }
}

fn brokers(verb: &str) {
    let program = std::env::var("DEMO_BROKERCTL").expect("checked by run");
    let done = std::process::Command::new(program).args(["brokers", verb, "rabbit"]).status();
    assert!(done.is_ok_and(|done| done.success()) || std::thread::panicking(), "the broker did not {verb}");
}

/// Every connection stays open, and nothing comes over it.
async fn a_broker_that_falls_silent_is_not_up(broker: Broker) {
    let mut inputs = Vec::new();
    for heartbeat in ["0s", "2s"] {
        let binder = broker.binder_with(json!({ "heartbeat": heartbeat }));
        let binding = input(&name("silent"), Some("g"));
        let mut consumer = consumer_of(&binder, &binding).await;
        let receiving = tokio::spawn(async move {
            loop {
                consumer.recv_many(10).await.expect("received");
            }
        });
        inputs.push((binder, binding.status.clone(), receiving));
    }
    let silence = |input: usize| inputs[input].1.silence().expect("it tells");
    let down = async |input: usize| {
        let mut seen = inputs[input].1.watch();
        let down = timeout(Duration::from_secs(25), seen.wait_for(|health| *health != BinderHealth::Up)).await;
        down.expect("it is noticed").expect("the status lives").clone()
    };
    for input in 0..2 {
        assert!(silence(input) < Duration::from_secs(6), "{:?}", silence(input));
    }
    let frozen = Frozen::broker();
    let reason = down(1).await;
    let silent = silence(1);
    assert!((2..10).contains(&silent.as_secs()), "{silent:?}, {reason:?}");
    // no heartbeat: the connection stays
    let reason = down(0).await;
    let silent = silence(0);
    assert!((14..20).contains(&silent.as_secs()), "{silent:?}, {reason:?}");
    assert_eq!(reason, BinderHealth::Connecting("the broker has not answered for 15 s".to_owned()));
    assert_eq!(inputs[0].0.health(), reason);
    drop(frozen);
    for (binder, status, receiving) in &inputs {
        assert_eq!(wait_status(status, |health| *health == BinderHealth::Up).await, BinderHealth::Up);
        assert_eq!(binder.health(), BinderHealth::Up);
        assert!(status.silence().expect("it tells") < Duration::from_secs(6));
        receiving.abort();
    }
}
