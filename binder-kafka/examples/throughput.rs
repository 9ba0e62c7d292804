//! Messages a second through the binder and through the bare client with the same guarantees, in turns; and what they cost in CPU, which
//! is steadier on a busy machine (Linux only, all threads).
//!
//! `KAFKA_URL=… cargo run --release -p binder-kafka --example throughput [messages] [rounds]`

#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use binder_core::binder::{
    BinderContext, BinderFactory, ConsumerBinding, Envelope, Outgoing, OutgoingBatch, Producer, ProducerBinding,
    Received, SharedBinder, TrySend,
};
use binder_core::config::Section;
use binder_core::message::{ContentType, Headers};
use futures::StreamExt;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{DeliveryResult, Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Message as _};
use serde_json::json;

const PARTITIONS: u32 = 2;
const WINDOW: usize = 16_384;
const TYPES: &str = "{\"contentType\":\"java.lang.String\"}";

fn url() -> String {
    std::env::var("KAFKA_URL").expect("KAFKA_URL")
}

fn base() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url()).set("socket.nagle.disable", "true");
    config
}

/// What a run took.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

struct Start(Instant, f64);

impl Start {
    fn now() -> Self {
        Self(Instant::now(), cpu())
    }

    fn cost(&self) -> Cost {
        Cost { wall: self.0.elapsed().as_secs_f64(), cpu: cpu() - self.1 }
    }
}

/// Seconds of CPU that this process has used: ticks of 10 ms.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    (ticks(13) + ticks(14)) / 100.0
}

struct Count(Arc<AtomicUsize>);
impl ClientContext for Count {}
impl ProducerContext for Count {
    type DeliveryOpaque = usize;
    fn delivery(&self, result: &DeliveryResult<'_>, _: usize) {
        assert!(result.is_ok());
        self.0.fetch_sub(1, SeqCst);
    }
}

fn raw_produce(topic: &str, payload: &[u8], count: usize) -> Cost {
    let flying = Arc::new(AtomicUsize::new(0));
    let mut config = base();
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random");
    let client = ThreadedProducer::from_config_and_context(&config, Count(Arc::clone(&flying))).unwrap();
    let headers = OwnedHeaders::new_with_capacity(2)
        .insert(Header { key: "contentType", value: Some("application/json") })
        .insert(Header { key: "spring_json_header_types", value: Some(TYPES) });
    let begun = Start::now();
    for number in 0..count {
        while flying.load(SeqCst) >= WINDOW {
            std::thread::sleep(Duration::from_micros(200));
        }
        flying.fetch_add(1, SeqCst);
        let key = number.to_string();
        let record = BaseRecord::with_opaque_to(topic, number).payload(payload).key(&key).headers(headers.clone());
        client.send(record).map_err(|(cause, _)| cause).unwrap();
    }
    client.flush(Duration::from_secs(30)).unwrap();
    begun.cost()
}

async fn produce(binder: &SharedBinder, topic: &str, payload: &[u8], count: usize, batch: usize) -> Cost {
    let mut binding = ProducerBinding::new(topic);
    binding.properties.window = WINDOW as u32;
    binding.section = Section::new("producer.kafka", json!({ "linger": "5ms" }));
    let producer = binder.bind_producer(&binding).await.unwrap();
    let begun = Start::now();
    if batch > 1 {
        batches(&*producer, payload, count, batch).await
    } else {
        singles(&*producer, payload, count).await
    }
    producer.flush().await.unwrap();
    begun.cost()
}

async fn singles(producer: &dyn Producer, payload: &[u8], count: usize) {
    let headers = Headers::new();
    let mut waiting = std::collections::VecDeque::with_capacity(WINDOW);
    for number in 0..count {
        let key = number.to_string();
        let message = Outgoing {
            payload: Some(payload),
            key: Some(key.as_bytes()),
            content_type: &ContentType::JSON,
            headers: &headers,
            partition: None,
        };
        loop {
            match producer.try_send(message).unwrap() {
                TrySend::Sent(receipt) => break waiting.push_back(receipt),
                TrySend::Full => match waiting.pop_front() {
                    Some(receipt) => receipt.await.unwrap(),
                    None => std::future::poll_fn(|context| producer.poll_ready(context)).await.unwrap(),
                },
            }
        }
    }
    for receipt in waiting {
        receipt.await.unwrap();
    }
}

async fn batches(producer: &dyn Producer, payload: &[u8], count: usize, size: usize) {
    let mut batch = OutgoingBatch::new(ContentType::JSON);
    let mut waiting = std::collections::VecDeque::new();
    for first in (0..count).step_by(size) {
        batch.clear();
        for number in first..(first + size).min(count) {
            let key = number.to_string();
            let write = |bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(payload);
                Ok::<_, binder_core::Error>(true)
            };
            batch.push_with(Envelope { key: Some(key.as_bytes()), ..Envelope::default() }, write).unwrap();
        }
        loop {
            match producer.try_send_batch(&batch).unwrap() {
                TrySend::Sent(receipt) => break waiting.push_back(receipt),
                TrySend::Full => match waiting.pop_front() {
                    Some(receipt) => receipt.await.unwrap(),
                    None => std::future::poll_fn(|context| producer.poll_ready(context)).await.unwrap(),
                },
            }
        }
    }
    for receipt in waiting {
        receipt.await.unwrap();
    }
}

