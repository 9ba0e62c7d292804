//! One node of three is lost: `KAFKA_URL` names all nodes, and `DEMO_BROKERCTL` is the program that kills them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use binder_core::binder::BinderHealth;

use support::*;

fn main() {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads = Some(1);
    let cluster = url().is_some_and(|url| url.contains(','));
    let ready = cluster && std::env::var_os("DEMO_BROKERCTL").is_some();
    assert!(ready || !cluster || std::env::var_os("CI").is_none(), "DEMO_BROKERCTL is not set: who kills a node?");
    let cases = vec![
        case("a_lost_leader_takes_nothing_with_it", ready, a_lost_leader_takes_nothing_with_it),
        case("transactions_outlast_a_node", ready, transactions_outlast_a_node),
    ];
    libtest_mimic::run(&arguments, cases).exit();
}

async fn control(verb: &str, node: &str) {
    let program = std::env::var("DEMO_BROKERCTL").expect("checked before");
    let done = tokio::process::Command::new(program).args(["brokers", verb, node]).status().await.unwrap();
    assert!(done.success(), "{node} did not {verb}");
}

/// Sends are confirmed by two of three replicas, so that what was confirmed outlives the leader.
async fn a_lost_leader_takes_nothing_with_it() {
    let (binder, topic) = (binder(), unique("cluster"));
    let sender = producer(&binder, &topic, 1).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    send_all(&*sender, numbered(200)).await;
    let before = receive(&mut receiver, 100).await;
    settle(&mut receiver, before[99].token);

    let lost = format!("kafka-{}", leader(&topic).await);
    control("kill", &lost).await;
    send_all(&*sender, numbered(400).split_off(200)).await;
    let mut received = payloads(&before);
    // a group that has lost its coordinator gets what it had not committed again
    while received.last().is_none_or(|last| last != "399") {
        received.extend(payloads(&receive(&mut receiver, 1).await));
    }
    let mut seen = std::collections::HashSet::new();
    received.retain(|payload| seen.insert(payload.clone()));
    assert_eq!(received, numbered(400));
    assert_eq!(binder.health(), BinderHealth::Up);
    assert_ne!(format!("kafka-{}", leader(&topic).await), lost, "another one leads");
    control("start", &lost).await;
}

/// Every node once, so those that lead the topics, and coordinate group and transactions, are among them.
async fn transactions_outlast_a_node() {
    let outage = async {
        for node in ["kafka-1", "kafka-2", "kafka-3"] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            control("kill", node).await;
            control("start", node).await;
        }
    };
    outage::transactions_outlast(3, outage).await;
}
