//! Receiving, settling, pausing.

use std::collections::BTreeSet;
use std::time::Duration;

use binder_core::binder::{Binder, Consumer, ConsumerBinding, LaneId, Outgoing, Received};
use binder_core::config::ConsumerProperties;
use binder_rabbit::RabbitBinder;
use lapin::options::QueueDeleteOptions;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::support::*;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_named_group_keeps_what_came_while_it_was_away,
        competing_consumers_share_the_work,
        groups_get_everything_each,
        an_anonymous_queue_goes_with_its_consumer,
        several_destinations_are_read_fairly,
        a_held_queue_brings_nothing_and_the_others_go_on,
        partitions_are_read_by_their_instance,
        settling_never_acknowledges_what_is_unfinished,
        what_is_settled_apart_does_not_come_again,
        settled_deliveries_are_acknowledged_in_the_idle,
        what_is_settled_waits_for_more_for_its_interval,
        a_quarter_of_what_may_be_unsettled_waits_for_nothing,
        what_is_settled_later_does_not_prolong_the_wait,
        no_interval_is_no_wait,
        what_is_settled_is_told_when_a_consumer_is_dropped,
        handlers_that_have_nothing_more_to_do_wait_for_no_interval,
        a_queue_that_always_has_something_does_not_prolong_the_wait_of_another,
        prefetch_bounds_what_is_unsettled,
        what_is_unsettled_at_close_comes_again,
        what_is_unsettled_at_a_drop_comes_again,
        settling_a_lane_that_is_no_more_is_ignored,
        nothing_is_taken_without_waiting_if_there_is_nothing,
        a_named_group_gives_back_what_it_had_not_handed_out_when_paused,
        a_short_pause_gives_nothing_back,
        an_anonymous_group_keeps_what_it_holds_when_paused,
        a_consumer_survives_its_queue_being_deleted,
        a_dropped_receive_loses_nothing,
    ]
}

async fn a_named_group_keeps_what_came_while_it_was_away(broker: Broker) {
    let binder = broker.binder();
    let destination = name("durable");
    let first = consumer(&binder, &destination, Some("g")).await;
    first.close().await.expect("closed");
    let producer = producer(&binder, &destination).await;
    send(&*producer, "while away").await.expect("sent");
    let mut second = consumer(&binder, &destination, Some("g")).await;
    assert_eq!(texts(&receive(&mut *second, 1).await), ["while away"]);
}

async fn competing_consumers_share_the_work(broker: Broker) {
    let binder = broker.binder();
    let destination = name("competing");
    let mut one = consumer(&binder, &destination, Some("g")).await;
    let mut other = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let sent = numbers(100);
    assert!(send_all(&*producer, &sent).await.iter().all(Result::is_ok));
    let (one, other) = (texts(&receive(&mut *one, 50).await), texts(&receive(&mut *other, 50).await));
    let all: BTreeSet<_> = one.iter().chain(&other).cloned().collect();
    assert_eq!(all, sent.into_iter().collect());
}

async fn groups_get_everything_each(broker: Broker) {
    let binder = broker.binder();
    let destination = name("groups");
    let mut one = consumer(&binder, &destination, Some("one")).await;
    let mut two = consumer(&binder, &destination, Some("two")).await;
    let mut anonymous = consumer(&binder, &destination, None).await;
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    for consumer in [&mut one, &mut two, &mut anonymous] {
        assert_eq!(texts(&receive(&mut **consumer, 1).await), ["x"]);
    }
}

async fn an_anonymous_queue_goes_with_its_consumer(broker: Broker) {
    let binder = broker.binder();
    let destination = name("anonymous");
    let mut consumer = consumer(&binder, &destination, None).await;
    assert!(consumer.dead_letters().is_none());
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["x"]);
    consumer.close().await.expect("closed");
    let error = send(&*producer, "y").await.expect_err("the queue is gone");
    assert_eq!(error.kind(), binder_core::ErrorKind::Unroutable);
}

async fn several_destinations_are_read_fairly(broker: Broker) {
    let binder = broker.binder();
    let destinations = [name("a"), name("b"), name("c")];
    let mut input = input("many", Some("g"));
    input.destinations = destinations.to_vec();
    let mut consumer = consumer_of(&binder, &input).await;
    for destination in &destinations {
        let producer = producer(&binder, destination).await;
        assert!(send_all(&*producer, &numbers(100)).await.iter().all(Result::is_ok));
    }
    let received = receive(&mut *consumer, 300).await;
    let first: BTreeSet<_> = received[..250].iter().map(|parcel| parcel.metadata.destination.to_string()).collect();
    assert_eq!(first.len(), 3, "all are served");
    for destination in &destinations {
        let of_one = received.iter().filter(|parcel| *parcel.metadata.destination == **destination);
        let sequences: Vec<_> = of_one.map(|parcel| (parcel.token.lane, parcel.token.sequence)).collect();
        assert!(sequences.is_sorted() && sequences.len() == 100);
    }
}

