//! ruststream: `#[subscriber]` handlers of an application, with the brokers ruststream-lapin, ruststream-rdkafka and its own in memory.
//!
//! Guarantees. RabbitMQ: a publish through the confirming policy is awaited until the broker has confirmed it, messages are persistent (its
//! default); each delivery is acknowledged when its handler has returned. Kafka: `acks=all` and idempotence, as its page about durability has
//! them; `Commit::Tracked`, "precise at-least-once" (its default, `Auto`, may commit what was only read). Memory: nothing outlives the process.
//!
//! Settings. The prefetch is set (it has none by default), queues are read and not declared (its default). Kafka's client has librdkafka's
//! defaults, or ours where they are to be equal. A subscription has one worker (its default). It sends batches only as transactions, each of
//! which waits for all its confirms; a thousand futures at once wait for each other less, so they are measured.
//!
//! `ruststream` handles one by one, `ruststream:batch` has a handler of slices of up to 128, `ruststream:workers` handles 16 messages at once.

use std::convert::Infallible;
use std::num::NonZeroUsize;

use ruststream::memory::{MemoryBroker, MemoryPublisher};
use ruststream::prelude::*;
use ruststream::runtime::{BrokerScope, Identity};
use ruststream::{Broker, HeaderMap, Str};
use ruststream_lapin::{ConfirmsPublish, ConfirmsPublisher, ConnectedLapinBroker, LapinBroker};
use ruststream_rdkafka::{
    Commit, ConnectedKafkaBroker, KafkaBroker, KafkaPublish, KafkaPublisher, KafkaTopic, PARTITION_KEY_HEADER,
    StartOffset,
};

use crate::common::cases::Peer;
use crate::common::change::{Change, Load};
use crate::common::job::Job;
use crate::common::tally::Tally;
use crate::common::{PREFETCH, WINDOW, at_once, kafka};

/// How else it can be used.
pub const WAYS: [&str; 2] = ["batch", "workers"];

/// The most messages that a handler of slices gets.
const BATCH: NonZeroUsize = nonzero!(128);

/// Handlers at once.
const WORKERS: NonZeroUsize = nonzero!(16);

/// Of RabbitMQ and in memory; its queue is named where it is included.
#[subscriber]
async fn one(change: &Change, ctx: &mut Context<'_, (), Tally>) -> HandlerOutcome {
    take(ctx.state(), std::slice::from_ref(change)).await
}

#[subscriber]
async fn many(changes: &[Change], ctx: &mut Context<'_, (), Tally>) -> HandlerOutcome {
    take(ctx.state(), changes).await
}

#[subscriber(KafkaTopic::new("named where it is included"))]
async fn one_of_kafka(change: &Change, ctx: &mut Context<'_, (), Tally>) -> HandlerOutcome {
    take(ctx.state(), std::slice::from_ref(change)).await
}

#[subscriber(KafkaTopic::new("named where it is included"))]
async fn many_of_kafka(changes: &[Change], ctx: &mut Context<'_, (), Tally>) -> HandlerOutcome {
    take(ctx.state(), changes).await
}

async fn take(tally: &Tally, changes: &[Change]) -> HandlerOutcome {
    tally.gate().await;
    changes.iter().for_each(|change| tally.take(change));
    HandlerOutcome::ack()
}

/// An application with the handlers that `mount` includes.
async fn start<B: Broker + 'static>(
    broker: B,
    tally: Tally,
    mount: impl FnOnce(&mut BrokerScope<B, Identity, (), Tally>),
) -> RunningApp {
    let app = RustStream::new(AppInfo::new("peers", "0.1.0"))
        .on_startup(async move |()| Ok::<_, Infallible>(tally))
        .with_broker(broker, mount);
    app.start().await.expect("it starts")
}

pub struct Memory {
    broker: MemoryBroker,
    job: Job,
}

impl Peer for Memory {
    type Sender = (MemoryPublisher, String);
    type Receiver = RunningApp;

    fn new(job: &Job) -> Self {
        Self { broker: MemoryBroker::new(), job: job.clone() }
    }

    async fn sender(&self) -> Self::Sender {
        (self.broker.publisher(), self.job.place.clone())
    }

    async fn send_all(sender: &Self::Sender, load: Load) {
        // Nothing is waited for, so that there is nothing to be done at once.
        for change in load.one_by_one() {
            Self::send(sender, change).await;
        }
    }

    async fn send((publisher, place): &Self::Sender, change: &Change) {
        publisher.message(change).to(place.as_str()).publish().await.expect("sent");
    }

