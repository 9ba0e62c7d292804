//! Dead letters, as Spring Cloud Stream writes them.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;

use async_trait::async_trait;
use binder_core::binder::{DeadLetter, DeadLetterSink, Parcel};
use binder_core::message::ContentType;
use binder_core::{Error, Result};
use rdkafka::Timestamp;
use rdkafka::message::OwnedHeaders;

use crate::headers;
use crate::provision::dead_letter_topic;
use crate::sender::{Record, Sender};
use crate::view::Origin;

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

#[async_trait]
impl DeadLetterSink for KafkaDeadLetters {
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()> {
        let parcel = letter.delivery;
        let origin = parcel.metadata.destination.as_ref();
        let derived;
        let (topic, partitions) = match self.targets.get(origin) {
            Some((topic, partitions)) => (topic.as_str(), *partitions),
            None => {
                derived = dead_letter_topic(origin, &self.group);
                (derived.as_str(), None)
            }
        };
        let same = parcel.metadata.partition.filter(|partition| partitions.is_none_or(|count| *partition < count));
        let partition = same.and_then(|partition| i32::try_from(partition).ok());
        self.publish(&letter, topic, partition).await.map_err(|error| error.with_context("destination", topic))
    }
}

impl KafkaDeadLetters {
    async fn publish(&self, letter: &DeadLetter<'_>, topic: &str, partition: Option<i32>) -> Result<()> {
        let receipts = self.sender.receipts();
        let parcel = letter.delivery;
        loop {
            let Some(slot) = receipts.reserve(1) else {
                poll_fn(|context| receipts.poll_room(context)).await;
                continue;
            };
            let (key, payload) = (parcel.key.as_deref(), parcel.payload.as_deref());
            let headers = Some(headers_of(letter));
            match self.sender.produce(Record { topic, partition, key, payload, headers }, slot.pack(0)) {
                Ok(()) => {
                    return receipts.receipt(slot).await.map_err(binder_core::binder::BatchFailures::into_first);
                }
                Err(cause) => {
                    receipts.cancel(slot, 1);
                    if !self.sender.is_full(&cause, payload) {
                        return Err(self.sender.link().fail(cause));
                    }
                    poll_fn(|context| receipts.poll_idle(context)).await;
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

fn headers_of(letter: &DeadLetter<'_>) -> OwnedHeaders {
    let parcel = letter.delivery;
    let metadata = &parcel.metadata;
    let origin = metadata.native.as_ref().and_then(|native| native.get::<Origin>());
    let (written, timestamp) = match origin {
        Some(origin) => (headers::copy(&origin.headers), origin.timestamp),
        None => (rewritten(parcel), metadata.timestamp.map_or(Timestamp::NotAvailable, Timestamp::from)),
    };
    let (stamp, kind) = match timestamp {
        Timestamp::NotAvailable => (-1, "NoTimestampType"),
        Timestamp::CreateTime(millis) => (millis, "CreateTime"),
        Timestamp::LogAppendTime(millis) => (millis, "LogAppendTime"),
    };
    let partition = metadata.partition.map_or(-1, u32::cast_signed);
    let offset = metadata.offset.map_or(-1, u64::cast_signed);
    let reason: &Error = letter.reason;
    let (message, trace) = (reason.to_string(), format!("{reason:?}"));
    let added: [(&str, &[u8]); 8] = [
        ("x-original-topic", metadata.destination.as_bytes()),
        ("x-original-partition", &partition.to_be_bytes()),
        ("x-original-offset", &offset.to_be_bytes()),
        ("x-original-timestamp", &stamp.to_be_bytes()),
        ("x-original-timestamp-type", kind.as_bytes()),
        ("x-exception-fqcn", std::any::type_name::<Error>().as_bytes()),
        ("x-exception-message", message.as_bytes()),
        ("x-exception-stacktrace", trace.as_bytes()),
    ];
    added.into_iter().fold(written, |written, (name, value)| headers::insert(written, name, Some(value)))
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