async fn a_held_queue_brings_nothing_and_the_others_go_on(broker: Broker) {
    let binder = broker.binder();
    let destinations = [name("held"), name("free")];
    let mut input = input("held-and-free", Some("g"));
    input.destinations = destinations.to_vec();
    let mut consumer = consumer_of(&binder, &input).await;
    let held = producer(&binder, &destinations[0]).await;
    assert!(send_all(&*held, &numbers(1)).await.iter().all(Result::is_ok));
    let lane = receive(&mut *consumer, 1).await[0].token.lane;
    assert!(consumer.hold(&[lane], true).expect("it can"));
    consumer.pause().expect("paused");
    consumer.resume().expect("resumed");
    let free = producer(&binder, &destinations[1]).await;
    for producer in [&held, &free] {
        assert!(send_all(&**producer, &numbers(50)).await.iter().all(Result::is_ok));
    }
    let received = receive(&mut *consumer, 50).await;
    assert!(received.iter().all(|parcel| parcel.token.lane != lane));
    assert!(pump(&mut *consumer, WHILE).await.is_empty());
    assert!(consumer.hold(&[lane], false).expect("it can"));
    assert_eq!(texts(&receive(&mut *consumer, 50).await), numbers(50));
}

async fn partitions_are_read_by_their_instance(broker: Broker) {
    let binder = broker.binder();
    let destination = name("partitioned");
    let mut consumers = Vec::new();
    for index in 0..2 {
        let mut input = input(&destination, Some("g"));
        input.properties = ConsumerProperties::default().partitioned(true);
        input.instance.index = index;
        input.instance.count = 2;
        let settings = serde_json::json!({ "partitions": 3 });
        input.section = binder_core::config::Section::new("consumer.rabbit", settings);
        consumers.push(consumer_of(&binder, &input).await);
    }
    let producer = producer(&binder, &destination).await;
    for partition in 0..3 {
        let payload = partition.to_string();
        let message = Outgoing { partition: Some(partition), ..message(payload.as_bytes()) };
        send_message(&*producer, message).await.expect("sent");
    }
    let mut first = receive(&mut *consumers[0], 2).await;
    first.sort_by_key(|parcel| parcel.metadata.partition);
    assert_eq!(texts(&first), ["0", "2"]);
    assert_eq!(first[1].metadata.partition, Some(2));
    assert_eq!(texts(&receive(&mut *consumers[1], 1).await), ["1"]);
}

async fn settling_never_acknowledges_what_is_unfinished(broker: Broker) {
    let binder = broker.binder();
    let destination = name("prefix");
    let mut first = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(200)).await.iter().all(Result::is_ok));
    let received = receive(&mut *first, 200).await;
    settle(&mut *first, &received[9]);
    settle(&mut *first, &received[9]);
    settle(&mut *first, &received[4]);
    settle(&mut *first, &received[119]);
    pump(&mut *first, WHILE).await;
    settle(&mut *first, &received[122]);
    first.close().await.expect("closed");
    let mut second = consumer(&binder, &destination, Some("g")).await;
    let again = receive(&mut *second, 77).await;
    assert_eq!(texts(&again), numbers(200)[123..]);
    assert!(again.iter().all(|parcel| parcel.metadata.redelivered == 1));
    assert!(pump(&mut *second, WHILE).await.is_empty());
}

