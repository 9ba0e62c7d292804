//! Kafka before and after a measurement, with rdkafka alone.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::change::Change;
use super::job::Job;
use super::{LARGE, LARGEST, PARTITIONS, WINDOW, at_once};

/// What our own producers set beside librdkafka's defaults.
const PRODUCER: [(&str, &str); 6] = [
    ("linger.ms", "1"),
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("partitioner", "murmur2_random"),
    ("compression.type", "none"),
    ("socket.nagle.disable", "true"),
];

/// What our own consumers set beside librdkafka's defaults, but for how offsets are stored, which is the peer's business.
const CONSUMER: [(&str, &str); 4] = [
    ("fetch.queue.backoff.ms", "10"),
    ("auto.commit.interval.ms", "1000"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("socket.nagle.disable", "true"),
];

/// What a producer is told beside its defaults: ours, if settings are to be equal, and that messages may be large.
pub fn producer(job: &Job) -> Vec<(&'static str, &'static str)> {
    let large = (job.size > LARGE).then_some(("message.max.bytes", LARGEST));
    ours(job, &PRODUCER).chain(large).collect()
}

/// What a consumer is told beside its defaults.
pub fn consumer(job: &Job) -> Vec<(&'static str, &'static str)> {
    ours(job, &CONSUMER).collect()
}

type Settings = [(&'static str, &'static str)];

fn ours(job: &Job, settings: &'static Settings) -> impl Iterator<Item = (&'static str, &'static str)> {
    settings.iter().copied().filter(|_| job.is_equal())
}

fn config(job: &Job) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &job.url);
    config
}

fn admin(job: &Job) -> AdminClient<DefaultClientContext> {
    config(job).create().expect("a client")
}

pub async fn create(job: &Job) {
    let mut topic = NewTopic::new(&job.place, PARTITIONS, TopicReplication::Fixed(1));
    if job.size > LARGE {
        topic = topic.set("max.message.bytes", LARGEST);
    }
    let created = admin(job).create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
    for topic in created {
        topic.expect("created");
    }
}

/// Puts messages there.
pub async fn fill(job: &Job, changes: impl Iterator<Item = &'static Change>) {
    let mut config = config(job);
    config.set("message.max.bytes", LARGEST);
    config.set("linger.ms", "5").set("acks", "all").set("partitioner", "murmur2_random");
    let producer: FutureProducer = config.create().expect("a client");
    at_once(changes, WINDOW, |change| send(&producer, &job.place, change)).await;
}

async fn send(producer: &FutureProducer, topic: &str, change: &Change) {
    let payload = change.json();
    let record = FutureRecord::to(topic).key(&change.key).payload(&payload);
    producer.send(record, Timeout::Never).await.map_err(|(cause, _)| cause).expect("sent");
}

pub async fn remove(job: &Job) {
    let deleted = admin(job).delete_topics(&[&job.place], &AdminOptions::new()).await.expect("an answer");
    for topic in deleted {
        if let Err((topic, cause)) = topic {
            eprintln!("{topic} is left: {cause}");
        }
    }
}
