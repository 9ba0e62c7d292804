//! The sending half.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, ready};

use binder_core::binder::{Outgoing, OutgoingBatch, Producer, ProducerBinding, Receipts, TrySend};
use binder_core::config::HeaderMode;
use binder_core::message::{ContentType, Headers};
use binder_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::OwnedHeaders;

use crate::link::Shared;
use crate::partitions::Partitions;
use crate::sender::{Record, Sender};
use crate::{embedded, headers};

/// Sends to the topic of one binding.
pub(crate) struct KafkaProducer {
    sender: Sender,
    shared: Arc<Shared>,
    topic: String,
    partitions: Partitions,
    headers: Option<Common>,
    /// Whether headers stand in front of the payload.
    embeds: bool,
    closed: AtomicBool,
    /// The client's buffer is full although the window is not.
    stalled: AtomicBool,
}

/// The headers of a message that has none of its own; made once.
struct Common {
    content_type: ContentType,
    headers: OwnedHeaders,
}

impl KafkaProducer {
    pub(crate) fn new(sender: Sender, shared: Arc<Shared>, binding: &ProducerBinding, partitions: Partitions) -> Self {
        let content_type = &binding.content_type;
        let mode = binding.properties.header_mode;
        let headers = (mode == HeaderMode::Headers).then(|| Common {
            content_type: content_type.clone(),
            headers: headers::write(content_type, &Headers::new()),
        });
        let (closed, stalled) = (AtomicBool::new(false), AtomicBool::new(false));
        let (topic, embeds) = (binding.destination.clone(), mode == HeaderMode::Embedded);
        Self { sender, shared, topic, partitions, headers, embeds, closed, stalled }
    }

    fn receipts(&self) -> &Receipts {
        self.sender.receipts()
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(SeqCst) || self.shared.is_closed() {
            return Err(
                Error::new(ErrorKind::Closed, "the output is closed").with_context("destination", self.topic.as_str())
            );
        }
        Ok(())
    }

    fn headers(&self, message: &Outgoing<'_>) -> Option<OwnedHeaders> {
        let common = self.headers.as_ref()?;
        if message.headers.is_empty() && *message.content_type == common.content_type {
            Some(common.headers.clone())
        } else {
            Some(headers::write(message.content_type, message.headers))
        }
    }

    /// Returns the payload with its headers in front, where they are to stand there; a tombstone has none.
    fn embed(&self, message: &Outgoing<'_>) -> Result<Option<Vec<u8>>> {
        let payload = message.payload.filter(|_| self.embeds);
        let written = payload.map(|payload| embedded::write(message.content_type, message.headers, payload));
        written.transpose().map_err(|error| error.with_context("destination", self.topic.as_str()))
    }

    fn produce(&self, message: &Outgoing<'_>, embedded: Option<&[u8]>, word: u64) -> Result<(), KafkaError> {
        let partition = match message.partition.map(i32::try_from) {
            None => None,
            Some(Ok(partition)) => Some(partition),
            Some(Err(_)) => return Err(KafkaError::MessageProduction(Code::UnknownPartition)),
        };
        let headers = self.headers(message);
        let topic = &self.topic;
        let payload = embedded.or(message.payload);
        self.sender.produce(Record { topic, partition, key: message.key, payload, headers }, word)
    }

    fn fail(&self, cause: KafkaError) -> Error {
        self.sender.link().fail(cause).with_context("destination", self.topic.as_str())
    }
}

impl Producer for KafkaProducer {
    fn try_send(&self, message: Outgoing<'_>) -> Result<TrySend<'_>> {
        self.check_open()?;
        let embedded = self.embed(&message)?;
        let receipts = self.receipts();
        let Some(slot) = receipts.reserve(1) else { return Ok(TrySend::Full) };
        match self.produce(&message, embedded.as_deref(), slot.pack(0)) {
            Ok(()) => Ok(TrySend::Sent(receipts.receipt(slot))),
            Err(cause) => {
                receipts.cancel(slot, 1);
                if self.sender.is_full(&cause, message.payload) {
                    self.stalled.store(true, SeqCst);
                    return Ok(TrySend::Full);
                }
                Err(self.fail(cause))
            }
        }
    }

    /// If the client's buffer fills up within the batch, the rest fails with an error that is worth a retry: what was handed over can't be
    /// taken back.
    fn try_send_batch(&self, batch: &OutgoingBatch) -> Result<TrySend<'_>> {
        self.check_open()?;
        let receipts = self.receipts();
        let Ok(count) = u32::try_from(batch.len()) else {
            return Err(Error::new(ErrorKind::TooLarge, "the batch has too many messages"));
        };
        if count == 0 {
            return Ok(TrySend::Sent(binder_core::binder::Receipt::confirmed()));
        }
        let Some(slot) = receipts.reserve(count) else { return Ok(TrySend::Full) };
        let mut full = false;
        for (index, message) in (0..count).zip(batch.iter()) {
            let embedded = match self.embed(&message) {
                Ok(embedded) => embedded,
                Err(error) => {
                    receipts.complete(slot, index, Err(error));
                    continue;
                }
            };
            let produced = if full {
                Err(KafkaError::MessageProduction(Code::QueueFull))
            } else {
                self.produce(&message, embedded.as_deref(), slot.pack(index))
            };
            let Err(cause) = produced else { continue };
            let is_full = self.sender.is_full(&cause, message.payload);
            if is_full && index == 0 {
                receipts.cancel(slot, count);
                self.stalled.store(true, SeqCst);
                return Ok(TrySend::Full);
            }
            full |= is_full;
            receipts.complete(slot, index, Err(self.fail(cause)));
        }
        Ok(TrySend::Sent(receipts.receipt(slot)))
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.check_open()?;
        if self.stalled.load(SeqCst) {
            ready!(self.receipts().poll_idle(context));
            self.stalled.store(false, SeqCst);
        }
        self.receipts().poll_room(context).map(Ok)
    }

    fn partitions(&self) -> Option<u32> {
        Some(self.partitions.count(self.sender.asks_for_partitions(&self.topic)))
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            poll_fn(|context| self.receipts().poll_idle(context)).await;
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.closed.store(true, SeqCst);
        self.flush()
    }
}

impl fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaProducer")
            .field("topic", &self.topic)
            .field("receipts", self.receipts())
            .finish_non_exhaustive()
    }
}