async fn what_is_settled_apart_does_not_come_again(broker: Broker) {
    let binder = broker.binder();
    let destination = name("apart");
    let mut first = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(8)).await.iter().all(Result::is_ok));
    let received = receive(&mut *first, 8).await;
    settle(&mut *first, &received[0]);
    let lane = received[0].token.lane;
    let sequences: Vec<_> = [2, 3, 5].map(|index| received[index].token.sequence).to_vec();
    assert!(first.settle_apart(lane, &sequences).expect("the channel is open"));
    pump(&mut *first, WHILE).await;
    drop(first);
    let mut second = consumer(&binder, &destination, Some("g")).await;
    let received = receive(&mut *second, 4).await;
    assert_eq!(texts(&received), ["1", "4", "6", "7"]);
    assert!(second.settle_apart(received[1].token.lane, &[received[1].token.sequence]).expect("the channel is open"));
    // over the one that is settled already: the broker closes the channel on a tag that it does not know
    settle(&mut *second, &received[2]);
    pump(&mut *second, WHILE).await;
    send(&*producer, "8").await.expect("sent");
    assert_eq!(texts(&receive(&mut *second, 1).await), ["8"], "the channel lives");
    drop(second);
    let mut third = consumer(&binder, &destination, Some("g")).await;
    assert_eq!(texts(&receive(&mut *third, 2).await), ["7", "8"]);
}

async fn settled_deliveries_are_acknowledged_in_the_idle(broker: Broker) {
    let binder = broker.binder();
    let destination = name("idle");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    let received = receive(&mut *consumer, 1).await;
    settle(&mut *consumer, &received[0]);
    pump(&mut *consumer, WHILE).await;
    vanish(&binder, consumer).await;
    assert_eq!(come_back(&broker, &format!("{destination}.g")).await, 0);
}

/// An interval that no test outlasts.
const FOR_EVER: &str = "1h";

fn acknowledging(destination: &str, interval: &str) -> ConsumerBinding {
    input_with(destination, Some("g"), json!({ "ack-interval": interval }))
}

/// Ends the connection without a word of what is settled: who drops a consumer says it.
async fn vanish(binder: &RabbitBinder, consumer: Box<dyn Consumer>) {
    std::mem::forget(consumer);
    binder.close().await.expect("closed");
}

async fn what_is_settled_is_told_when_a_consumer_is_dropped(broker: Broker) {
    let binder = broker.binder();
    let destination = name("told");
    let mut consumer = consumer_of(&binder, &acknowledging(&destination, FOR_EVER)).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(2)).await.iter().all(Result::is_ok));
    let received = receive(&mut *consumer, 2).await;
    settle(&mut *consumer, &received[0]);
    drop(consumer);
    assert_eq!(come_back(&broker, &format!("{destination}.g")).await, 1);
}

/// Returns how many messages were not acknowledged when their consumer was gone.
async fn come_back(broker: &Broker, queue: &str) -> u32 {
    let raw = broker.raw().await;
    raw.wait_for(queue, |seen| seen.is_some_and(|(_, consumers)| consumers == 0)).await;
    // the channel is closed after its consumer
    sleep(WHILE).await;
    raw.look(queue).await.expect("it is there").0
}

async fn what_is_settled_waits_for_more_for_its_interval(broker: Broker) {
    let binder = broker.binder();
    let destination = name("interval");
    let mut consumer = consumer_of(&binder, &acknowledging(&destination, FOR_EVER)).await;
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    let received = receive(&mut *consumer, 1).await;
    settle(&mut *consumer, &received[0]);
    pump(&mut *consumer, WHILE).await;
    vanish(&binder, consumer).await;
    assert_eq!(come_back(&broker, &format!("{destination}.g")).await, 1);
}

async fn a_quarter_of_what_may_be_unsettled_waits_for_nothing(broker: Broker) {
    let binder = broker.binder();
    let destination = name("quarter");
    let mut input = acknowledging(&destination, FOR_EVER);
    input.properties.prefetch = Some(8);
    let mut consumer = consumer_of(&binder, &input).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(3)).await.iter().all(Result::is_ok));
    for parcel in receive(&mut *consumer, 3).await {
        settle(&mut *consumer, &parcel);
    }
    pump(&mut *consumer, WHILE).await;
    vanish(&binder, consumer).await;
    // two are a quarter
    assert_eq!(come_back(&broker, &format!("{destination}.g")).await, 1);
}

async fn what_is_settled_later_does_not_prolong_the_wait(broker: Broker) {
    let binder = broker.binder();
    let destination = name("prolong");
    let mut consumer = consumer_of(&binder, &acknowledging(&destination, "100ms")).await;
    let producer = producer(&binder, &destination).await;
    let sent = numbers(30);
    assert!(send_all(&*producer, &sent).await.iter().all(Result::is_ok));
    for parcel in receive(&mut *consumer, sent.len()).await {
        settle(&mut *consumer, &parcel);
        pump(&mut *consumer, Duration::from_millis(10)).await;
    }
    vanish(&binder, consumer).await;
    assert!(come_back(&broker, &format!("{destination}.g")).await < 30);
}

