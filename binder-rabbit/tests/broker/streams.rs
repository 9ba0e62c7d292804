//! Streams that inputs without a group read.

use std::time::Duration;

use binder_core::ErrorKind;
use binder_core::binder::{Binder, BinderHealth, Consumer, ConsumerBinding, Received};
use binder_core::config::{ConsumerProperties, Provision, Section, Start};
use binder_core::testkit::{Network, Proxy};
use lapin::options::QueueDeleteOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::failing::proxy;
use crate::support::*;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        everyone_gets_all_of_a_stream,
        the_latest_of_a_stream_is_what_comes_from_now_on,
        a_cut_stream_goes_on_behind_what_was_settled,
        a_stream_that_is_cut_before_its_first_message_misses_nothing,
        a_stream_that_was_deleted_is_read_anew,
        settling_lets_more_of_a_stream_come,
        a_pause_takes_nothing_away_from_a_stream,
        each_partition_has_its_stream,
        a_stream_is_declared_with_its_limit,
        a_queue_where_a_stream_is_wanted_stops_the_binding,
        what_a_stream_can_not_be_is_refused_offline,
    ]
}

fn stream(destination: &str, start: Start, more: Value) -> ConsumerBinding {
    let mut binding = input(destination, None);
    binding.properties = ConsumerProperties::default().start(start);
    let mut settings = json!({ "container-type": "stream" });
    for (key, value) in more.as_object().expect("an object") {
        settings[key] = value.clone();
    }
    binding.section = Section::new("consumer.rabbit", settings);
    binding
}

fn first(destination: &str) -> ConsumerBinding {
    stream(destination, Start::Earliest, json!({}))
}

async fn everyone_gets_all_of_a_stream(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stream");
    let mut one = consumer_of(&binder, &first(&destination)).await;
    assert!(one.dead_letters().is_none());
    let producer = producer(&binder, &destination).await;
    assert!(send_in_order(&*producer, &numbers(50)).await.iter().all(Result::is_ok));
    let mut two = consumer_of(&binder, &first(&destination)).await;
    for consumer in [&mut one, &mut two] {
        let received = receive(&mut **consumer, 50).await;
        assert_eq!(texts(&received), numbers(50));
        let offsets: Vec<_> = received.iter().map(|parcel| parcel.metadata.offset.expect("an offset")).collect();
        assert_eq!(offsets[0], 0);
        assert!(offsets.is_sorted_by(|one, next| one < next), "{offsets:?}");
        settle(&mut **consumer, &received[49]);
    }
    one.close().await.expect("closed");
    two.close().await.expect("closed");
    let mut three = consumer_of(&binder, &first(&destination)).await;
    assert_eq!(texts(&receive(&mut *three, 50).await), numbers(50), "settling takes nothing away");
}

async fn the_latest_of_a_stream_is_what_comes_from_now_on(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stream-latest");
    let mut all = consumer_of(&binder, &first(&destination)).await;
    let producer = producer(&binder, &destination).await;
    send(&*producer, "before").await.expect("sent");
    assert_eq!(texts(&receive(&mut *all, 1).await), ["before"]);
    let mut latest = consumer_of(&binder, &stream(&destination, Start::Latest, json!({}))).await;
    send(&*producer, "after").await.expect("sent");
    assert_eq!(texts(&receive(&mut *latest, 1).await), ["after"]);
}

async fn lose(consumer: &mut dyn Consumer) {
    let received = timeout(SOON, consumer.recv_many(1)).await.expect("noticed").expect("received");
    assert!(matches!(received, Received::Lost(_)), "{received:?}");
}

/// Cuts the connection and waits until the input has noticed.
async fn cut(proxy: &Proxy, consumer: &mut dyn Consumer) {
    proxy.set(Network::Cut);
    lose(consumer).await;
}

