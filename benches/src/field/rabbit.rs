//! RabbitMQ: the library, and lapin alone.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use binder_core::binder::BinderFactory;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use lapin::options::{
    ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use serde_json::json;
use tokio::task::JoinHandle;

use super::event::{Event, Source};
use super::idle;
use super::ours::{GROUP, Receiver, Sender};
use super::player::{Consumer, Player, Producer, WINDOW};
use super::protocol::Task;
use super::service::Service;
use super::sink::Sink;
use crate::rabbit::{Bare, Reading, check, close, properties, publish, read};
use crate::twins::Twin;

/// The library.
pub struct Ours {
    url: String,
    service: Service,
    beside: usize,
}

impl Ours {
    pub fn new(url: String, destination: String, task: &Task, batch: bool) -> Self {
        let service = Service {
            kind: "rabbit",
            factory: |context| binder_rabbit::factory().create(context),
            binder: json!({ "url": url }),
            destination,
            producer: json!({ "required-groups": [GROUP] }),
            consumer: json!({}),
            batch,
            pause: Duration::ZERO,
        };
        Self { url, service: service.asked(task), beside: task.beside }
    }
}

impl Player for Ours {
    type Producer = Sender;
    type Consumer = Receiver;
    type Beside = Receiver;

    /// The library makes what it needs.
    async fn prepare(&self) {}

    async fn producer(&self) -> Sender {
        self.service.sender().await
    }

    async fn consumer(&self, sink: Sink) -> Receiver {
        self.service.receiver(sink).await
    }

    async fn beside(&self, count: usize) -> Receiver {
        self.service.beside(count).await
    }

    async fn remove(&self) {
        remove(&Bare { url: self.url.clone() }, &self.service.destination, self.beside).await;
    }
}

/// Deletes the busy queue and the idle ones.
async fn remove(bare: &Bare, destination: &str, beside: usize) {
    bare.remove(&[destination], GROUP).await;
    if beside == 0 {
        return;
    }
    let (connection, channel) = bare.connect().await;
    let destination = idle::destination(destination);
    for number in 0..beside {
        let queue = format!("{destination}.{}", idle::group(number));
        for queue in [format!("{queue}.dlq"), queue] {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
        }
    }
    channel.exchange_delete(destination.into(), ExchangeDeleteOptions::default()).await.expect("deleted");
    close(connection).await;
}

/// How the bare client is used.
#[derive(Clone, Copy)]
struct Habits {
    reading: Reading,
    /// Whether a message gets an id, a time, a priority and its key, as ours do.
    full: bool,
}

const AS_OURS: Habits = Habits { reading: crate::rabbit::AS_OURS, full: true };

/// For throughput. More than a content type and persistence is not said, more is read ahead, and less is acknowledged.
const TUNED: Habits = Habits {
    reading: Reading { prefetch: 1024, ack_every: 512, ack_interval: Duration::from_millis(100) },
    full: false,
};

/// lapin alone, with the guarantees of the library: confirmed, mandatory, persistent, acknowledged when handled.
pub struct Raw {
    bare: Bare,
    destination: String,
    habits: Habits,
    beside: usize,
}

impl Raw {
    pub fn new(url: String, destination: String, task: &Task, tuned: bool) -> Self {
        let habits = if tuned { TUNED } else { AS_OURS };
        Self { bare: Bare { url }, destination, habits, beside: task.beside }
    }

    fn queue(&self) -> String {
        format!("{}.{GROUP}", self.destination)
    }

    /// Declares a queue that gets what is sent to a destination.
    async fn declare(channel: &Channel, destination: &str, queue: &str) {
        let exchange = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default();
        let declared = channel.exchange_declare(destination.into(), ExchangeKind::Topic, exchange, none.clone()).await;
        declared.expect("an exchange");
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, none.clone()).await.expect("a queue");
        let bound = channel.queue_bind(queue.into(), destination.into(), "#".into(), QueueBindOptions::default(), none);
        bound.await.expect("bound");
    }
}

impl Player for Raw {
    type Producer = RawProducer;
    type Consumer = RawConsumer;
    type Beside = RawBeside;

    async fn prepare(&self) {
        let (connection, channel) = self.bare.connect().await;
        Self::declare(&channel, &self.destination, &self.queue()).await;
        close(connection).await;
    }

    async fn producer(&self) -> RawProducer {
        let (connection, channel) = self.bare.connect().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        RawProducer { connection, channel, destination: self.destination.clone(), full: self.habits.full }
    }

    async fn consumer(&self, sink: Sink) -> RawConsumer {
        let (connection, channel) = self.bare.connect().await;
        let (queue, reading) = (self.queue(), self.habits.reading);
        let handling = async move { read(&channel, &queue, reading, |event: Event| sink.take(event)).await };
        RawConsumer { connection, handling: tokio::spawn(handling) }
    }

    /// A channel for each, as ours have.
    async fn beside(&self, count: usize) -> RawBeside {
        let (connection, _) = self.bare.connect().await;
        let destination = idle::destination(&self.destination);
        let mut reading = Vec::with_capacity(count);
        for number in 0..count {
            let channel = connection.create_channel().await.expect("a channel");
            let queue = format!("{destination}.{}", idle::group(number));
            Self::declare(&channel, &destination, &queue).await;
            let habits = self.habits.reading;
            let read = async move { read(&channel, &queue, habits, |_: Event| false).await };
            reading.push(tokio::spawn(read));
        }
        RawBeside { connection, reading }
    }

    async fn remove(&self) {
        remove(&self.bare, &self.destination, self.beside).await;
    }
}

pub struct RawProducer {
    connection: Connection,
    channel: Channel,
    destination: String,
    full: bool,
}

impl RawProducer {
    fn properties(&self, event: &Event) -> BasicProperties {
        if self.full {
            return properties(&event.key);
        }
        BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2)
    }
}

impl Producer for RawProducer {
    /// Awaits confirms in order. The first poll queues the frames; whoever awaits it would wait for each message to be written.
    async fn send(&mut self, mut source: Source) {
        let this = &*self;
        let mut waiting: VecDeque<BoxFuture<'_, Confirmation>> = VecDeque::with_capacity(WINDOW);
        while let Some(event) = source.next().await {
            if waiting.len() == WINDOW {
                check(waiting.pop_front().expect("a full window").await);
            }
            let bytes = serde_json::to_vec(&*event).expect("it is JSON");
            let properties = this.properties(&event);
            let mut sent = async move { publish(&this.channel, &this.destination, &bytes, properties).await }.boxed();
            match sent.poll_unpin(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(confirmation) => check(confirmation),
                Poll::Pending => waiting.push_back(sent),
            }
        }
        for sent in waiting {
            check(sent.await);
        }
    }

    async fn close(self) {
        close(self.connection).await;
    }
}

pub struct RawConsumer {
    connection: Connection,
    handling: JoinHandle<()>,
}

impl Consumer for RawConsumer {
    async fn close(self) {
        self.handling.await.expect("no panic");
        close(self.connection).await;
    }
}

pub struct RawBeside {
    connection: Connection,
    reading: Vec<JoinHandle<()>>,
}

impl Consumer for RawBeside {
    async fn close(self) {
        self.reading.iter().for_each(JoinHandle::abort);
        close(self.connection).await;
    }
}
