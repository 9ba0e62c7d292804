//! What the cases against a real broker share.

#![allow(dead_code, clippy::unwrap_used, reason = "each test program uses its part, and none has a user")]

pub(crate) mod outage;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binder_core::binder::{
    Assignment, BinderContext, BinderFactory, Consumer, ConsumerBinding, LaneId, Outgoing, Parcel, Producer,
    ProducerBinding, Received, SharedBinder, Token, TrySend,
};
use binder_core::config::Section;
use binder_core::message::{ContentType, Headers};
use binder_core::{Error, Result};
use bytes::BytesMut;
use libtest_mimic::Trial;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::OwnedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde_json::{Value, json};

const CASE: Duration = Duration::from_secs(150);
const STEP: Duration = Duration::from_secs(60);

/// Returns the brokers; without them every case is ignored, but not on CI.
pub(crate) fn url() -> Option<String> {
    let url = std::env::var("KAFKA_URL").ok().filter(|url| !url.is_empty());
    assert!(url.is_some() || std::env::var_os("CI").is_none(), "KAFKA_URL is not set: where is the broker?");
    url
}

/// A case with a runtime and a timeout of its own.
pub(crate) fn case<F, Fut>(name: &str, ready: bool, run: F) -> Trial
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let body = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ended = runtime.block_on(async { tokio::time::timeout(CASE, run()).await });
        runtime.shutdown_timeout(Duration::from_secs(5));
        ended.map_err(|_| "the case took too long".into())
    };
    Trial::test(name, body).with_ignored_flag(!ready)
}

pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4().simple())
}

pub(crate) fn binder_with(section: Value) -> Result<SharedBinder> {
    binder_kafka::factory().create(&BinderContext::new("kafka", Section::new("binders.kafka", section)))
}

pub(crate) fn binder() -> SharedBinder {
    let settings =
        json!({ "topic.metadata.refresh.interval.ms": 2000, "heartbeat.interval.ms": 200, "fetch.wait.max.ms": 50 });
    binder_with(json!({ "brokers": url().expect("checked before"), "configuration": settings })).expect("a binder")
}

/// A binder for members of `kind`: `cooperative`, `eager`, or `consumer`, which leaves heartbeats to the broker.
pub(crate) fn binder_of(kind: &str) -> SharedBinder {
    if kind != "consumer" {
        return binder();
    }
    let settings = json!({ "topic.metadata.refresh.interval.ms": 2000, "fetch.wait.max.ms": 50 });
    binder_with(json!({ "brokers": url().expect("checked before"), "configuration": settings })).expect("a binder")
}

/// Settings of a member of `kind`.
pub(crate) fn membership(kind: &str) -> Value {
    if kind == "consumer" { json!({ "group-protocol": "consumer" }) } else { json!({ "assignment": kind }) }
}

pub(crate) fn input(topic: &str, group: Option<&str>) -> ConsumerBinding {
    let mut binding = ConsumerBinding::new("in");
    binding.destinations = vec![topic.to_owned()];
    binding.group = group.map(str::to_owned);
    binding
}

pub(crate) fn output(topic: &str) -> ProducerBinding {
    let mut binding = ProducerBinding::new("out");
    binding.destination = topic.to_owned();
    binding
}

pub(crate) fn section(value: Value) -> Section {
    Section::new("kafka", value)
}

pub(crate) async fn consumer(binder: &SharedBinder, topic: &str, group: Option<&str>) -> Box<dyn Consumer> {
    binder.bind_consumer(&input(topic, group)).await.expect("bound")
}

pub(crate) async fn producer(binder: &SharedBinder, topic: &str, partitions: u32) -> Arc<dyn Producer> {
    let mut binding = output(topic);
    binding.properties.partition_count = partitions;
    binder.bind_producer(&binding).await.expect("bound")
}

static NO_HEADERS: Headers = Headers::new();

/// A text message without headers.
pub(crate) fn text<'a>(payload: &'a str, key: Option<&'a str>) -> Outgoing<'a> {
    Outgoing {
        payload: Some(payload.as_bytes()),
        key: key.map(str::as_bytes),
        content_type: &ContentType::TEXT,
        headers: &NO_HEADERS,
        partition: None,
    }
}

/// Sends, waits for room and for the answer.
pub(crate) async fn send(producer: &dyn Producer, message: Outgoing<'_>) -> Result<(), Error> {
    loop {
        match producer.try_send(message)? {
            TrySend::Sent(receipt) => return receipt.await.map_err(|failures| failures.into_first()),
            TrySend::Full => std::future::poll_fn(|context| producer.poll_ready(context)).await?,
        }
    }
}

