//! A broker that goes away: `DEMO_BROKERCTL` is the program that stops and starts the one of `KAFKA_URL`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use binder_core::binder::{BinderHealth, Status, TrySend};
use binder_core::config::Section;
use binder_core::prelude::*;
use serde_json::json;

use support::*;

/// Stops or starts the broker.
async fn run(verb: &str) {
    let program = std::env::var("DEMO_BROKERCTL").expect("checked before");
    let done = tokio::process::Command::new(program).args(["brokers", verb, "kafka"]).status().await.unwrap();
    assert!(done.success(), "the broker did not {verb}");
}

fn main() {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads = Some(1);
    let ready = url().is_some() && std::env::var_os("DEMO_BROKERCTL").is_some();
    assert!(ready || std::env::var_os("CI").is_none(), "DEMO_BROKERCTL is not set: who stops the broker?");
    let cases = vec![
        case("an_outage_delays_and_loses_nothing", ready, an_outage_delays_and_loses_nothing),
        case("an_idle_binding_says_that_it_is_down_and_back", ready, an_idle_binding_says_that_it_is_down_and_back),
        case("a_broker_that_falls_silent_is_not_up", ready, a_broker_that_falls_silent_is_not_up),
        case("transactions_outlast_an_outage", ready, transactions_outlast_an_outage),
        case("a_send_without_broker_times_out_with_the_reason", ready, a_send_without_broker_times_out_with_the_reason),
    ];
    libtest_mimic::run(&arguments, cases).exit();
}

/// Returns how many markers of transactions the broker has given up so far. Kafka 4.3 does so for a partition that has no leader, as one without
/// replicas while its broker starts: KAFKA-20734. It has said by then that the transaction is committed.
async fn markers_given_up() -> usize {
    let program = std::env::var("DEMO_BROKERCTL").expect("checked before");
    let log = tokio::process::Command::new(program).args(["brokers", "log", "kafka"]).output().await.unwrap();
    assert!(log.status.success(), "{log:?}");
    String::from_utf8_lossy(&log.stdout).matches("these partitions are likely deleted already").count()
}

/// A round in which the broker has given up a marker shows nothing.
async fn transactions_outlast_an_outage() {
    for _ in 0..8 {
        let before = markers_given_up().await;
        let outage = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // while a broker is stopped in good order nobody logs what it gives up
            run("kill").await;
            run("start").await;
        };
        let mut round = tokio::spawn(outage::transactions_outlast(1, outage));
        let ended = loop {
            match tokio::time::timeout(Duration::from_secs(1), &mut round).await {
                Ok(ended) => break Some(ended),
                Err(_) if markers_given_up().await > before => break None,
                Err(_) => {}
            }
        };
        round.abort();
        if markers_given_up().await == before {
            return ended.expect("the round has ended").unwrap();
        }
    }
    panic!("in each round the broker has given up a marker");
}

/// Lets the broker go on when it is dropped, whatever a case has come to.
struct Frozen;

impl Frozen {
    async fn broker() -> Self {
        let frozen = Self;
        run("freeze").await;
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let program = std::env::var("DEMO_BROKERCTL").expect("checked before");
        let done = std::process::Command::new(program).args(["brokers", "thaw", "kafka"]).status();
        assert!(done.is_ok_and(|done| done.success()) || std::thread::panicking(), "the broker did not thaw");
    }
}

/// Every connection stays open, and nothing comes over it.
async fn a_broker_that_falls_silent_is_not_up() {
    let mut binding = input(&unique("silent"), Some("g"));
    binding.section = Section::new("kafka", json!({ "configuration": { "statistics.interval.ms": 500 } }));
    let (kafka, status) = (binder(), binding.status.clone());
    let mut consumer = kafka.bind_consumer(&binding).await.unwrap();
    let receiving = tokio::spawn(async move {
        loop {
            consumer.recv_many(10).await.unwrap();
        }
    });
    let silence = || status.silence().expect("it tells");
    for _ in 0..3 {
        let mut before = silence();
        until("an answer", || {
            let now = silence();
            std::future::ready(now < std::mem::replace(&mut before, now))
        })
        .await;
    }
    let frozen = Frozen::broker().await;
    let mut seen = status.watch();
    let down = tokio::time::timeout(Duration::from_secs(25), seen.wait_for(|health| *health != BinderHealth::Up));
    let reason = down.await.expect("it is noticed").expect("the status lives").clone();
    let silent = silence();
    assert!((14..20).contains(&silent.as_secs()), "{silent:?}, {reason:?}");
    assert!(matches!(&reason, BinderHealth::Connecting(why) if why.contains("no broker has answered")), "{reason:?}");
    assert_eq!(kafka.health(), reason);
    drop(frozen);
    becomes(&status, true).await;
    assert!(silence() < Duration::from_secs(4), "{:?}", silence());
    receiving.abort();
}

