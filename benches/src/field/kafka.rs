//! Kafka: the library, and rdkafka alone.

use std::sync::Arc;
use std::time::Duration;

use binder_core::binder::BinderFactory;
use futures::StreamExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use rdkafka::{ClientConfig, Message};
use serde_json::json;
use tokio::task::JoinHandle;

use super::event::{Event, Source};
use super::idle;
use super::ours::{GROUP, Receiver, Sender};
use super::player::{Consumer, Player, Producer, WINDOW};
use super::protocol::{Case, Settings, Task};
use super::service::Service;
use super::sink::Sink;
use crate::kafka::{Bare, Counting, Flying, PARTITIONS, headers};
use crate::twins::Twin;

/// Messages of 1 MiB are more than clients and brokers take if nothing is said.
const LARGE: usize = 900_000;
const LARGEST: &str = "4194304";

/// The destination.
struct Topic {
    bare: Bare,
    name: String,
    is_large: bool,
    /// Whether what is sent has no headers.
    bare_messages: bool,
    beside: usize,
}

impl Topic {
    fn new(url: String, name: String, task: &Task) -> Self {
        let (is_large, bare_messages) = (task.size > LARGE, task.bare);
        Self { bare: Bare { url }, name, is_large, bare_messages, beside: task.beside }
    }

    /// The topic, and the one to which nobody sends, if there are inputs beside.
    fn names(&self) -> Vec<String> {
        let idle = (self.beside > 0).then(|| idle::destination(&self.name));
        [self.name.clone()].into_iter().chain(idle).collect()
    }

    /// Made in the same way for all.
    async fn make(&self) {
        let admin: AdminClient<DefaultClientContext> = self.bare.config().create().expect("a client");
        let names = self.names();
        let topic = |name| {
            let topic = NewTopic::new(name, PARTITIONS as i32, TopicReplication::Fixed(1));
            if self.is_large { topic.set("max.message.bytes", LARGEST) } else { topic }
        };
        let topics: Vec<_> = names.iter().map(|name| topic(name)).collect();
        let made = admin.create_topics(&topics, &AdminOptions::new()).await.expect("an answer");
        made.into_iter().for_each(|topic| drop(topic.expect("a topic")));
    }

    async fn remove(&self) {
        let names = self.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.bare.remove(&names, GROUP).await;
    }
}

/// Waits until all groups have their members: neither side is told of the last.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

/// The library.
pub struct Ours {
    topic: Topic,
    service: Service,
}

impl Ours {
    pub fn new(url: String, destination: String, task: &Task, batch: bool) -> Self {
        let configuration = if task.size > LARGE { json!({ "message.max.bytes": LARGEST }) } else { json!({}) };
        let service = Service {
            kind: "kafka",
            factory: |context| binder_kafka::factory().create(context),
            binder: json!({ "brokers": url, "min-partition-count": PARTITIONS, "configuration": configuration }),
            destination: destination.clone(),
            producer: json!({}),
            // a topic of dead letters would stay on the broker
            consumer: json!({ "dead-letters": false, "on-exhausted": "discard" }),
            batch,
            pause: Duration::ZERO,
        };
        Self { topic: Topic::new(url, destination, task), service: service.asked(task) }
    }
}

impl Player for Ours {
    type Producer = Sender;
    type Consumer = Receiver;
    type Beside = Receiver;

    async fn prepare(&self) {
        self.topic.make().await;
    }

    async fn producer(&self) -> Sender {
        self.service.sender().await
    }

    async fn consumer(&self, sink: Sink) -> Receiver {
        self.service.receiver(sink).await
    }

    async fn beside(&self, count: usize) -> Receiver {
        let beside = self.service.beside(count).await;
        settle().await;
        beside
    }

    async fn remove(&self) {
        self.topic.remove().await;
    }
}

/// How the bare client is used, beside what its guarantees need.
#[derive(Clone, Copy, PartialEq)]
enum Habits {
    /// As the client comes.
    Own,
    AsOurs,
    /// For this case.
    Tuned(Case),
}

impl Habits {
    fn producer(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Own => &[],
            Self::AsOurs => &[("linger.ms", "1")],
            Self::Tuned(Case::Latency | Case::First) => &[("linger.ms", "0")],
            // two partitions share a window of 1,000: a full batch goes before its time is over
            Self::Tuned(_) => &[("linger.ms", "5"), ("batch.num.messages", "250")],
        }
    }

    fn consumer(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Own => &[],
            Self::AsOurs => &[("fetch.queue.backoff.ms", "10"), ("auto.commit.interval.ms", "1000")],
            Self::Tuned(Case::Latency | Case::First) => {
                &[("fetch.queue.backoff.ms", "1"), ("auto.commit.interval.ms", "5000")]
            }
            Self::Tuned(_) => &[
                ("fetch.queue.backoff.ms", "1"),
                ("auto.commit.interval.ms", "5000"),
                ("queued.min.messages", "1000000"),
                ("fetch.message.max.bytes", "8388608"),
            ],
        }
    }

    /// Whether a message says of what types its headers are, as ours do.
    fn is_full(self) -> bool {
        !matches!(self, Self::Tuned(_))
    }
}