async fn no_interval_is_no_wait(broker: Broker) {
    let binder = broker.binder();
    let destination = name("at-once");
    let mut consumer = consumer_of(&binder, &acknowledging(&destination, "0s")).await;
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    let received = receive(&mut *consumer, 1).await;
    settle(&mut *consumer, &received[0]);
    assert!(consumer.try_recv_many(1).expect("it lives").is_none());
    vanish(&binder, consumer).await;
    assert_eq!(come_back(&broker, &format!("{destination}.g")).await, 0);
}

async fn handlers_that_have_nothing_more_to_do_wait_for_no_interval(broker: Broker) {
    let binder = broker.binder();
    let destination = name("starved");
    let mut input = acknowledging(&destination, FOR_EVER);
    (input.properties.prefetch, input.properties.concurrency) = (Some(8), 8);
    let mut consumer = consumer_of(&binder, &input).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(9)).await.iter().all(Result::is_ok));
    let received = receive(&mut *consumer, 8).await;
    settle(&mut *consumer, &received[0]);
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["8"]);
}

async fn a_queue_that_always_has_something_does_not_prolong_the_wait_of_another(broker: Broker) {
    let binder = broker.binder();
    let (quiet, busy) = (name("quiet"), name("busy"));
    let mut input = acknowledging("both", "50ms");
    input.destinations = vec![quiet.clone(), busy.clone()];
    let mut consumer = consumer_of(&binder, &input).await;
    send(&*producer(&binder, &quiet).await, "x").await.expect("sent");
    let received = receive(&mut *consumer, 1).await;
    let many = numbers(200);
    assert!(send_all(&*producer(&binder, &busy).await, &many).await.iter().all(Result::is_ok));
    let first = receive(&mut *consumer, 1).await;
    settle(&mut *consumer, &received[0]);
    for _ in first.len()..many.len() {
        // it is there, or nearly
        let received = timeout(SOON, consumer.recv_many(1)).await.expect("in time").expect("received");
        assert!(matches!(received, Received::Batch(_)), "{received:?}");
        sleep(Duration::from_millis(2)).await;
    }
    vanish(&binder, consumer).await;
    assert_eq!(come_back(&broker, &format!("{quiet}.g")).await, 0);
}

async fn prefetch_bounds_what_is_unsettled(broker: Broker) {
    let binder = broker.binder();
    let destination = name("prefetch");
    let mut input = input(&destination, Some("g"));
    input.properties = ConsumerProperties::default().prefetch(10);
    let mut consumer = consumer_of(&binder, &input).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(30)).await.iter().all(Result::is_ok));
    let mut received = receive(&mut *consumer, 10).await;
    assert!(pump(&mut *consumer, WHILE).await.is_empty(), "no more before something is settled");
    settle(&mut *consumer, &received[4]);
    received.extend(receive(&mut *consumer, 5).await);
    assert_eq!(texts(&received), numbers(15));
}

async fn what_is_unsettled_at_close_comes_again(broker: Broker) {
    let binder = broker.binder();
    let destination = name("unsettled");
    let mut first = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(3)).await.iter().all(Result::is_ok));
    let received = receive(&mut *first, 3).await;
    settle(&mut *first, &received[0]);
    first.close().await.expect("closed");
    let mut second = consumer(&binder, &destination, Some("g")).await;
    assert_eq!(texts(&receive(&mut *second, 2).await), ["1", "2"]);
}

async fn what_is_unsettled_at_a_drop_comes_again(broker: Broker) {
    let binder = broker.binder();
    let destination = name("dropped");
    let mut first = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(3)).await.iter().all(Result::is_ok));
    receive(&mut *first, 2).await;
    drop(first);
    let mut second = consumer(&binder, &destination, Some("g")).await;
    assert_eq!(texts(&receive(&mut *second, 3).await), ["0", "1", "2"]);
}

async fn settling_a_lane_that_is_no_more_is_ignored(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stale");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    consumer.settle(LaneId(4711), 1).expect("ignored");
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["x"]);
}