    async fn receiver(&self, tally: Tally) -> RunningApp {
        let (broker, place) = (self.broker.clone(), self.job.place.clone());
        match self.job.way() {
            Some("batch") => start(broker, tally, |b| drop(b.include(many.name(place).batch(BATCH)))).await,
            Some("workers") => start(broker, tally, |b| drop(b.include(one.name(place).workers(WORKERS)))).await,
            _ => start(broker, tally, |b| drop(b.include(one.name(place)))).await,
        }
    }

    async fn close(app: RunningApp) {
        app.shutdown().await.expect("it ends");
    }
}

pub struct Rabbit(Job);

impl Rabbit {
    fn broker(&self) -> LapinBroker {
        LapinBroker::new(self.0.url.as_str()).prefetch(nonzero!(PREFETCH))
    }
}

impl Peer for Rabbit {
    type Sender = (ConfirmsPublisher, String, ConnectedLapinBroker);
    type Receiver = RunningApp;

    fn new(job: &Job) -> Self {
        Self(job.clone())
    }

    async fn sender(&self) -> Self::Sender {
        let connected = self.broker().connect().await.expect("a connection");
        (connected.publisher(ConfirmsPublish::default()), self.0.place.clone(), connected)
    }

    async fn send_all(sender: &Self::Sender, load: Load) {
        at_once(load.one_by_one(), WINDOW, |change| Self::send(sender, change)).await;
    }

    async fn send((publisher, place, _): &Self::Sender, change: &Change) {
        publisher.message(change).to(place.as_str()).publish().await.expect("confirmed");
    }

    async fn receiver(&self, tally: Tally) -> RunningApp {
        let (broker, place) = (self.broker(), self.0.place.clone());
        match self.0.way() {
            Some("batch") => start(broker, tally, |b| drop(b.include(many.name(place).batch(BATCH)))).await,
            Some("workers") => start(broker, tally, |b| drop(b.include(one.name(place).workers(WORKERS)))).await,
            _ => start(broker, tally, |b| drop(b.include(one.name(place)))).await,
        }
    }

    async fn close(app: RunningApp) {
        app.shutdown().await.expect("it ends");
    }
}

pub struct Kafka(Job);

impl Kafka {
    fn topic(&self) -> KafkaTopic {
        let topic = KafkaTopic::new(self.0.place.as_str())
            .group(self.0.place.as_str())
            .start(StartOffset::Earliest)
            .commit(Commit::Tracked);
        kafka::consumer(&self.0).into_iter().fold(topic, |topic, (name, value)| topic.config(name, value))
    }

    fn broker(&self) -> KafkaBroker {
        let durable = [("acks", "all"), ("enable.idempotence", "true")];
        let settings = durable.into_iter().chain(kafka::producer(&self.0));
        let broker = KafkaBroker::new([self.0.url.as_str()]);
        settings.fold(broker, |broker, (name, value)| broker.producer_config(name, value))
    }
}

impl Peer for Kafka {
    type Sender = (KafkaPublisher, String, ConnectedKafkaBroker);
    type Receiver = RunningApp;

    fn new(job: &Job) -> Self {
        Self(job.clone())
    }

    async fn sender(&self) -> Self::Sender {
        let connected = self.broker().connect().await.expect("a client");
        (connected.publisher(KafkaPublish::default()), self.0.place.clone(), connected)
    }

    async fn send_all(sender: &Self::Sender, load: Load) {
        at_once(load.one_by_one(), WINDOW, |change| Self::send(sender, change)).await;
    }

    async fn send((publisher, place, _): &Self::Sender, change: &Change) {
        let mut headers = HeaderMap::new();
        headers.insert(Str::from_static(PARTITION_KEY_HEADER), change.key.clone());
        publisher.message(change).to(place.as_str()).with_headers(headers).publish().await.expect("confirmed");
    }

    async fn receiver(&self, tally: Tally) -> RunningApp {
        let (broker, topic) = (self.broker(), self.topic());
        let (single, batches) =
            (one_of_kafka.map_source(|_| topic.clone()), many_of_kafka.map_source(|_| topic.clone()));
        match self.0.way() {
            Some("batch") => start(broker, tally, |b| drop(b.include(batches.batch(BATCH)))).await,
            Some("workers") => start(broker, tally, |b| drop(b.include(single.workers(WORKERS)))).await,
            _ => start(broker, tally, |b| drop(b.include(single))).await,
        }
    }

    async fn close(app: RunningApp) {
        app.shutdown().await.expect("it ends");
    }
}
