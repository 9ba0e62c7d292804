//! A client that sends, with a receipt for each message.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use binder_core::binder::{BatchFailures, Receipts, Slot};
use binder_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::bootstrap::Bootstrap;
use crate::error::from_kafka;
use crate::link::{Link, PROBE_PATIENCE};
use crate::settings;

const _: () = assert!(usize::BITS >= u64::BITS, "a receipt's slot travels in the word that librdkafka gives back");

const POLL: Duration = Duration::from_millis(100);

/// Where the client's answers arrive.
struct Answers {
    receipts: Receipts,
    link: Link,
    bootstrap: Bootstrap,
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.link.on_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.on_error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.bootstrap.look(statistics);
    }
}

impl ProducerContext for Answers {
    /// A slot and an index, packed: no allocation for each message.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, word: usize) {
        let (slot, index) = Slot::unpack(word as u64);
        let answer = match result {
            Ok(_) => {
                self.link.worked();
                Ok(())
            }
            Err((cause, _)) => Err(self.link.fail(cause.clone())),
        };
        self.receipts.complete(slot, index, answer);
    }
}

/// A record to be sent.
pub(crate) struct Record<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: Option<OwnedHeaders>,
}

/// A producer client and the thread that polls it; the thread also lets it go, because that blocks.
pub(crate) struct Sender {
    client: Arc<BaseProducer<Answers>>,
    stop: Arc<AtomicBool>,
    /// What the client's buffer holds, in bytes.
    buffer: usize,
}

impl Sender {
    pub(crate) fn new(config: &ClientConfig, window: u32, link: Link) -> Result<Self> {
        let bootstrap = Bootstrap::new();
        let answers = Answers { receipts: Receipts::new(window), link: link.clone(), bootstrap: bootstrap.clone() };
        let mut told = config.clone();
        settings::tells(&mut told);
        let client = BaseProducer::from_config_and_context(&told, answers);
        let client = Arc::new(client.map_err(|cause| from_kafka(cause, None))?);
        bootstrap.is_of(&client, config, |client| client.client());
        let asked = Arc::downgrade(&client);
        link.probe_with(move || {
            let client = asked.upgrade()?;
            Some(client.client().fetch_metadata(None, PROBE_PATIENCE).is_ok())
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, stopped) = (Arc::clone(&client), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("kafka-send".to_owned()).spawn(move || {
            while !stopped.load(Relaxed) {
                polled.poll(POLL);
            }
        });
        thread.map_err(|cause| Error::new(ErrorKind::Unexpected, "no thread for the producer").with_source(cause))?;
        let kilobytes = config.get("queue.buffering.max.kbytes").and_then(|text| text.parse().ok());
        Ok(Self { client, stop, buffer: kilobytes.map_or(usize::MAX, |count: usize| count.saturating_mul(1024)) })
    }

    /// Returns whether an error says that the buffer is full at the moment: a message that never fits is another matter.
    pub(crate) fn is_full(&self, cause: &KafkaError, payload: Option<&[u8]>) -> bool {
        cause.rdkafka_error_code() == Some(Code::QueueFull) && payload.map_or(0, <[u8]>::len) <= self.buffer
    }

    /// Returns what asks the broker how many partitions a topic has; it may block.
    pub(crate) fn asks_for_partitions(&self, topic: &str) -> impl FnOnce() -> Option<u32> + Send + 'static {
        let (client, topic) = (Arc::downgrade(&self.client), topic.to_owned());
        move || {
            let metadata = client.upgrade()?.client().fetch_metadata(Some(&topic), PROBE_PATIENCE).ok()?;
            let found = metadata.topics().iter().find(|found| found.name() == topic)?;
            u32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)
        }
    }

    pub(crate) fn receipts(&self) -> &Receipts {
        &self.client.context().receipts
    }

    pub(crate) fn link(&self) -> &Link {
        &self.client.context().link
    }

    /// Sends one record, made anew for each try, and waits until the broker has confirmed it.
    pub(crate) async fn deliver<'a>(&self, record: impl Fn() -> Record<'a> + Send) -> Result<()> {
        let receipts = self.receipts();
        loop {
            let Some(slot) = receipts.reserve(1) else {
                poll_fn(|context| receipts.poll_room(context)).await;
                continue;
            };
            let made = record();
            let payload = made.payload;
            match self.produce(made, slot.pack(0)) {
                Ok(()) => return receipts.receipt(slot).await.map_err(BatchFailures::into_first),
                Err(cause) => {
                    receipts.cancel(slot, 1);
                    if !self.is_full(&cause, payload) {
                        return Err(self.link().fail(cause));
                    }
                    poll_fn(|context| receipts.poll_idle(context)).await;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Hands a record over; its answer completes the slot in `word`.
    pub(crate) fn produce(&self, record: Record<'_>, word: u64) -> Result<(), KafkaError> {
        let sent = self.client.send(BaseRecord {
            topic: record.topic,
            partition: record.partition,
            payload: record.payload,
            key: record.key,
            timestamp: None,
            headers: record.headers,
            delivery_opaque: word as usize,
        });
        sent.map_err(|(cause, _)| cause)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}