fn sum(payload: Option<&[u8]>) -> u64 {
    payload.unwrap_or_default().iter().map(|byte| u64::from(*byte)).sum()
}

async fn raw_consume(topic: &str, count: usize, content_type: bool) -> Cost {
    let mut config = base();
    config
        .set("group.id", uuid::Uuid::new_v4().to_string())
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "1000")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "10")
        .set("partition.assignment.strategy", "cooperative-sticky");
    let client: StreamConsumer = config.create().unwrap();
    client.subscribe(&[topic]).unwrap();
    let mut stream = client.stream();
    let (mut seen, mut total, mut begun) = (0, 0, None);
    while seen < count {
        let message = stream.next().await.unwrap().unwrap();
        begun.get_or_insert_with(Start::now);
        if content_type {
            let found = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "contentType"));
            total += sum(found.and_then(|header| header.value));
        }
        total += sum(message.payload());
        client.store_offset_from_message(&message).unwrap();
        seen += 1;
    }
    std::hint::black_box(total);
    begun.unwrap().cost()
}

async fn consume(binder: &SharedBinder, topic: &str, count: usize, content_type: bool) -> Cost {
    let mut binding = ConsumerBinding::new(topic);
    binding.group = Some(uuid::Uuid::new_v4().to_string());
    binding.properties.dead_letters = Some(false);
    let mut consumer = binder.bind_consumer(&binding).await.unwrap();
    let (mut seen, mut total, mut begun) = (0, 0, None);
    let mut last = Vec::new();
    while seen < count {
        {
            let received = consumer.recv_many(128).await.unwrap();
            let Received::Batch(view) = received else { continue };
            begun.get_or_insert_with(Start::now);
            last.clear();
            for index in 0..view.len() {
                if content_type {
                    total += view.content_type(index).map_or(0, |known| known.as_str().len() as u64);
                }
                total += sum(view.payload(index));
                let token = view.token(index);
                match last.iter_mut().find(|known: &&mut binder_core::binder::Token| known.lane == token.lane) {
                    Some(known) => *known = token,
                    None => last.push(token),
                }
            }
            seen += view.len();
        }
        for token in &last {
            consumer.settle(token.lane, token.sequence).unwrap();
        }
    }
    std::hint::black_box(total);
    let taken = begun.unwrap().cost();
    consumer.close().await.unwrap();
    taken
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(name: &str, count: usize, ours: &[Cost], raw: &[Cost]) {
    let rate = |costs: &[Cost]| count as f64 / median(costs.iter().map(|cost| cost.wall).collect()) / 1000.0;
    let cpu = |costs: &[Cost]| median(costs.iter().map(|cost| cost.cpu).collect()) / count as f64 * 1e6;
    let ratio = median(ours.iter().zip(raw).map(|(ours, raw)| raw.wall / ours.wall).collect());
    println!(
        "{name:<28} ours {:>5.0} k/s {:.2} us CPU   raw {:>5.0} k/s {:.2} us CPU   ratio {ratio:.2} wall, {:.2} CPU",
        rate(ours),
        cpu(ours),
        rate(raw),
        cpu(raw),
        cpu(raw) / cpu(ours),
    );
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse().ok());
    let (count, rounds) = (arguments.next().unwrap_or(200_000), arguments.next().unwrap_or(7));
    let section = Section::new("binders.kafka", json!({ "brokers": url(), "min-partition-count": PARTITIONS }));
    let binder = binder_kafka::factory().create(&BinderContext::new("kafka", section)).unwrap();
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(117)).into_bytes();
    let topic = format!("throughput-{}", uuid::Uuid::new_v4().simple());
    drop(binder.bind_producer(&ProducerBinding::new(topic.as_str())).await.unwrap());
    let (mut one, mut many, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        one.push(produce(&binder, &topic, &payload, count, 1).await);
        let (topic, payload) = (topic.clone(), payload.clone());
        raw.push(tokio::task::spawn_blocking(move || raw_produce(&topic, &payload, count)).await.unwrap());
    }
    report("produce, a receipt for each", count, &one, &raw);
    for _ in 0..rounds {
        many.push(produce(&binder, &topic, &payload, count, 128).await);
    }
    report("produce, batches of 128", count, &many, &raw);
    for content_type in [false, true] {
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(consume(&binder, &topic, count, content_type).await);
            raw.push(raw_consume(&topic, count, content_type).await);
        }
        let name = if content_type { "consume, content type read" } else { "consume, headers not read" };
        report(name, count, &ours, &raw);
    }
}
