//! Members with a name of their own, and what contradicts the protocol of a group.

use std::collections::BTreeSet;
use std::time::Duration;

use binder_core::ErrorKind;
use binder_core::binder::{Consumer, ConsumerBinding, LaneId, Parcel};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::*;

const PARTITIONS: u32 = 4;

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("a_restart_of_a_static_member_moves_nothing_cooperative", ready, || {
            a_restart_of_a_static_member_moves_nothing("cooperative")
        }),
        case("a_restart_of_a_static_member_moves_nothing_eager", ready, || {
            a_restart_of_a_static_member_moves_nothing("eager")
        }),
        case("a_restart_of_a_static_member_moves_nothing_consumer", ready, || {
            a_restart_of_a_static_member_moves_nothing("consumer")
        }),
        case("a_name_that_is_taken_is_waited_for", ready, a_name_that_is_taken_is_waited_for),
        case("contradictions_are_refused_at_bind", ready, contradictions_are_refused_at_bind),
    ]
}

fn named(topic: &str, kind: &str, name: &str) -> ConsumerBinding {
    let mut binding = input(topic, Some(topic));
    let mut own = membership(kind);
    own["group-instance-id"] = json!(name);
    binding.section = section(own);
    binding
}

/// What a member that is polled in a task of its own saw.
#[derive(Debug)]
enum Seen {
    Delivery(LaneId, u32, String),
    Moved,
}

fn seen(parcel: &Parcel) -> Seen {
    let partition = parcel.metadata.partition.expect("a partition");
    Seen::Delivery(parcel.token.lane, partition, payloads(std::slice::from_ref(parcel)).remove(0))
}

/// Settles all and tells it, until told to close.
async fn poll(mut consumer: Box<dyn Consumer>, told: mpsc::UnboundedSender<Seen>, mut close: mpsc::Receiver<()>) {
    loop {
        let step = tokio::select! {
            _ = close.recv() => break,
            step = step(&mut consumer) => step,
        };
        match step {
            Step::Batch(parcels) => {
                for parcel in &parcels {
                    settle(&mut consumer, parcel.token);
                    told.send(seen(parcel)).unwrap();
                }
            }
            Step::Revoked(lanes) => {
                told.send(Seen::Moved).unwrap();
                consumer.release(&lanes).await.unwrap();
            }
            Step::Lost(_) => told.send(Seen::Moved).unwrap(),
            Step::Assigned(_) => {}
        }
    }
    consumer.close().await.unwrap();
}

struct Member {
    seen: mpsc::UnboundedReceiver<Seen>,
    close: mpsc::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Member {
    fn new(consumer: Box<dyn Consumer>) -> Self {
        let (told, seen) = mpsc::unbounded_channel();
        let (close, closing) = mpsc::channel(1);
        Self { seen, close, task: tokio::spawn(poll(consumer, told, closing)) }
    }

    async fn close(self) {
        self.close.send(()).await.unwrap();
        self.task.await.unwrap();
    }
}

/// Sends `name` to each partition.
async fn send_round(sender: &dyn binder_core::binder::Producer, name: &str) {
    for partition in 0..PARTITIONS {
        let message = binder_core::binder::Outgoing { partition: Some(partition), ..text(name, None) };
        send(sender, message).await.unwrap();
    }
}

/// Returns where the two members were given the messages called `name`, once there is one of each partition: lane and partition; and
/// whether anything was taken from one of them.
async fn receive_round(members: [&mut Member; 2], name: &str) -> ([BTreeSet<(u32, u32)>; 2], bool) {
    let (mut held, mut moved) = ([BTreeSet::new(), BTreeSet::new()], false);
    let [first, second] = members;
    let mut partitions = BTreeSet::new();
    while partitions.len() < PARTITIONS as usize {
        let (index, seen) = tokio::select! {
            seen = first.seen.recv() => (0, seen.unwrap()),
            seen = second.seen.recv() => (1, seen.unwrap()),
        };
        match seen {
            Seen::Delivery(lane, partition, text) if text == name => {
                partitions.insert(partition);
                held[index].insert((lane.0, partition));
            }
            Seen::Delivery(..) => {}
            Seen::Moved => moved = true,
        }
    }
    (held, moved)
}

fn partitions_of(held: &BTreeSet<(u32, u32)>) -> BTreeSet<u32> {
    held.iter().map(|(_, partition)| *partition).collect()
}

async fn a_restart_of_a_static_member_moves_nothing(kind: &'static str) {
    let (binder, topic) = (binder_of(kind), unique("static"));
    let sender = producer(&binder, &topic, PARTITIONS).await;
    let member = async |name| Member::new(binder.bind_consumer(&named(&topic, kind, name)).await.unwrap());
    let (mut stays, mut restarts) = (member("stays").await, member("restarts").await);
    // the group of the messages that come back forms on its own, and has one partition only: nothing delivered tells when it is done
    if kind != "consumer" {
        for group in [topic.clone(), format!("{topic}.retry")] {
            let formed = async || group_state(&group).await.is_some_and(|state| state == ("Stable".to_owned(), 2));
            until("a group of two", formed).await;
        }
    }
    let mut number = 0;
    let before = loop {
        number += 1;
        let name = format!("before {number}");
        send_round(&*sender, &name).await;
        let (held, moved) = receive_round([&mut stays, &mut restarts], &name).await;
        if !moved && held[0].len() == 2 && held[1].len() == 2 {
            break held;
        }
    };
    restarts.close().await;
    send_round(&*sender, "after").await;
    // long enough for the group to notice that a member is gone, much shorter than its session: the partitions stay reserved
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut restarts = member("restarts").await;
    let (after, moved) = receive_round([&mut stays, &mut restarts], "after").await;
    assert!(!moved, "nothing is taken from anybody");
    assert_eq!(after[0], before[0], "the other member keeps its very lanes");
    assert_eq!(partitions_of(&after[1]), partitions_of(&before[1]), "and this one finds its partitions");
    stays.close().await;
    restarts.close().await;
}

async fn a_name_that_is_taken_is_waited_for() {
    let (binder, topic) = (binder_of("consumer"), unique("taken"));
    let sender = producer(&binder, &topic, 1).await;
    let mut first = binder.bind_consumer(&named(&topic, "consumer", "one")).await.unwrap();
    send(&*sender, text("a", None)).await.unwrap();
    receive(&mut first, 1).await;
    let mut second = binder.bind_consumer(&named(&topic, "consumer", "one")).await.unwrap();
    let wait = tokio::time::timeout(Duration::from_secs(20), second.recv_many(1)).await.expect("an answer");
    let error = wait.expect_err("the name is taken");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Connection, true), "{error:?}");
    assert!(error.to_string().contains("`group-instance-id`"), "{error}");
}

async fn contradictions_are_refused_at_bind() {
    let mut binding = input("any", Some("any"));
    binding.section = section(json!({ "group-protocol": "consumer", "assignment": "eager" }));
    let error = binder_of("consumer").bind_consumer(&binding).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    binding.section = section(json!({ "group-protocol": "consumer" }));
    let error = binder().bind_consumer(&binding).await.expect_err("this binder sets `heartbeat.interval.ms`");
    assert!(error.to_string().contains("`heartbeat.interval.ms`"), "{error:?}");
}
