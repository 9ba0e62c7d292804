//! omniqueue: a producer and a consumer of a queue, without handlers: the loop is the program's own.
//!
//! Guarantees. RabbitMQ: it has **no confirms**, so that sending ends when the client has taken a message; what is measured with both sides
//! shows that all arrived. Messages are persistent because the program says so (its properties are empty by default). Each delivery is
//! acknowledged by itself. In memory a queue is a channel of tokio without bounds.
//!
//! Settings. The prefetch is set (there is none by default). The client, lapin 2.5, runs in tokio, as in the tests of omniqueue; left alone it
//! brings threads of its own. A consumer takes what is there, up to a prefetch, with `receive_all`, and settles it at once.

use std::time::Duration;

use futures::future::join_all;
use omniqueue::backends::{InMemoryBackend, InMemoryProducer, RabbitMqBackend, RabbitMqConfig, RabbitMqProducer};
use omniqueue::{Delivery, QueueConsumer};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::common::PREFETCH;
use crate::common::cases::Peer;
use crate::common::change::{Change, Load};
use crate::common::job::{Case, Job};
use crate::common::tally::Tally;

/// It is used in one way.
pub const WAYS: [&str; 0] = [];

/// How long a consumer waits before it asks again.
const ASKING: Duration = Duration::from_secs(1);

async fn handle_all(mut consumer: impl QueueConsumer, tally: Tally) {
    while !tally.is_done() {
        let deliveries = consumer.receive_all(usize::from(PREFETCH), ASKING).await.expect("deliveries");
        tally.gate().await;
        for delivery in &deliveries {
            let change: Option<Change> = delivery.payload_serde_json().expect("it is a change");
            tally.take(&change.expect("there is a payload"));
        }
        let settled = join_all(deliveries.into_iter().map(Delivery::ack)).await;
        settled.into_iter().for_each(|settled| settled.map_err(|(cause, _)| cause).expect("acknowledged"));
    }
}

/// Both halves are made together, with the receiver; the other one waits here.
pub struct Memory(Mutex<Option<InMemoryProducer>>);

impl Peer for Memory {
    type Sender = InMemoryProducer;
    type Receiver = JoinHandle<()>;

    fn new(_: &Job) -> Self {
        Self(Mutex::new(None))
    }

    async fn sender(&self) -> InMemoryProducer {
        self.0.lock().await.take().expect("made with the receiver")
    }

    async fn send_all(sender: &InMemoryProducer, load: Load) {
        for change in load.one_by_one() {
            Self::send(sender, change).await;
        }
    }

    async fn send(sender: &InMemoryProducer, change: &Change) {
        sender.send_serde_json(change).await.expect("sent");
    }

    async fn receiver(&self, tally: Tally) -> JoinHandle<()> {
        let (producer, consumer) = InMemoryBackend::builder().build_pair().await.expect("a queue");
        *self.0.lock().await = Some(producer);
        tokio::spawn(handle_all(consumer, tally))
    }

    async fn close(handling: JoinHandle<()>) {
        handling.await.expect("no panic");
    }
}

pub struct Rabbit(RabbitMqConfig);

impl Peer for Rabbit {
    type Sender = RabbitMqProducer;
    type Receiver = JoinHandle<()>;

    fn refuses(job: &Job) -> Option<String> {
        (job.case == Case::Publish).then(|| "it does not know confirms".to_owned())
    }

    fn new(job: &Job) -> Self {
        use omniqueue::backends::rabbitmq::{BasicProperties, ConnectionProperties};
        let client = ConnectionProperties::default()
            .with_executor(tokio_executor_trait::Tokio::current())
            .with_reactor(tokio_reactor_trait::Tokio);
        Self(RabbitMqConfig {
            uri: job.url.clone(),
            connection_properties: client,
            publish_exchange: String::new(),
            publish_routing_key: job.place.clone(),
            publish_options: Default::default(),
            publish_properties: BasicProperties::default().with_delivery_mode(2),
            consume_queue: job.place.clone(),
            consumer_tag: "peers".to_owned(),
            consume_options: Default::default(),
            consume_arguments: Default::default(),
            consume_prefetch_count: Some(PREFETCH),
            requeue_on_nack: true,
        })
    }

    async fn sender(&self) -> RabbitMqProducer {
        RabbitMqBackend::builder(self.0.clone()).build_producer().await.expect("a producer")
    }

    async fn send_all(sender: &RabbitMqProducer, load: Load) {
        for change in load.one_by_one() {
            Self::send(sender, change).await;
        }
    }

    async fn send(sender: &RabbitMqProducer, change: &Change) {
        sender.send_serde_json(change).await.expect("sent");
    }

    async fn receiver(&self, tally: Tally) -> JoinHandle<()> {
        let consumer = RabbitMqBackend::builder(self.0.clone()).build_consumer().await.expect("a consumer");
        tokio::spawn(handle_all(consumer, tally))
    }

    async fn close(handling: JoinHandle<()>) {
        handling.await.expect("no panic");
    }
}