pub(crate) async fn send_all(producer: &dyn Producer, messages: impl IntoIterator<Item = String>) {
    let mut receipts = Vec::new();
    for message in messages {
        loop {
            match producer.try_send(text(&message, None)).expect("open") {
                TrySend::Sent(receipt) => break receipts.push(receipt),
                TrySend::Full => std::future::poll_fn(|context| producer.poll_ready(context)).await.expect("open"),
            }
        }
    }
    for receipt in receipts {
        receipt.await.expect("confirmed");
    }
}

/// One step of a consumer, copied out.
#[derive(Debug)]
pub(crate) enum Step {
    Batch(Vec<Parcel>),
    Assigned(Vec<Assignment>),
    Revoked(Vec<LaneId>),
    Lost(Vec<LaneId>),
}

pub(crate) async fn step(consumer: &mut Box<dyn Consumer>) -> Step {
    match consumer.recv_many(100).await.expect("received") {
        Received::Batch(view) => {
            let mut arena = BytesMut::new();
            Step::Batch((0..view.len()).map(|index| view.detach(index, &mut arena)).collect())
        }
        Received::Assigned(lanes) => Step::Assigned(lanes),
        Received::Revoked(lanes) => Step::Revoked(lanes),
        Received::Lost(lanes) => Step::Lost(lanes),
        other => panic!("unknown: {other:?}"),
    }
}

/// Receives so many messages; revoked lanes are released at once.
pub(crate) async fn receive(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Parcel> {
    let mut received = Vec::new();
    let begun = Instant::now();
    while received.len() < count {
        let left = STEP.saturating_sub(begun.elapsed());
        let Ok(step) = tokio::time::timeout(left, step(consumer)).await else {
            panic!("{} of {count} messages came", received.len());
        };
        match step {
            Step::Batch(parcels) => received.extend(parcels),
            Step::Revoked(lanes) => consumer.release(&lanes).await.expect("released"),
            Step::Lost(_) | Step::Assigned(_) => {}
        }
    }
    received
}

/// Polls for a while and says what came: the broker has nothing that says "nothing will come".
pub(crate) async fn quiet(consumer: &mut Box<dyn Consumer>, time: Duration) -> Vec<Parcel> {
    let mut received = Vec::new();
    let _ = tokio::time::timeout(time, async {
        loop {
            match step(consumer).await {
                Step::Batch(parcels) => received.extend(parcels),
                Step::Revoked(lanes) => consumer.release(&lanes).await.expect("released"),
                Step::Lost(_) | Step::Assigned(_) => {}
            }
        }
    })
    .await;
    received
}

pub(crate) fn settle(consumer: &mut Box<dyn Consumer>, token: Token) {
    consumer.settle(token.lane, token.sequence).expect("settled");
}

pub(crate) fn payloads(parcels: &[Parcel]) -> Vec<String> {
    let text = |parcel: &Parcel| String::from_utf8(parcel.payload.clone().expect("a payload").to_vec()).expect("text");
    parcels.iter().map(text).collect()
}

pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn plain() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url().expect("checked before"));
    config
}

