//! Where messages go whose attempts are used up.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;

use super::destination::Destination;
use super::hub::Session;
use super::item::Record;
use crate::Result;
use crate::binder::{ATTEMPTS, ConsumerBinding, DeadLetter, DeadLetterSink, Parcel};
use crate::message::{HeaderValue, Headers};

/// Returns where the dead letters of a group on a destination go.
pub(super) fn dead_letter_destination(destination: &str, group: &str) -> String {
    format!("error.{destination}.{group}")
}

/// Headers that make a message a dead letter.
pub(super) const FAILURE: [&str; 8] = [
    "x-original-topic",
    "x-original-partition",
    "x-original-offset",
    "x-original-timestamp",
    "x-exception-fqcn",
    "x-exception-message",
    "x-exception-stacktrace",
    ATTEMPTS,
];

/// Appends to `error.<destination>.<group>`, in the same partition, as Spring Cloud Stream does on Kafka.
#[derive(Debug)]
pub(super) struct DeadLetters {
    session: Arc<Session>,
    group: String,
}

impl DeadLetters {
    /// Returns the sink of a binding that has dead letters.
    pub(super) fn of(session: &Arc<Session>, binding: &ConsumerBinding) -> Option<Self> {
        let group = binding.group.clone().filter(|_| binding.has_dead_letters())?;
        Some(Self { session: Arc::clone(session), group })
    }

    fn destination(&self, letter: &DeadLetter<'_>) -> Arc<Destination> {
        let metadata = &letter.delivery.metadata;
        let source = self.session.hub.find(&metadata.destination);
        let partitions = source.map_or(1, |source| source.count()).max(metadata.partition.unwrap_or(0) + 1);
        self.session.hub.create(&dead_letter_destination(&metadata.destination, &self.group), partitions)
    }

    /// Returns what is to be appended for a dead letter, and where.
    pub(super) fn prepare<'a>(&self, letter: &DeadLetter<'a>) -> Prepared<'a> {
        let (destination, headers) = (self.destination(letter), headers(letter));
        Prepared {
            destination,
            partition: letter.delivery.metadata.partition.unwrap_or(0),
            delivery: letter.delivery,
            headers,
        }
    }

    fn append(&self, letter: &DeadLetter<'_>, headers: &Headers, destination: &Destination) -> bool {
        let delivery = letter.delivery;
        let record = Record {
            payload: delivery.payload.as_deref(),
            key: delivery.key.as_deref(),
            content_type: delivery.content_type.as_ref(),
            headers,
        };
        destination.partition(delivery.metadata.partition.unwrap_or(0)).try_append(record)
    }
}

/// A dead letter that waits for its transaction.
pub(super) struct Prepared<'a> {
    pub(super) destination: Arc<Destination>,
    pub(super) partition: u32,
    delivery: &'a Parcel,
    headers: Headers,
}

impl Prepared<'_> {
    pub(super) fn record(&self) -> Record<'_> {
        Record {
            payload: self.delivery.payload.as_deref(),
            key: self.delivery.key.as_deref(),
            content_type: self.delivery.content_type.as_ref(),
            headers: &self.headers,
        }
    }
}

/// The delivery's own headers, then where it came from and what went wrong.
fn headers(letter: &DeadLetter<'_>) -> Headers {
    let metadata = &letter.delivery.metadata;
    let sent = metadata.timestamp.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let partition = metadata.partition.map(|partition| HeaderValue::I32(partition.cast_signed()));
    let offset = metadata.offset.map(|offset| HeaderValue::I64(offset.cast_signed()));
    let timestamp = sent.map(|sent| HeaderValue::I64(sent.as_millis() as i64));
    letter
        .delivery
        .headers
        .clone()
        .with("x-original-topic", metadata.destination.as_ref())
        .with("x-original-partition", partition)
        .with("x-original-offset", offset)
        .with("x-original-timestamp", timestamp)
        .with("x-exception-fqcn", letter.reason.kind().as_str())
        .with("x-exception-message", letter.reason.to_string())
        .with("x-exception-stacktrace", format!("{:?}", letter.reason))
        .with(ATTEMPTS, HeaderValue::I64(letter.attempts.into()))
}

#[async_trait]
impl DeadLetterSink for DeadLetters {
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()> {
        self.session.check_open()?;
        let (destination, headers) = (self.destination(&letter), headers(&letter));
        while !self.append(&letter, &headers, &destination) {
            let partition = destination.partition(letter.delivery.metadata.partition.unwrap_or(0));
            poll_fn(|context| partition.poll_room(context, || self.session.check_open())).await?;
        }
        Ok(())
    }
}