async fn a_cut_stream_goes_on_behind_what_was_settled(broker: Broker) {
    let proxy = proxy(&broker).await;
    let (direct, binder) = (broker.binder(), broker.with_address(&proxy.address().to_string()).binder());
    let destination = name("stream-cut");
    let binding = first(&destination);
    let mut consumer = consumer_of(&binder, &binding).await;
    let producer = producer(&direct, &destination).await;
    assert!(send_in_order(&*producer, &numbers(100)[..50]).await.iter().all(Result::is_ok));
    let received = receive(&mut *consumer, 50).await;
    settle(&mut *consumer, &received[19]);
    let behind = received[24].token;
    assert!(
        !consumer.settle_apart(behind.lane, &[behind.sequence]).expect("no"),
        "it knows only up to where all is done"
    );
    cut(&proxy, &mut *consumer).await;
    settle(&mut *consumer, &received[29]);
    assert!(send_in_order(&*producer, &numbers(100)[50..]).await.iter().all(Result::is_ok));
    proxy.set(Network::Clear);
    let again = receive(&mut *consumer, 80).await;
    assert_eq!(texts(&again), &numbers(100)[20..], "what was settled in time does not come again, all else does");
    assert!(pump(&mut *consumer, WHILE).await.is_empty());
    settle(&mut *consumer, &again[79]);
    // and once more, with all settled
    cut(&proxy, &mut *consumer).await;
    send(&*producer, "last").await.expect("sent");
    proxy.set(Network::Clear);
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["last"]);
    assert_eq!(wait_status(&binding.status, |health| *health == BinderHealth::Up).await, BinderHealth::Up);
}

async fn a_stream_that_is_cut_before_its_first_message_misses_nothing(broker: Broker) {
    let proxy = proxy(&broker).await;
    let (direct, binder) = (broker.binder(), broker.with_address(&proxy.address().to_string()).binder());
    let destination = name("stream-early");
    // It is there before, so that its end is not known.
    let before = consumer_of(&direct, &first(&destination)).await;
    before.close().await.expect("closed");
    let mut consumer = consumer_of(&binder, &stream(&destination, Start::Latest, json!({}))).await;
    let producer = producer(&direct, &destination).await;
    cut(&proxy, &mut *consumer).await;
    assert!(send_in_order(&*producer, &numbers(5)).await.iter().all(Result::is_ok));
    proxy.set(Network::Clear);
    assert_eq!(texts(&receive(&mut *consumer, 5).await), numbers(5));
}

async fn a_stream_that_was_deleted_is_read_anew(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stream-deleted");
    let mut consumer = consumer_of(&binder, &stream(&destination, Start::Latest, json!({}))).await;
    let producer = producer(&binder, &destination).await;
    assert!(send_in_order(&*producer, &numbers(10)).await.iter().all(Result::is_ok));
    let received = receive(&mut *consumer, 10).await;
    settle(&mut *consumer, &received[9]);
    let raw = broker.raw().await;
    raw.channel.queue_delete(destination.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    lose(&mut *consumer).await;
    assert!(pump(&mut *consumer, WHILE).await.is_empty());
    raw.wait_for(&destination, |seen| seen.is_some()).await;
    send(&*producer, "new").await.expect("sent");
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["new"]);
}

/// The broker hands out whole blocks, of what was published together, so it may exceed the prefetch by one of them.
async fn settling_lets_more_of_a_stream_come(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stream-credit");
    let mut binding = first(&destination);
    binding.properties = binding.properties.prefetch(10_u32);
    let mut consumer = consumer_of(&binder, &binding).await;
    let producer = producer(&binder, &destination).await;
    let sent = numbers(500);
    for block in sent.chunks(20) {
        assert!(send_in_order(&*producer, block).await.iter().all(Result::is_ok));
    }
    let mut all = pump(&mut *consumer, Duration::from_millis(500)).await;
    assert!((1..=30).contains(&all.len()), "{} unsettled", all.len());
    while all.len() < 500 {
        settle(&mut *consumer, all.last().expect("some"));
        all.extend(receive(&mut *consumer, 1).await);
    }
    assert_eq!(texts(&all), sent);
}

