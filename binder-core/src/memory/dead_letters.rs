//! Where messages go whose attempts are used up.

use std::future::poll_fn;
use std::sync::Arc;

use async_trait::async_trait;

use super::destination::Destination;
use super::extra::{Extra, Told};
use super::hub::Session;
use super::item::{Beside, Record};
use super::returns::Origin;
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
        Prepared {
            destination: self.destination(letter),
            partition: letter.delivery.metadata.partition.unwrap_or(0),
            delivery: letter.delivery,
            extra: Extra::letter(letter),
        }
    }
}

/// A dead letter that is to be appended.
pub(super) struct Prepared<'a> {
    pub(super) destination: Arc<Destination>,
    pub(super) partition: u32,
    delivery: &'a Parcel,
    extra: Extra,
}

impl Prepared<'_> {
    pub(super) fn record(&self) -> Record<'_> {
        Record::parcel(self.delivery, Beside::Extra(&self.extra))
    }
}

/// What went wrong with a dead letter's message, and on which destination.
#[derive(Debug)]
pub(super) struct Failure {
    destination: Arc<str>,
    kind: &'static str,
    message: String,
    trace: String,
}

impl Failure {
    pub(super) fn of(letter: &DeadLetter<'_>) -> Self {
        let reason = letter.reason;
        Self {
            destination: Arc::clone(&letter.delivery.metadata.destination),
            kind: reason.kind().as_str(),
            message: reason.to_string(),
            trace: format!("{reason:?}"),
        }
    }

    /// Returns what went wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Appends the headers of [`FAILURE`].
    pub(super) fn append_to(&self, told: &Told, headers: &mut Headers) {
        let Origin { partition, offset, timestamp } = told.origin;
        headers.append("x-original-topic", &*self.destination);
        headers.append("x-original-partition", partition.map(|partition| HeaderValue::I32(partition.cast_signed())));
        headers.append("x-original-offset", offset.map(|offset| HeaderValue::I64(offset.cast_signed())));
        headers.append("x-original-timestamp", timestamp.map(HeaderValue::I64));
        headers.append("x-exception-fqcn", self.kind);
        headers.append("x-exception-message", self.message.as_str());
        headers.append("x-exception-stacktrace", self.trace.as_str());
        headers.append(ATTEMPTS, told.attempts.map(|attempts| HeaderValue::I64(attempts.into())));
    }
}

#[async_trait]
impl DeadLetterSink for DeadLetters {
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()> {
        self.session.check_open()?;
        let prepared = self.prepare(&letter);
        let partition = prepared.destination.partition(prepared.partition);
        while !partition.try_append(prepared.record()) {
            poll_fn(|context| partition.poll_room(context, || self.session.check_open())).await?;
        }
        Ok(())
    }
}
