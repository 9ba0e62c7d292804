//! Kafka: rdkafka alone, with what the binder sets, sends, reads and guarantees.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use binder_core::binder::BinderFactory;
use futures::{StreamExt, stream};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{DeliveryResult, Header, Headers, OwnedHeaders};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{BaseRecord, FutureProducer, FutureRecord, ProducerContext, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Message};
use serde_json::json;
use tokio::sync::Notify;

use crate::WINDOW;
use crate::change::{Change, changes};
use crate::measure::{Cost, Meter};
use crate::ours::Ours;
use crate::tally::Tally;
use crate::twins::{Plan, Twin, Twins, Wish};

const PLAN: Plan = Plan { messages: 50_000, rounds: 15, letters: 200_000 };
pub const PARTITIONS: u32 = 2;
const TYPES: &str = "{\"contentType\":\"java.lang.String\"}";

/// Compares on the broker at `url`.
pub fn main(url: &str, wish: &Wish) -> ExitCode {
    let ours = Ours {
        kind: "kafka",
        factory: |context| binder_kafka::factory().create(context),
        binder: json!({ "brokers": url, "min-partition-count": PARTITIONS }),
        producer: json!({}),
        // Each run reads with a group of its own; their topics would stay on the broker.
        consumer: json!({ "dead-letters": false, "on-exhausted": "discard" }),
    };
    Twins { ours: &ours, bare: &Bare { url: url.to_owned() }, is_log: true }.run(PLAN, wish)
}

pub struct Bare {
    pub url: String,
}

impl Bare {
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.url)
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true");
        config
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "29000")
            .set("queue.buffering.max.messages", "0");
        config
    }
}

/// Made once, as the binder does; the types of headers are for readers in Java.
pub fn headers(with_types: bool) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(2);
    let headers = headers.insert(Header { key: "contentType", value: Some("application/json") });
    if !with_types {
        return headers;
    }
    headers.insert(Header { key: "spring_json_header_types", value: Some(TYPES) })
}

/// How many messages are on their way, and who waits for room.
#[derive(Default)]
pub struct Flying {
    count: AtomicUsize,
    news: Notify,
}

impl Flying {
    /// One more.
    pub fn begin(&self) {
        self.count.fetch_add(1, SeqCst);
    }

    pub async fn wait_below(&self, limit: usize) {
        while self.count.load(SeqCst) >= limit {
            self.news.notified().await;
        }
    }
}

pub struct Counting(pub Arc<Flying>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, _: usize) {
        assert!(result.is_ok(), "confirmed");
        let before = self.0.count.fetch_sub(1, SeqCst);
        // Half a window is free, or everything is done.
        if before == WINDOW / 2 || before == 1 {
            self.0.news.notify_one();
        }
    }
}

async fn lean(client: &ThreadedProducer<Counting>, flying: &Flying, topic: &str, count: usize) {
    let (headers, mut bytes) = (headers(true), Vec::new());
    for change in changes(count) {
        flying.wait_below(WINDOW).await;
        flying.begin();
        bytes.clear();
        serde_json::to_writer(&mut bytes, change).expect("it is JSON");
        let record = BaseRecord::with_opaque_to(topic, 0).payload(&bytes).key(&change.organization_id);
        client.send(record.headers(headers.clone())).map_err(|(cause, _)| cause).expect("taken");
    }
    flying.wait_below(1).await;
}

async fn each(client: &FutureProducer, topic: &str, count: usize) {
    let headers = headers(true);
    let sends = stream::iter(changes(count)).map(async |change| {
        let bytes = serde_json::to_vec(change).expect("it is JSON");
        let record = FutureRecord::to(topic).payload(&bytes).key(&change.organization_id);
        client.send(record.headers(headers.clone()), Timeout::Never).await
    });
    let check = async |sent: OwnedDeliveryResult| {
        sent.map_err(|(cause, _)| cause).expect("sent");
    };
    sends.buffer_unordered(WINDOW).for_each(check).await;
}

impl Twin for Bare {
    const NAMES: [&'static str; 2] = ["`FutureProducer`, the same", "`ThreadedProducer`, a callback that counts"];

    async fn publish_each(&self, destination: &str, count: usize) -> Cost {
        let client: FutureProducer = self.producer().create().expect("a client");
        each(&client, destination, WINDOW).await;
        let meter = Meter::start();
        each(&client, destination, count).await;
        meter.cost()
    }

    async fn publish_lean(&self, destination: &str, count: usize) -> Cost {
        let flying = Arc::<Flying>::default();
        let client = ThreadedProducer::from_config_and_context(&self.producer(), Counting(Arc::clone(&flying)));
        let client = client.expect("a client");
        lean(&client, &flying, destination, WINDOW).await;
        let meter = Meter::start();
        lean(&client, &flying, destination, count).await;
        meter.cost()
    }

    async fn consume(&self, destination: &str, group: &str, count: usize) -> Cost {
        let mut config = self.config();
        config
            .set("group.id", group)
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", "1000")
            .set("auto.offset.reset", "earliest")
            .set("fetch.queue.backoff.ms", "10")
            .set("partition.assignment.strategy", "cooperative-sticky");
        let client: StreamConsumer = config.create().expect("a client");
        client.subscribe(&[destination]).expect("subscribed");
        let tally = Tally::new(count);
        let taken = tally.clone();
        // On a worker, as ours.
        tokio::spawn(async move {
            let mut stream = client.stream();
            loop {
                let message = stream.next().await.expect("it never ends").expect("a message");
                let headers = message.headers().expect("headers");
                let content_type = headers.iter().find(|header| header.key == "contentType");
                assert_eq!(content_type.and_then(|header| header.value), Some(&b"application/json"[..]));
                let change: Change = serde_json::from_slice(message.payload().expect("a payload")).expect("JSON");
                let last = taken.take(change);
                client.store_offset_from_message(&message).expect("stored");
                if last {
                    return;
                }
            }
        })
        .await
        .expect("no panic");
        tally.cost().await
    }

    async fn clear(&self, _: &str, _: &str) {}

    async fn remove(&self, destinations: &[&str], _: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let deleted = admin.delete_topics(destinations, &AdminOptions::new()).await.expect("an answer");
        for topic in deleted {
            if let Err((topic, cause)) = topic {
                eprintln!("topic {topic} is left: {cause}");
            }
        }
    }
}