/// Reads so many records of partition 0 with the bare client.
pub(crate) async fn raw_read(topic: &str, partition: i32, count: usize) -> Vec<OwnedMessage> {
    let topic = topic.to_owned();
    let read = move || {
        let client: BaseConsumer = plain()
            .set("group.id", "raw")
            .set("fetch.wait.max.ms", "50")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        client.assign(&list).unwrap();
        let begun = Instant::now();
        let mut read = Vec::new();
        while read.len() < count && begun.elapsed() < STEP {
            if let Some(message) = client.poll(Duration::from_millis(100)) {
                read.push(message.unwrap().detach());
            }
        }
        assert_eq!(read.len(), count, "records of {topic} [{partition}]");
        read
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

/// Returns a bare client that says where a partition ends.
pub(crate) fn reader(isolation: &str) -> BaseConsumer {
    let mut config = plain();
    config.set("group.id", "raw");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true").set("fetch.wait.max.ms", "50");
    config.set("isolation.level", isolation).create().unwrap()
}

/// What a reader of partition 0 sees from its beginning to its end: key, payload and offset.
pub(crate) async fn seen(topic: &str, isolation: &'static str) -> Vec<(Option<Vec<u8>>, Vec<u8>, i64)> {
    let topic = topic.to_owned();
    let read = move || {
        let client = reader(isolation);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
        client.assign(&list).unwrap();
        let (begun, mut read) = (Instant::now(), Vec::new());
        while begun.elapsed() < STEP {
            match client.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let payload = message.payload().unwrap_or_default().to_vec();
                    read.push((message.key().map(<[u8]>::to_vec), payload, message.offset()));
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return read,
                Some(Err(cause)) => panic!("{cause}"),
                None => {}
            }
        }
        panic!("{topic} has no end");
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

pub(crate) async fn seen_texts(topic: &str, isolation: &'static str) -> Vec<String> {
    seen(topic, isolation).await.into_iter().map(|(_, payload, _)| String::from_utf8(payload).unwrap()).collect()
}

/// Reads a topic as soon as so many committed records can be read. A commit is answered before its records can be read, and what a killed
/// process has left open holds up what is behind it until the broker aborts it.
pub(crate) async fn committed_texts(topic: &str, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    let begun = Instant::now();
    while texts.len() < count {
        assert!(begun.elapsed() < STEP, "{} of {count} committed records can be read in {topic}", texts.len());
        texts = seen_texts(topic, "read_committed").await;
    }
    texts
}

/// Sends records with the bare client.
pub(crate) async fn raw_send(topic: &str, records: Vec<(Option<i32>, rdkafka::message::OwnedHeaders, &'static [u8])>) {
    use rdkafka::producer::{FutureProducer, FutureRecord};
    let client: FutureProducer = plain().create().unwrap();
    for (partition, headers, payload) in records {
        let mut record = FutureRecord::to(topic).key("k").payload(payload).headers(headers);
        record.partition = partition;
        client.send(record, STEP).await.map_err(|(cause, _)| cause).unwrap();
    }
}

/// Returns the committed offset of a partition.
pub(crate) async fn committed(topic: &str, group: &str, partition: i32) -> Option<i64> {
    let (topic, group) = (topic.to_owned(), group.to_owned());
    let ask = move || {
        let client: BaseConsumer = plain().set("group.id", &group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        let begun = Instant::now();
        // a broker that has just started does not know its groups yet
        let answer = loop {
            match client.committed_offsets(list.clone(), STEP) {
                Ok(answer) => break answer,
                Err(cause) => assert!(begun.elapsed() < STEP, "{cause}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        match answer.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Returns the number of partitions; `None` if there is no topic.
pub(crate) async fn partitions(topic: &str) -> Option<usize> {
    let topic = topic.to_owned();
    let ask = move || {
        let client: BaseConsumer = plain().create().unwrap();
        let metadata = client.fetch_metadata(Some(&topic), STEP).unwrap();
        let found = metadata.topics().iter().find(|found| found.name() == topic).expect("named");
        (found.error().is_none()).then(|| found.partitions().len())
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Returns the state of a group of the classic protocol, and how many members it has; `None` if there is no such group.
pub(crate) async fn group_state(group: &str) -> Option<(String, usize)> {
    let group = group.to_owned();
    let ask = move || {
        let client: BaseConsumer = plain().create().unwrap();
        let groups = client.fetch_group_list(Some(&group), STEP).unwrap();
        groups.groups().first().map(|found| (found.state().to_owned(), found.members().len()))
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Returns the node that leads partition 0.
pub(crate) async fn leader(topic: &str) -> i32 {
    let topic = topic.to_owned();
    let ask = move || {
        let client: BaseConsumer = plain().create().unwrap();
        let metadata = client.fetch_metadata(Some(&topic), STEP).unwrap();
        metadata.topics()[0].partitions()[0].leader()
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Waits until something holds.
pub(crate) async fn until<Fut: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> Fut) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < STEP, "{what}: not within {STEP:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn header(message: &OwnedMessage, name: &str) -> Vec<Option<Vec<u8>>> {
    use rdkafka::message::Headers as _;
    let headers = message.headers().expect("headers");
    headers.iter().filter(|header| header.key == name).map(|header| header.value.map(<[u8]>::to_vec)).collect()
}

fn admin() -> (AdminClient<rdkafka::client::DefaultClientContext>, AdminOptions) {
    (plain().create().unwrap(), AdminOptions::new().operation_timeout(Some(STEP)))
}

pub(crate) async fn grow(topic: &str, partitions: usize) {
    let (admin, options) = admin();
    admin.create_partitions(&[NewPartitions::new(topic, partitions)], &options).await.unwrap().remove(0).unwrap();
}

pub(crate) async fn delete(topic: &str) {
    let (admin, options) = admin();
    admin.delete_topics(&[topic], &options).await.unwrap().remove(0).unwrap();
}
