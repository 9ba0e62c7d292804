//! Partitions that change hands.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::binder::{Consumer, ConsumerBinding, LaneId};
use libtest_mimic::Trial;
use serde_json::json;

use crate::support::*;

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("members_hand_over_under_load_cooperative", ready, || members_hand_over_under_load("cooperative")),
        case("members_hand_over_under_load_eager", ready, || members_hand_over_under_load("eager")),
        case("members_hand_over_under_load_consumer", ready, || members_hand_over_under_load("consumer")),
        case("a_revoke_waits_for_its_release_cooperative", ready, || a_revoke_waits_for_its_release("cooperative")),
        case("a_revoke_waits_for_its_release_eager", ready, || a_revoke_waits_for_its_release("eager")),
        case("a_revoke_waits_for_its_release_consumer", ready, || a_revoke_waits_for_its_release("consumer")),
        case("a_late_settlement_changes_nothing", ready, a_late_settlement_changes_nothing),
        case("lost_partitions_come_back_as_new_lanes", ready, lost_partitions_come_back_as_new_lanes),
        case("a_new_assignment_is_paused_too", ready, a_new_assignment_is_paused_too),
        case("a_close_in_the_middle_of_a_revoke_ends", ready, a_close_in_the_middle_of_a_revoke_ends),
    ]
}

fn member(topic: &str, kind: &str) -> ConsumerBinding {
    let mut binding = input(topic, Some(topic));
    binding.section = section(membership(kind));
    binding
}

/// Receives until lanes are revoked; all that came before is settled.
async fn revoked(consumer: &mut Box<dyn Consumer>) -> Vec<LaneId> {
    let wait = async {
        loop {
            match step(consumer).await {
                Step::Batch(parcels) => parcels.iter().for_each(|parcel| settle(consumer, parcel.token)),
                Step::Revoked(lanes) => return lanes,
                other @ (Step::Lost(_) | Step::Assigned(_)) => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("a revoke")
}

async fn a_revoke_waits_for_its_release(assignment: &'static str) {
    let (binder, topic) = (binder_of(assignment), unique("defer"));
    let sender = producer(&binder, &topic, 2).await;
    send_all(&*sender, numbered(10)).await;
    let mut first = binder.bind_consumer(&member(&topic, assignment)).await.unwrap();
    let parcels = receive(&mut first, 10).await;
    let mut second = binder.bind_consumer(&member(&topic, assignment)).await.unwrap();
    let second = tokio::spawn(async move {
        let received = receive(&mut second, 1).await;
        (second, received)
    });
    let lanes = revoked(&mut first).await;
    assert_eq!(lanes.len(), if assignment == "eager" { 3 } else { 1 }, "two of the topic, one of what comes back");
    // the deliveries of the revoked lanes are still running: nobody else may have them
    assert_eq!(quiet(&mut first, Duration::from_millis(1500)).await.len(), 0);
    assert!(!second.is_finished());
    let mut last = HashMap::new();
    for parcel in &parcels {
        last.insert(parcel.token.lane, parcel.token);
    }
    for token in last.values() {
        settle(&mut first, *token);
    }
    first.release(&lanes).await.unwrap();
    // the second member begins behind what was settled after the revoke
    let polling = tokio::spawn(async move { receive(&mut first, 1).await });
    let more = |partition| binder_core::binder::Outgoing { partition: Some(partition), ..text("more", None) };
    send(&*sender, more(0)).await.unwrap();
    send(&*sender, more(1)).await.unwrap();
    let (_second, received) = second.await.unwrap();
    assert_eq!(payloads(&received), ["more"]);
    assert_eq!(payloads(&polling.await.unwrap()), ["more"]);
}

async fn a_late_settlement_changes_nothing() {
    let (binder, topic) = (binder(), unique("late"));
    let sender = producer(&binder, &topic, 2).await;
    for partition in [0, 1] {
        let message = binder_core::binder::Outgoing { partition: Some(partition), ..text("x", None) };
        send(&*sender, message).await.unwrap();
        send(&*sender, message).await.unwrap();
    }
    let mut first = binder.bind_consumer(&member(&topic, "cooperative")).await.unwrap();
    let parcels = receive(&mut first, 4).await;
    let mut second = binder.bind_consumer(&member(&topic, "cooperative")).await.unwrap();
    let second = tokio::spawn(async move { receive(&mut second, 2).await });
    let lanes = revoked(&mut first).await;
    first.release(&lanes).await.unwrap();
    for parcel in parcels.iter().filter(|parcel| lanes.contains(&parcel.token.lane)) {
        settle(&mut first, parcel.token);
    }
    first.release(&lanes).await.expect("a second release is nothing");
    let polling = tokio::spawn(async move { quiet(&mut first, Duration::from_secs(20)).await });
    assert_eq!(second.await.unwrap().len(), 2, "both come again to the new owner");
    polling.abort();
    let _ = polling.await;
    let gone = parcels.iter().find(|parcel| lanes.contains(&parcel.token.lane)).unwrap();
    let partition = gone.metadata.partition.unwrap().cast_signed();
    assert_eq!(committed(&topic, &topic, partition).await, None);
}

async fn lost_partitions_come_back_as_new_lanes() {
    let (binder, topic) = (binder(), unique("lost"));
    send_all(&*producer(&binder, &topic, 1).await, numbered(3)).await;
    let mut binding = input(&topic, Some(&topic));
    let limits = json!({ "session.timeout.ms": 1500, "max.poll.interval.ms": 1500, "heartbeat.interval.ms": 200 });
    binding.section = section(json!({ "configuration": limits }));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let before = receive(&mut receiver, 3).await;
    // not polled for longer than `max.poll.interval.ms`: the time itself is what this is about
    tokio::time::sleep(Duration::from_secs(4)).await;
    let lost = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match step(&mut receiver).await {
                Step::Lost(lanes) => return lanes,
                other @ (Step::Revoked(_) | Step::Assigned(_)) => panic!("{other:?}"),
                Step::Batch(_) => {}
            }
        }
    });
    assert!(lost.await.expect("a loss").contains(&before[0].token.lane));
    settle(&mut receiver, before[2].token);
    let after = receive(&mut receiver, 3).await;
    assert_ne!(after[0].token.lane, before[0].token.lane);
    assert_eq!(payloads(&after), numbered(3), "what was not settled comes again");
    settle(&mut receiver, after[2].token);
    receiver.close().await.unwrap();
    assert_eq!(committed(&topic, &topic, 0).await, Some(3));
}