async fn nothing_is_taken_without_waiting_if_there_is_nothing(broker: Broker) {
    let binder = broker.binder();
    let destination = name("try");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    assert!(consumer.try_recv_many(10).expect("open").is_none());
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(20)).await.iter().all(Result::is_ok));
    let mut taken = 0;
    while taken < 20 {
        match consumer.try_recv_many(7).expect("open") {
            Some(Received::Batch(view)) => {
                assert!(view.len() <= 7);
                taken += view.len();
            }
            Some(other) => panic!("{other:?}"),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn a_named_group_gives_back_what_it_had_not_handed_out_when_paused(broker: Broker) {
    let binder = broker.binder();
    let destination = name("pause");
    let mut paused = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(100)).await.iter().all(Result::is_ok));
    let held = receive(&mut *paused, 10).await;
    paused.pause().expect("paused");
    let mut sibling = consumer(&binder, &destination, Some("g")).await;
    let rest = tokio::select! {
        rest = receive(&mut *sibling, 90) => rest,
        late = receive(&mut *paused, 1) => panic!("handed out: {:?}", texts(&late)),
    };
    assert_eq!(texts(&rest), numbers(100)[10..]);
    for parcel in &rest {
        settle(&mut *sibling, parcel);
    }
    sibling.close().await.expect("closed");

    send(&*producer, "resumed").await.expect("sent");
    assert!(pump(&mut *paused, 3 * WHILE).await.is_empty(), "still paused");
    paused.resume().expect("resumed");
    let received = receive(&mut *paused, 1).await;
    assert_eq!(texts(&received), ["resumed"]);
    assert_eq!(received[0].token.lane, held[0].token.lane, "the same channel");
    settle(&mut *paused, &received[0]);
    paused.pause().expect("paused");
    paused.resume().expect("resumed");
    paused.pause().expect("paused");
    paused.resume().expect("resumed");
    send(&*producer, "again").await.expect("sent");
    assert_eq!(texts(&receive(&mut *paused, 1).await), ["again"]);
    paused.close().await.expect("closed");
    broker.raw().await.wait_for(&format!("{destination}.g"), |seen| seen == Some((1, 0))).await;
}

async fn a_short_pause_gives_nothing_back(broker: Broker) {
    let binder = broker.binder();
    let destination = name("short-pause");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_all(&*producer, &numbers(100)).await.iter().all(Result::is_ok));
    let mut received = Vec::new();
    for _ in 0..10 {
        received.extend(receive(&mut *consumer, 10).await);
        consumer.pause().expect("paused");
        assert!(pump(&mut *consumer, Duration::from_millis(20)).await.is_empty());
        consumer.resume().expect("resumed");
    }
    assert_eq!(texts(&received), numbers(100));
    assert!(received.iter().all(|parcel| parcel.metadata.redelivered == 0));
}

async fn an_anonymous_group_keeps_what_it_holds_when_paused(broker: Broker) {
    let binder = broker.binder();
    let destination = name("pause-anonymous");
    let mut consumer = consumer(&binder, &destination, None).await;
    let producer = producer(&binder, &destination).await;
    consumer.pause().expect("paused");
    assert!(send_all(&*producer, &numbers(50)).await.iter().all(Result::is_ok));
    assert!(pump(&mut *consumer, 3 * WHILE).await.is_empty(), "the intake stands still");
    consumer.resume().expect("resumed");
    assert_eq!(texts(&receive(&mut *consumer, 50).await), numbers(50));
}

async fn a_consumer_survives_its_queue_being_deleted(broker: Broker) {
    let binder = broker.binder();
    let destination = name("deleted");
    let input = input(&destination, Some("g"));
    let mut consumer = consumer_of(&binder, &input).await;
    let raw = broker.raw().await;
    let queue = format!("{destination}.g");
    raw.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    let lost = tokio::time::timeout(SOON, consumer.recv_many(10)).await.expect("soon").expect("received");
    assert!(matches!(lost, Received::Lost(_)), "{lost:?}");
    drop(lost);
    assert!(format!("{:?}", input.status.get()).contains("cancelled"), "{:?}", input.status);
    let producer = producer(&binder, &destination).await;
    let sending = tokio::spawn(async move {
        while send(&*producer, "x").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["x"]);
    sending.await.expect("sent");
    assert_eq!(input.status.get(), binder_core::binder::BinderHealth::Up);
}

async fn a_dropped_receive_loses_nothing(broker: Broker) {
    let binder = broker.binder();
    let destination = name("cancel");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let sent = numbers(500);
    let sending = {
        let sent = sent.clone();
        tokio::spawn(async move { assert!(send_all(&*producer, &sent).await.iter().all(Result::is_ok)) })
    };
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let some = pump(&mut *consumer, Duration::from_micros(300)).await;
        if let Some(last) = some.last() {
            settle(&mut *consumer, last);
        }
        received.extend(texts(&some));
    }
    sending.await.expect("sent");
    assert_eq!(received, sent);
    binder.close().await.expect("closed");
}
