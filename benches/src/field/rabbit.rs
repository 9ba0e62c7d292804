//! RabbitMQ: the library, and lapin alone.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use binder_core::binder::BinderFactory;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use serde_json::json;
use tokio::task::JoinHandle;

use super::event::{Event, Source};
use super::ours::{GROUP, Sender};
use super::player::{Consumer, Player, Producer, WINDOW};
use super::service::{Receiver, Service};
use super::sink::Sink;
use crate::rabbit::{Bare, acknowledge, check, close, properties, publish};
use crate::twins::Twin;

/// The library.
pub struct Ours {
    url: String,
    service: Service,
}

impl Ours {
    pub fn new(url: String, destination: String, batch: bool) -> Self {
        let service = Service {
            kind: "rabbit",
            factory: |context| binder_rabbit::factory().create(context),
            binder: json!({ "url": url }),
            destination,
            producer: json!({ "required-groups": [GROUP] }),
            consumer: json!({}),
            batch,
        };
        Self { url, service }
    }
}

impl Player for Ours {
    type Producer = Sender;
    type Consumer = Receiver;

    /// The library makes what it needs.
    async fn prepare(&self) {}

    async fn producer(&self) -> Sender {
        self.service.sender().await
    }

    async fn consumer(&self, sink: Sink) -> Receiver {
        self.service.receiver(sink).await
    }

    async fn remove(&self) {
        Bare { url: self.url.clone() }.remove(&[&self.service.destination], GROUP).await;
    }
}

/// How the bare client is used.
#[derive(Clone, Copy)]
struct Habits {
    prefetch: u16,
    ack_every: u64,
    /// Whether a message gets an id, a time, a priority and its key, as ours do.
    full: bool,
}

const AS_OURS: Habits = Habits { prefetch: 256, ack_every: 64, full: true };

/// For throughput. More than a content type and persistence is not said, more is read ahead, and less is acknowledged.
const TUNED: Habits = Habits { prefetch: 1024, ack_every: 128, full: false };

/// lapin alone, with the guarantees of the library: confirmed, mandatory, persistent, acknowledged when handled.
pub struct Raw {
    bare: Bare,
    destination: String,
    habits: Habits,
}

impl Raw {
    pub fn new(url: String, destination: String, tuned: bool) -> Self {
        Self { bare: Bare { url }, destination, habits: if tuned { TUNED } else { AS_OURS } }
    }

    fn queue(&self) -> String {
        format!("{}.{GROUP}", self.destination)
    }
}

impl Player for Raw {
    type Producer = RawProducer;
    type Consumer = RawConsumer;

    async fn prepare(&self) {
        let (connection, channel) = self.bare.connect().await;
        let exchange = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default();
        let name = self.destination.as_str();
        let declared = channel.exchange_declare(name.into(), ExchangeKind::Topic, exchange, none.clone()).await;
        declared.expect("an exchange");
        let queue = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(self.queue().into(), queue, none.clone()).await.expect("a queue");
        let bound = channel.queue_bind(self.queue().into(), name.into(), "#".into(), QueueBindOptions::default(), none);
        bound.await.expect("bound");
        close(connection).await;
    }

    async fn producer(&self) -> RawProducer {
        let (connection, channel) = self.bare.connect().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        RawProducer { connection, channel, destination: self.destination.clone(), full: self.habits.full }
    }

    async fn consumer(&self, sink: Sink) -> RawConsumer {
        let (connection, channel) = self.bare.connect().await;
        let handling = handle_all(channel, self.queue(), self.habits, sink);
        RawConsumer { connection, handling: tokio::spawn(handling) }
    }

    async fn remove(&self) {
        self.bare.remove(&[&self.destination], GROUP).await;
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

async fn handle_all(channel: Channel, queue: String, habits: Habits, sink: Sink) {
    channel.basic_qos(habits.prefetch, BasicQosOptions::default()).await.expect("a prefetch");
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments).await;
    let mut consumer = consumer.expect("a consumer");
    let (mut done, mut told) = (0, 0);
    loop {
        let next = match consumer.next().now_or_never() {
            Some(next) => next,
            None => {
                if done > told {
                    acknowledge(&channel, done).await;
                    told = done;
                }
                consumer.next().await
            }
        };
        let delivery = next.expect("it never ends").expect("a delivery");
        let content_type = delivery.properties.content_type().as_ref().expect("a content type");
        assert_eq!(content_type.as_str(), "application/json");
        let event: Event = serde_json::from_slice(&delivery.data).expect("JSON");
        let last = sink.take(event);
        done = delivery.delivery_tag;
        if last || done - told >= habits.ack_every {
            acknowledge(&channel, done).await;
            told = done;
        }
        if last {
            return;
        }
    }
}
