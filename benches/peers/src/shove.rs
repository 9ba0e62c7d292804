//! shove: topics that are types, with handlers and retries.
//!
//! Guarantees, all its defaults. RabbitMQ: confirms are awaited, messages are persistent, each delivery is acknowledged by itself and in order,
//! and a batch with one frame. Kafka: `acks=all`, idempotent; what handlers have completed is committed every 500 ms, and a batch before the
//! next one. In memory nothing outlives the process.
//!
//! Settings. The prefetch is set (10 by default); handlers of what was fetched run at once (its default). A topic has neither hold queues nor dead
//! letters, so that its queue is the plain one that all read; in memory it has room for all messages (10,000 by default). Only a sequenced topic has keys, and only as many at once as it has shards, so
//! messages of Kafka are without. Of Kafka's client it can only be told to linger, which is done where settings are to be equal.
//!
//! It sends with `publish_batch`: ten batches of up to 100 at once. `shove` handles one by one, by a supervisor; `shove:batch` with its
//! `BatchConsumer` and its defaults, up to 500 messages (which is the prefetch then) or 250 ms.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::time::Duration;

use shove::batch_consumer::BatchConsumerOptions;
use shove::inmemory::InMemoryConfig;
use shove::kafka::KafkaConfig;
use shove::rabbitmq::RabbitMqConfig;
use shove::{
    BatchMessageHandler, Broker, ConsumerOptions, InMemory, MessageHandler, MessageMetadata, Outcome, Publisher,
    RabbitMq, TopologyBuilder, define_topic,
};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::common::cases::Peer;
use crate::common::change::{Change, Load};
use crate::common::job::{self, Job};
use crate::common::tally::Tally;
use crate::common::{LARGE, PREFETCH, WINDOW, at_once};

/// How else it can be used.
pub const WAYS: [&str; 1] = ["batch"];

const BATCHES: usize = 10;

/// The name of the topic, which is a type and so the same for the whole process.
static PLACE: OnceLock<String> = OnceLock::new();

define_topic!(Changed, Change, TopologyBuilder::new(PLACE.get().expect("set at the start").as_str()).build());

/// How long what is under way may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stops it, and what then ends.
type Handling = (CancellationToken, JoinHandle<()>);

#[derive(Clone)]
struct Take(Tally);

impl MessageHandler<Changed> for Take {
    type Context = ();

    async fn handle(&self, change: Change, _: MessageMetadata, (): &()) -> Outcome {
        self.0.gate().await;
        self.0.take(&change);
        Outcome::Ack
    }
}

impl BatchMessageHandler<Changed> for Take {
    type Context = ();

    async fn handle_batch(&self, messages: Vec<(Change, MessageMetadata)>, (): &()) -> Outcome {
        self.0.gate().await;
        messages.iter().for_each(|(change, _)| self.0.take(change));
        Outcome::Ack
    }
}

macro_rules! peer {
    ($name:ident, $marker:ty, $job:ident => $config:expr) => {
        pub struct $name {
            broker: OnceCell<Broker<$marker>>,
            job: Job,
        }

        impl $name {
            async fn broker(&self) -> &Broker<$marker> {
                let $job = &self.job;
                let connect = async || {
                    let broker = Broker::<$marker>::new($config).await.expect("a broker");
                    broker.topology().declare::<Changed>().await.expect("declared");
                    broker
                };
                self.broker.get_or_init(connect).await
            }
        }

        impl Peer for $name {
            type Sender = Publisher<$marker>;
            type Receiver = Handling;

            fn refuses(job: &Job) -> Option<String> {
                let is_too_large = job.broker == job::Broker::Kafka && job.size > LARGE;
                is_too_large.then(|| "it can't be told that messages are large".to_owned())
            }

            fn new(job: &Job) -> Self {
                PLACE.get_or_init(|| job.place.clone());
                Self { broker: OnceCell::new(), job: job.clone() }
            }

            async fn sender(&self) -> Self::Sender {
                self.broker().await.publisher().await.expect("a publisher")
            }

            async fn send_all(sender: &Self::Sender, load: Load) {
                let send = |batch| async move { sender.publish_batch::<Changed>(batch).await.expect("confirmed") };
                at_once(load.batches(WINDOW / BATCHES), BATCHES, send).await;
            }

            async fn send(sender: &Self::Sender, change: &Change) {
                sender.publish::<Changed>(change).await.expect("confirmed");
            }

            async fn receiver(&self, tally: Tally) -> Handling {
                let (broker, stop) = (self.broker().await, CancellationToken::new());
                if self.job.way() == Some("batch") {
                    let (consumer, options) = (broker.batch_consumer(), BatchConsumerOptions::new());
                    let options = options.with_shutdown(stop.clone());
                    let run = async move { consumer.run::<Changed, _>(Take(tally), (), options).await };
                    return (stop, tokio::spawn(async { run.await.expect("it ran") }));
                }
                let mut supervisor = broker.consumer_supervisor();
                let options = ConsumerOptions::<$marker>::new().with_prefetch_count(PREFETCH);
                supervisor.register::<Changed, _>(Take(tally), options).expect("registered");
                let run = supervisor.run_until_timeout(stop.clone().cancelled_owned(), PATIENCE);
                (stop, tokio::spawn(async { assert!(run.await.is_clean(), "it ran") }))
            }

            async fn close((stop, handling): Handling) {
                stop.cancel();
                handling.await.expect("no panic");
            }
        }
    };
}

// There is room for all messages.
peer!(Memory, InMemory, job => {
    InMemoryConfig::default().with_default_capacity(NonZeroUsize::new(job.messages).expect("some messages"))
});
peer!(Rabbit, RabbitMq, job => RabbitMqConfig::new(&job.url));
peer!(Kafka, shove::Kafka, job => {
    let config = KafkaConfig::new(&job.url);
    if job.is_equal() { config.with_producer_linger_ms(1) } else { config }
});