async fn becomes(status: &Status, up: bool) {
    let mut seen = status.watch();
    let waited =
        tokio::time::timeout(Duration::from_secs(60), seen.wait_for(|health| (*health == BinderHealth::Up) == up));
    waited.await.expect("the status changes").expect("the status lives");
}

async fn an_outage_delays_and_loses_nothing() {
    let (binder, topic) = (binder(), unique("outage"));
    let sender = producer(&binder, &topic, 1).await;
    let binding = input(&topic, Some(&topic));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    send_all(&*sender, numbered(3)).await;
    let parcels = receive(&mut receiver, 3).await;
    settle(&mut receiver, parcels[2].token);
    let receiving = tokio::spawn(async move {
        let mut received = receive(&mut receiver, 200).await;
        while received.last().and_then(|parcel| parcel.payload.as_deref()) != Some(b"199") {
            received.extend(receive(&mut receiver, 1).await);
        }
        (received, receiver)
    });
    run("stop").await;
    becomes(&binding.status, false).await;
    assert!(matches!(binder.health(), BinderHealth::Connecting(_)));
    let waiting: Vec<_> = numbered(200)
        .iter()
        .map(|number| match sender.try_send(text(number, None)).unwrap() {
            TrySend::Sent(receipt) => receipt,
            TrySend::Full => panic!("the window is larger"),
        })
        .collect();
    run("start").await;
    for receipt in waiting {
        receipt.await.expect("confirmed after the outage");
    }
    let (received, mut receiver) = receiving.await.unwrap();
    // a membership that was lost in the outage brings the unsettled again
    let mut seen = std::collections::HashSet::new();
    let first = payloads(&received).into_iter().filter(|payload| seen.insert(payload.clone()));
    assert_eq!(first.collect::<Vec<_>>(), numbered(200));
    becomes(&binding.status, true).await;
    settle(&mut receiver, received[received.len() - 1].token);
    // if the outage cost the membership, what was settled too late comes again and is settled again
    let polling = async {
        loop {
            match step(&mut receiver).await {
                Step::Batch(parcels) => parcels.iter().for_each(|parcel| settle(&mut receiver, parcel.token)),
                Step::Revoked(lanes) => receiver.release(&lanes).await.unwrap(),
                Step::Lost(_) | Step::Assigned(_) => {}
            }
        }
    };
    let known = until("the commit", async || committed(&topic, &topic, 0).await == Some(203));
    tokio::select! {
        () = polling => {}
        () = known => {}
    }
    receiver.close().await.unwrap();
    assert_eq!(binder.health(), BinderHealth::Up);
}

async fn an_idle_binding_says_that_it_is_down_and_back() {
    let (binder, topic) = (binder(), unique("idle"));
    let (binding, outgoing) = (input(&topic, Some(&topic)), output(&topic));
    let _sender = binder.bind_producer(&outgoing).await.unwrap();
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let polling = tokio::spawn(async move { step(&mut receiver).await });
    becomes(&binding.status, true).await;
    run("stop").await;
    becomes(&binding.status, false).await;
    becomes(&outgoing.status, false).await;
    run("start").await;
    becomes(&binding.status, true).await;
    becomes(&outgoing.status, true).await;
    polling.abort();
}

async fn a_send_without_broker_times_out_with_the_reason() {
    let (binder, topic) = (binder(), unique("timeout"));
    let mut binding = output(&topic);
    binding.properties.send_timeout = Duration::from_secs(4);
    binding.section = section(json!({ "linger": "0ms" }));
    let sender = binder.bind_producer(&binding).await.unwrap();
    send(&*sender, text("before", None)).await.unwrap();
    run("stop").await;
    let begun = std::time::Instant::now();
    let error = send(&*sender, text("never", None)).await.unwrap_err();
    let waited = begun.elapsed();
    run("start").await;
    assert!(waited < Duration::from_millis(4500), "{waited:?}");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Timeout, true), "{error:?}");
    assert!(error.to_string().contains("Connect"), "says why: {error}");
    // a broker that has just started may take longer than this output's deadline
    until("a send", async || send(&*sender, text("after", None)).await.is_ok()).await;
}
