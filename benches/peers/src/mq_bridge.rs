//! mq-bridge: routes and publishers by configuration, with a handler in code.
//!
//! Guarantees, all its defaults. RabbitMQ: confirms are awaited, messages are persistent and mandatory, every delivery of a batch is
//! acknowledged by itself once all of the batch is handled. Kafka: `acks=all`, idempotent; the offsets of a batch are committed once it is
//! handled. In memory a message is gone when it is read; `enable_nack` would keep it.
//!
//! Settings. Everything is in batches, which a publisher makes of what it is given at once: eight batches of up to 125 messages are under way,
//! near to the batches of 128 of its own performance tests. Routes have their defaults, a batch of up to 512 and no concurrency. The prefetch
//! is set (100 by default), and the metadata of a message carry the key of Kafka (by default a message's id). Its default for Kafka's
//! producer is lz4 and 1 ms; where settings are to be equal, there is no compression.
//!
//! `mq-bridge` has an asynchronous handler for each message; `mq-bridge:observe` its fast path for handlers that change nothing, which see a
//! batch at once; `mq-bridge:parallel` four tasks for each route with batches of 128, as its performance tests have them.

use mq_bridge::route::RouteHandle;
use mq_bridge::traits::{Handler, Passthrough};
use mq_bridge::{CanonicalMessage, Handled, HandlerError, Publisher, Route, SentBatch};
use serde_json::{Value, json};

use crate::common::cases::Peer;
use crate::common::change::{Change, Load};
use crate::common::job::Job;
use crate::common::tally::Tally;
use crate::common::{PREFETCH, WINDOW, at_once, kafka};

/// How else it can be used.
pub const WAYS: [&str; 2] = ["observe", "parallel"];

const BATCHES: usize = 8;

/// Where a message's key is found.
const KEY: &str = "organization";

struct Take(Tally);

impl Take {
    fn take(&self, message: &CanonicalMessage) {
        self.0.take(&message.parse::<Change>().expect("it is a change"));
    }
}

#[async_trait::async_trait]
impl Handler for Take {
    async fn handle(&self, message: CanonicalMessage) -> Result<Handled, HandlerError> {
        self.0.gate().await;
        self.take(&message);
        Ok(Handled::Ack)
    }
}

/// Sees batches, and changes nothing.
struct Observe(Take);

#[async_trait::async_trait]
impl Handler for Observe {
    async fn handle(&self, message: CanonicalMessage) -> Result<Handled, HandlerError> {
        self.0.handle(message).await
    }

    fn observe(&self, messages: &[CanonicalMessage]) -> Option<Passthrough> {
        // What has to wait can't be observed.
        self.0.0.is_open().then(|| {
            messages.iter().for_each(|message| self.0.take(message));
            Passthrough::Ack
        })
    }
}

/// A publisher, and whether it needs the key.
pub struct Sender(Publisher, bool);

impl Sender {
    async fn new(endpoint: Value, has_key: bool) -> Self {
        Self(Publisher::from_config(endpoint).await.expect("a publisher"), has_key)
    }

    fn message(&self, change: &Change) -> CanonicalMessage {
        let message = CanonicalMessage::from_type(change).expect("strings are JSON");
        if self.1 { message.with_metadata_kv(KEY, change.key.clone()) } else { message }
    }

    async fn send_all(&self, load: Load) {
        at_once(load.batches(WINDOW / BATCHES), BATCHES, |batch| self.send_batch(batch)).await;
    }

    async fn send_batch(&self, batch: &'static [Change]) {
        let messages = batch.iter().map(|change| self.message(change)).collect();
        if let SentBatch::Partial { failed, .. } = self.0.send_batch(messages).await.expect("sent") {
            let (_, cause) = failed.first().expect("a failure");
            panic!("{} messages are not confirmed: {cause}", failed.len());
        }
    }

    async fn send(&self, change: &Change) {
        self.0.send(self.message(change)).await.expect("confirmed");
    }
}

/// A route that ends in a handler.
async fn route(job: &Job, input: Value, tally: Tally) -> RouteHandle {
    let mut config = json!({ "input": input });
    if job.way() == Some("parallel") {
        config["concurrency"] = json!(4);
        config["batch_size"] = json!(128);
    }
    let route: Route = serde_json::from_value(config).expect("the configuration is right");
    let route = if job.way() == Some("observe") {
        route.with_handler(Observe(Take(tally)))
    } else {
        route.with_handler(Take(tally))
    };
    route.run("peers").await.expect("it runs")
}

macro_rules! peer {
    ($name:ident, has_key: $has_key:literal, $output:ident, $input:ident) => {
        pub struct $name(Job);

        impl Peer for $name {
            type Sender = Sender;
            type Receiver = RouteHandle;

            fn new(job: &Job) -> Self {
                Self(job.clone())
            }

            async fn sender(&self) -> Sender {
                Sender::new($output(&self.0), $has_key).await
            }

            async fn send_all(sender: &Sender, load: Load) {
                sender.send_all(load).await;
            }

            async fn send(sender: &Sender, change: &Change) {
                sender.send(change).await;
            }

            async fn receiver(&self, tally: Tally) -> RouteHandle {
                route(&self.0, $input(&self.0), tally).await
            }

            async fn close(route: RouteHandle) {
                route.stop().await;
                route.join().await.expect("no panic");
            }
        }
    };
}

peer!(Memory, has_key: false, memory, memory);
peer!(Rabbit, has_key: false, amqp_output, amqp_input);
peer!(Kafka, has_key: true, kafka_output, kafka_input);

/// There is room for all batches.
fn memory(job: &Job) -> Value {
    json!({ "memory": { "topic": job.place, "capacity": job.messages / (WINDOW / BATCHES) + 100 } })
}

fn amqp_output(job: &Job) -> Value {
    json!({ "amqp": { "url": job.url, "queue": job.place } })
}

fn amqp_input(job: &Job) -> Value {
    json!({ "amqp": { "url": job.url, "queue": job.place, "prefetch_count": PREFETCH } })
}

fn kafka_output(job: &Job) -> Value {
    let options = kafka::producer(job);
    json!({ "kafka": { "url": job.url, "topic": job.place, "partition_key": KEY, "producer_options": options } })
}

fn kafka_input(job: &Job) -> Value {
    let options = kafka::consumer(job);
    json!({ "kafka": { "url": job.url, "topic": job.place, "group_id": job.place, "consumer_options": options } })
}