async fn a_new_assignment_is_paused_too() {
    let (binder, topic) = (binder(), unique("paused"));
    let sender = producer(&binder, &topic, 2).await;
    let mut first = consumer(&binder, &topic, Some(&topic)).await;
    let second = consumer(&binder, &topic, Some(&topic)).await;
    send_all(&*sender, numbered(10)).await;
    first.pause().unwrap();
    assert_eq!(quiet(&mut first, Duration::from_secs(2)).await.len(), 0);
    second.close().await.unwrap();
    assert_eq!(quiet(&mut first, Duration::from_secs(2)).await.len(), 0, "paused before it had partitions");
    first.resume().unwrap();
    assert_eq!(receive(&mut first, 10).await.len(), 10);
}

async fn a_close_in_the_middle_of_a_revoke_ends() {
    let (binder, topic) = (binder(), unique("middle"));
    send_all(&*producer(&binder, &topic, 2).await, numbered(10)).await;
    let mut first = consumer(&binder, &topic, Some(&topic)).await;
    receive(&mut first, 10).await;
    let mut second = consumer(&binder, &topic, Some(&topic)).await;
    let second = tokio::spawn(async move { receive(&mut second, 10).await });
    let lanes = revoked(&mut first).await;
    assert!(!lanes.is_empty());
    tokio::time::timeout(Duration::from_secs(10), first.close()).await.expect("it ends").unwrap();
    assert_eq!(second.await.unwrap().len(), 10);
}

/// What all members handled, by number.
type Handled = Arc<Mutex<HashMap<u32, u32>>>;

/// Settles what was handled, releases a little later, as a runtime does.
async fn work(mut consumer: Box<dyn Consumer>, handled: Handled, stop: Arc<AtomicBool>) {
    let mut seen = HashSet::new();
    while !stop.load(SeqCst) {
        let Ok(step) = tokio::time::timeout(Duration::from_millis(50), step(&mut consumer)).await else { continue };
        match step {
            Step::Batch(parcels) => {
                for parcel in &parcels {
                    assert!(seen.insert(parcel.token), "twice in one lane: {:?}", parcel.token);
                    let number = payloads(std::slice::from_ref(parcel))[0].parse().unwrap();
                    *handled.lock().unwrap().entry(number).or_default() += 1;
                }
                // the last quarter stays unsettled until the next batch
                let upto = parcels.len() - 1 - parcels.len() / 4;
                for parcel in &parcels[..=upto] {
                    settle(&mut consumer, parcel.token);
                }
            }
            Step::Revoked(lanes) => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                consumer.release(&lanes).await.unwrap();
            }
            Step::Lost(_) | Step::Assigned(_) => {}
        }
    }
    consumer.close().await.unwrap();
}

async fn members_hand_over_under_load(assignment: &'static str) {
    const COUNT: u32 = 60_000;
    let (binder, topic) = (binder_of(assignment), unique("load"));
    let sender = producer(&binder, &topic, 6).await;
    let handled = Handled::default();
    let join = async |handled: &Handled| {
        let stop = Arc::new(AtomicBool::new(false));
        let consumer = binder.bind_consumer(&member(&topic, assignment)).await.unwrap();
        (tokio::spawn(work(consumer, Arc::clone(handled), Arc::clone(&stop))), stop)
    };
    let sending = async {
        for first in (0..COUNT).step_by(500) {
            send_all(&*sender, (first..first + 500).map(|number| number.to_string())).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    let (stay, stop) = join(&handled).await;
    let churning = async {
        for _ in 0..3 {
            let (other, stop) = join(&handled).await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            stop.store(true, SeqCst);
            other.await.unwrap();
        }
    };
    tokio::join!(sending, churning);
    until("all are handled", || async { handled.lock().unwrap().len() == COUNT as usize }).await;
    stop.store(true, SeqCst);
    stay.await.unwrap();
    let again: u32 = handled.lock().unwrap().values().map(|times| times - 1).sum();
    println!("{assignment}: {COUNT} handled, {again} of them again");
    assert!(again < COUNT / 10, "{again}");
}
