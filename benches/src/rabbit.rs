//! RabbitMQ: lapin alone, with what the binder sets, sends, reads and guarantees.

use std::collections::VecDeque;
use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use binder_core::binder::BinderFactory;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::WINDOW;
use crate::change::{Change, changes};
use crate::measure::{Cost, Meter};
use crate::ours::Ours;
use crate::tally::Tally;
use crate::twins::{Plan, Twin, Twins, Wish};

const PLAN: Plan = Plan { messages: 10_000, rounds: 15, letters: 20_000 };

/// Compares on the broker at `url`.
pub fn main(url: &str, wish: &Wish) -> ExitCode {
    let ours = Ours {
        kind: "rabbit",
        factory: |context| binder_rabbit::factory().create(context),
        binder: json!({ "url": url }),
        producer: json!({ "required-groups": ["bench"] }),
        consumer: json!({}),
    };
    Twins { ours: &ours, bare: &Bare { url: url.to_owned() }, is_log: false }.run(PLAN, wish)
}

pub struct Bare {
    pub url: String,
}

impl Bare {
    pub async fn connect(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }

    async fn confirming(&self) -> (Connection, Channel) {
        let (connection, channel) = self.connect().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        (connection, channel)
    }
}

/// Nothing that was measured hangs on it.
pub async fn close(connection: Connection) {
    if let Err(cause) = connection.close(200, "done".into()).await {
        eprintln!("not closed: {cause}");
    }
}

pub fn properties(key: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("messageKey".into(), AMQPValue::LongString(key.into()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_priority(0)
        .with_message_id(Uuid::new_v4().to_string().into())
        .with_timestamp(now.as_secs())
        .with_headers(headers)
}

/// Publishes and waits for the confirm.
pub async fn publish(channel: &Channel, destination: &str, bytes: &[u8], properties: BasicProperties) -> Confirmation {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let published = channel.basic_publish(destination.into(), destination.into(), options, bytes, properties).await;
    published.expect("published").await.expect("an answer")
}

pub fn check(confirmation: Confirmation) {
    assert!(confirmation.is_ack(), "refused");
    assert!(confirmation.take_message().is_none(), "no queue takes it");
}

async fn each(channel: &Channel, destination: &str, count: usize) {
    let sends = stream::iter(changes(count)).map(async |change| {
        let bytes = serde_json::to_vec(change).expect("it is JSON");
        publish(channel, destination, &bytes, properties(&change.organization_id)).await
    });
    sends.buffer_unordered(WINDOW).for_each(async |confirmation| check(confirmation)).await;
}

/// The first poll queues the frames; whoever awaits it would wait for each message to be written.
async fn lean(channel: &Channel, destination: &str, count: usize) {
    let mut waiting: VecDeque<BoxFuture<'_, Confirmation>> = VecDeque::with_capacity(WINDOW);
    for change in changes(count) {
        if waiting.len() == WINDOW {
            check(waiting.pop_front().expect("a full window").await);
        }
        let bytes = serde_json::to_vec(change).expect("it is JSON");
        let mut sent =
            async move { publish(channel, destination, &bytes, properties(&change.organization_id)).await }.boxed();
        match sent.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(confirmation) => check(confirmation),
            Poll::Pending => waiting.push_back(sent),
        }
    }
    for sent in waiting {
        check(sent.await);
    }
}

/// How a queue is read.
#[derive(Clone, Copy)]
pub struct Reading {
    pub prefetch: u16,
    /// Acknowledges so many at once.
    pub ack_every: u64,
    /// How long fewer may wait for more.
    pub ack_interval: Duration,
}

/// As ours does it.
pub const AS_OURS: Reading = Reading { prefetch: 256, ack_every: 64, ack_interval: Duration::from_millis(20) };

/// Reads a queue until `take` says that a message was the last.
pub async fn read<T: DeserializeOwned>(
    channel: &Channel,
    queue: &str,
    reading: Reading,
    mut take: impl FnMut(T) -> bool,
) {
    channel.basic_qos(reading.prefetch, BasicQosOptions::default()).await.expect("a prefetch");
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments).await;
    let mut consumer = consumer.expect("a consumer");
    let (mut done, mut told) = (0, 0);
    // runs from the first that is not acknowledged
    let (mut interval, mut runs) = (pin!(sleep(reading.ack_interval)), false);
    loop {
        let next = match consumer.next().now_or_never() {
            Some(next) => next,
            None => {
                if done > told && !runs {
                    interval.as_mut().reset(Instant::now() + reading.ack_interval);
                    runs = true;
                }
                tokio::select! {
                    biased;
                    next = consumer.next() => next,
                    () = &mut interval, if runs => {
                        acknowledge(channel, done).await;
                        (told, runs) = (done, false);
                        continue;
                    }
                }
            }
        };
        let delivery = next.expect("it never ends").expect("a delivery");
        let content_type = delivery.properties.content_type().as_ref().expect("a content type");
        assert_eq!(content_type.as_str(), "application/json");
        let last = take(serde_json::from_slice(&delivery.data).expect("JSON"));
        done = delivery.delivery_tag;
        if last || done - told >= reading.ack_every {
            acknowledge(channel, done).await;
            (told, runs) = (done, false);
        }
        if last {
            // lapin may wait for ever for a connection to close behind a channel that was dropped
            return channel.close(200, "done".into()).await.expect("closed");
        }
    }
}

async fn acknowledge(channel: &Channel, tag: u64) {
    channel.basic_ack(tag, BasicAckOptions { multiple: true }).await.expect("acknowledged");
}

impl Twin for Bare {
    const NAMES: [&'static str; 2] = ["`basic_publish`, the same", "`basic_publish`, confirms in order"];

    async fn publish_each(&self, destination: &str, count: usize) -> Cost {
        let (connection, channel) = self.confirming().await;
        each(&channel, destination, WINDOW).await;
        let meter = Meter::start();
        each(&channel, destination, count).await;
        let cost = meter.cost();
        close(connection).await;
        cost
    }

    async fn publish_lean(&self, destination: &str, count: usize) -> Cost {
        let (connection, channel) = self.confirming().await;
        lean(&channel, destination, WINDOW).await;
        let meter = Meter::start();
        lean(&channel, destination, count).await;
        let cost = meter.cost();
        close(connection).await;
        cost
    }

    async fn consume(&self, destination: &str, group: &str, count: usize) -> Cost {
        let (connection, channel) = self.connect().await;
        let tally = Tally::new(count);
        // On a worker, as ours.
        let (queue, handled) = (format!("{destination}.{group}"), tally.clone());
        let handling = async move { read(&channel, &queue, AS_OURS, |change: Change| handled.take(change)).await };
        tokio::spawn(handling).await.expect("no panic");
        let cost = tally.cost().await;
        close(connection).await;
        cost
    }

    async fn clear(&self, destination: &str, group: &str) {
        let (connection, channel) = self.connect().await;
        let queue = format!("{destination}.{group}");
        channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.expect("purged");
        close(connection).await;
    }

    async fn remove(&self, destinations: &[&str], group: &str) {
        let (connection, channel) = self.connect().await;
        for destination in destinations {
            for queue in [format!("{destination}.{group}"), format!("{destination}.{group}.dlq")] {
                channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
            }
            let exchange = (*destination).into();
            channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await.expect("deleted");
        }
        close(connection).await;
    }
}