/// rdkafka alone, with the guarantees of the library: idempotent, confirmed by all replicas, an offset is stored when its message is handled.
pub struct Raw {
    topic: Topic,
    habits: Habits,
}

impl Raw {
    pub fn new(url: String, destination: String, task: &Task, tuned: bool) -> Self {
        let habits = match task.settings {
            _ if tuned => Habits::Tuned(task.case),
            Settings::Equal => Habits::AsOurs,
            Settings::Defaults => Habits::Own,
        };
        Self { topic: Topic::new(url, destination, task), habits }
    }

    fn config(&self, of_case: &[(&str, &str)], more: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.topic.bare.config();
        if self.topic.is_large {
            config.set("message.max.bytes", LARGEST);
        }
        for (name, value) in of_case.iter().chain(more) {
            config.set(*name, *value);
        }
        config
    }

    fn subscribed(&self, topic: &str, group: &str) -> StreamConsumer {
        let guarantees = [
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("partition.assignment.strategy", "cooperative-sticky"),
        ];
        let mut config = self.config(self.habits.consumer(), &guarantees);
        let client = config.set("group.id", format!("{topic}-{group}")).create::<StreamConsumer>();
        let client = client.expect("a client");
        client.subscribe(&[topic]).expect("subscribed");
        client
    }
}

impl Player for Raw {
    type Producer = RawProducer;
    type Consumer = RawConsumer;
    type Beside = RawBeside;

    async fn prepare(&self) {
        self.topic.make().await;
    }

    async fn producer(&self) -> RawProducer {
        let guarantees = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", "29000"),
            ("queue.buffering.max.messages", "0"),
        ];
        let config = self.config(self.habits.producer(), &guarantees);
        let flying = Arc::<Flying>::default();
        let client = ThreadedProducer::from_config_and_context(&config, Counting(Arc::clone(&flying)));
        let headers = (!self.topic.bare_messages).then(|| headers(self.habits.is_full()));
        RawProducer { client: client.expect("a client"), flying, topic: self.topic.name.clone(), headers }
    }

    async fn consumer(&self, sink: Sink) -> RawConsumer {
        let client = self.subscribed(&self.topic.name, GROUP);
        RawConsumer { handling: tokio::spawn(handle_all(client, sink, !self.topic.bare_messages)) }
    }

    /// A client for each, as ours have.
    async fn beside(&self, count: usize) -> RawBeside {
        let topic = idle::destination(&self.topic.name);
        let reading = (0..count).map(|number| {
            let client = self.subscribed(&topic, &idle::group(number));
            tokio::spawn(async move { drop(client.recv().await) })
        });
        let reading = reading.collect();
        settle().await;
        RawBeside { reading }
    }

    async fn remove(&self) {
        self.topic.remove().await;
    }
}

pub struct RawProducer {
    client: ThreadedProducer<Counting>,
    flying: Arc<Flying>,
    topic: String,
    headers: Option<OwnedHeaders>,
}

impl Producer for RawProducer {
    /// A callback counts what is confirmed.
    async fn send(&mut self, mut source: Source) {
        let mut bytes = Vec::new();
        while let Some(event) = source.next().await {
            self.flying.wait_below(WINDOW).await;
            self.flying.begin();
            bytes.clear();
            serde_json::to_writer(&mut bytes, &*event).expect("it is JSON");
            let mut record = BaseRecord::with_opaque_to(&self.topic, 0).payload(&bytes).key(&event.key);
            record.headers.clone_from(&self.headers);
            self.client.send(record).map_err(|(cause, _)| cause).expect("taken");
        }
        self.flying.wait_below(1).await;
    }

    async fn close(self) {}
}

pub struct RawConsumer {
    handling: JoinHandle<()>,
}

impl Consumer for RawConsumer {
    async fn close(self) {
        self.handling.await.expect("no panic");
    }
}

async fn handle_all(client: StreamConsumer, sink: Sink, has_headers: bool) {
    let mut stream = client.stream();
    loop {
        let message = stream.next().await.expect("it never ends").expect("a message");
        if has_headers {
            let headers = message.headers().expect("headers");
            let content_type = headers.iter().find(|header| header.key == "contentType");
            assert_eq!(content_type.and_then(|header| header.value), Some(&b"application/json"[..]));
        }
        let event: Event = serde_json::from_slice(message.payload().expect("a payload")).expect("JSON");
        let last = sink.take(event);
        client.store_offset_from_message(&message).expect("stored");
        if last {
            return;
        }
    }
}

pub struct RawBeside {
    reading: Vec<JoinHandle<()>>,
}

impl Consumer for RawBeside {
    async fn close(self) {
        for reading in self.reading {
            reading.abort();
            // whoever was stopped says so
            drop(reading.await);
        }
    }
}
