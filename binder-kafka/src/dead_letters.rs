//! Dead letters, as Spring Cloud Stream writes them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use binder_core::binder::{ATTEMPTS, DeadLetter, DeadLetterSink, Parcel};
use binder_core::message::ContentType;
use binder_core::{Error, Result};
use rdkafka::Timestamp;
use rdkafka::message::OwnedHeaders;

use crate::provision::dead_letter_topic;
use crate::sender::{Record, Sender};
use crate::view::Origin;
use crate::{headers, returned};

/// Headers that make a record a dead letter.
pub(crate) const FAILURE: [&str; 9] = [
    "x-original-topic",
    "x-original-partition",
    "x-original-offset",
    "x-original-timestamp",
    "x-original-timestamp-type",
    "x-exception-fqcn",
    "x-exception-message",
    "x-exception-stacktrace",
    ATTEMPTS,
];

/// Publishes to `error.<topic>.<group>`: same partition, key, payload and headers, and behind these why and from where.
pub(crate) struct KafkaDeadLetters {
    sender: Sender,
    /// By topic: where its dead letters go, and how many partitions there are, if that is known.
    targets: HashMap<String, (String, Option<u32>)>,
    group: String,
}

impl KafkaDeadLetters {
    pub(crate) fn new(sender: Sender, group: &str, targets: HashMap<String, (String, Option<u32>)>) -> Self {
        Self { sender, targets, group: group.to_owned() }
    }
}

impl KafkaDeadLetters {
    /// Returns topic and partition of a dead letter.
    pub(crate) fn target(&self, letter: &DeadLetter<'_>) -> (Cow<'_, str>, Option<i32>) {
        let parcel = letter.delivery;
        let origin = parcel.metadata.destination.as_ref();
        let (topic, partitions) = match self.targets.get(origin) {
            Some((topic, partitions)) => (Cow::Borrowed(topic.as_str()), *partitions),
            None => (Cow::Owned(dead_letter_topic(origin, &self.group)), None),
        };
        let same = parcel.metadata.partition.filter(|partition| partitions.is_none_or(|count| *partition < count));
        (topic, same.and_then(|partition| i32::try_from(partition).ok()))
    }
}

#[async_trait]
impl DeadLetterSink for KafkaDeadLetters {
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()> {
        let parcel = letter.delivery;
        let (topic, partition) = self.target(&letter);
        let topic = topic.as_ref();
        let (key, payload) = (parcel.key.as_deref(), parcel.payload.as_deref());
        let record = || Record { topic, partition, key, payload, headers: Some(headers_of(&letter)) };
        self.sender.deliver(record).await.map_err(|error| error.with_context("destination", topic))
    }
}

pub(crate) fn headers_of(letter: &DeadLetter<'_>) -> OwnedHeaders {
    let parcel = letter.delivery;
    let metadata = &parcel.metadata;
    let (written, timestamp) = written(parcel);
    let (stamp, kind) = returned::shown(timestamp);
    let partition = metadata.partition.map_or(-1, u32::cast_signed);
    let offset = metadata.offset.map_or(-1, u64::cast_signed);
    let reason: &Error = letter.reason;
    let (message, trace, attempts) = (reason.to_string(), format!("{reason:?}"), letter.attempts.to_string());
    let added: [(&str, &[u8]); 9] = [
        ("x-original-topic", metadata.destination.as_bytes()),
        ("x-original-partition", &partition.to_be_bytes()),
        ("x-original-offset", &offset.to_be_bytes()),
        ("x-original-timestamp", &stamp.to_be_bytes()),
        ("x-original-timestamp-type", kind.as_bytes()),
        ("x-exception-fqcn", std::any::type_name::<Error>().as_bytes()),
        ("x-exception-message", message.as_bytes()),
        ("x-exception-stacktrace", trace.as_bytes()),
        (ATTEMPTS, attempts.as_bytes()),
    ];
    added.into_iter().fold(written, |written, (name, value)| headers::insert(written, name, Some(value)))
}

/// Returns the headers of a delivery as they were on the wire, and its timestamp.
pub(crate) fn written(parcel: &Parcel) -> (OwnedHeaders, Timestamp) {
    let metadata = &parcel.metadata;
    match metadata.native.as_ref().and_then(|native| native.get::<Origin>()) {
        Some(origin) => (headers::copy(&origin.headers), origin.timestamp),
        None => (rewritten(parcel), metadata.timestamp.map_or(Timestamp::NotAvailable, Timestamp::from)),
    }
}

/// The next best for a parcel that did not come from this binder.
fn rewritten(parcel: &Parcel) -> OwnedHeaders {
    headers::write(parcel.content_type.as_ref().unwrap_or(&ContentType::BYTES), &parcel.headers)
}

impl fmt::Debug for KafkaDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaDeadLetters").field("targets", &self.targets).finish_non_exhaustive()
    }
}