async fn a_pause_takes_nothing_away_from_a_stream(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stream-pause");
    let mut consumer = consumer_of(&binder, &first(&destination)).await;
    let producer = producer(&binder, &destination).await;
    consumer.pause().expect("paused");
    assert!(send_in_order(&*producer, &numbers(20)).await.iter().all(Result::is_ok));
    assert!(pump(&mut *consumer, Duration::from_secs(1)).await.is_empty());
    consumer.resume().expect("resumed");
    assert_eq!(texts(&receive(&mut *consumer, 20).await), numbers(20));
}

async fn each_partition_has_its_stream(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stream-part");
    let mut binding = stream(&destination, Start::Earliest, json!({ "partitions": 2 }));
    binding.properties = binding.properties.partitioned(true);
    let mut consumer = consumer_of(&binder, &binding).await;
    let producer = producer(&binder, &destination).await;
    for partition in [1, 0, 1] {
        let payload = partition.to_string();
        let outgoing = binder_core::binder::Outgoing { partition: Some(partition), ..message(payload.as_bytes()) };
        send_message(&*producer, outgoing).await.expect("sent");
    }
    let mut received = receive(&mut *consumer, 3).await;
    received.sort_by_key(|parcel| (parcel.metadata.partition, parcel.metadata.offset));
    let seen: Vec<_> = received.iter().map(|parcel| (parcel.metadata.partition, parcel.metadata.offset)).collect();
    assert_eq!(seen, [(Some(0), Some(0)), (Some(1), Some(0)), (Some(1), Some(1))]);
    consumer.close().await.expect("closed");
    let raw = broker.raw().await;
    for partition in 0..2 {
        let queue = format!("{destination}-{partition}");
        raw.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
    }
}

async fn a_stream_is_declared_with_its_limit(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stream-limit");
    let with = |bytes: u64| stream(&destination, Start::Earliest, json!({ "max-length-bytes": bytes }));
    let consumer = consumer_of(&binder, &with(1_000_000_000)).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(1_000_000_000));
    broker.raw().await.declare(&destination, arguments).await;
    let error = binder.bind_consumer(&with(5)).await.expect_err("another limit");
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("`x-max-length-bytes` is 1000000000, wanted is 5"), "{text}");
    let mut check = with(5);
    check.provision = Provision::Check;
    consumer_of(&binder, &check).await.close().await.expect("closed");
    consumer.close().await.expect("closed");
    assert!(broker.raw().await.look(&destination).await.is_some(), "it stays");
}

async fn a_queue_where_a_stream_is_wanted_stops_the_binding(broker: Broker) {
    let binder = broker.binder();
    let destination = name("stream-queue");
    broker.raw().await.declare(&destination, FieldTable::default()).await;
    let error = binder.bind_consumer(&first(&destination)).await.expect_err("a classic queue");
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("wanted is stream"), "{error}");
}

async fn what_a_stream_can_not_be_is_refused_offline(broker: Broker) {
    let binder = broker.with_address("nowhere.invalid:1").binder();
    let refused = |binding: &ConsumerBinding, kind| {
        let error = binder.check_consumer(binding).expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
        error.to_string()
    };
    let mut named = first("fine");
    binder.check_consumer(&named).expect("valid");
    named.group = Some("g".to_owned());
    named.properties = ConsumerProperties::default();
    let text = refused(&named, ErrorKind::Unsupported);
    assert!(text.contains("`rabbit.container-type: stream`") && text.contains("keeps no position"), "{text}");
    let text = refused(&stream("fine", Start::Latest, json!({ "ttl": "1s" })), ErrorKind::Config);
    assert!(text.contains("`rabbit.ttl` is not for streams"), "{text}");
    let mut queue = input("fine", None);
    queue.properties = ConsumerProperties::default().start(Start::Earliest);
    let text = refused(&queue, ErrorKind::Unsupported);
    assert!(text.contains("`rabbit.container-type: stream`"), "{text}");
}
