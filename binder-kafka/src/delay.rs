//! Failed records that wait in a topic of their own: a topic for each wait, which the group's consumers read and hold back.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use binder_core::Result;
use binder_core::binder::{DelaySink, Parcel, RETRY_ATTEMPT};
use rdkafka::message::OwnedHeaders;

use crate::dead_letters::written;
use crate::headers;
use crate::returned::{First, rung_topic};
use crate::sender::{Record, Sender};

/// Publishes to `retry.<topic>.<group>.<ms>`.
pub(crate) struct KafkaDelays {
    pub(crate) sender: Sender,
    pub(crate) group: String,
}

#[async_trait]
impl DelaySink for KafkaDelays {
    async fn send(&self, delivery: &Parcel, attempt: u32, wait: Duration) -> Result<()> {
        let topic = rung_topic(&delivery.metadata.destination, &self.group, wait);
        let record = || Record {
            topic: &topic,
            partition: None,
            key: delivery.key.as_deref(),
            payload: delivery.payload.as_deref(),
            headers: Some(headers_of(delivery, attempt)),
        };
        self.sender.deliver(record).await.map_err(|error| error.with_context("destination", topic.as_str()))
    }
}

fn headers_of(delivery: &Parcel, attempt: u32) -> OwnedHeaders {
    let metadata = &delivery.metadata;
    let (written, timestamp) = written(delivery);
    let written = headers::insert(written, RETRY_ATTEMPT, Some(attempt.to_string().as_bytes()));
    let partition = metadata.partition.map_or(-1, u32::cast_signed);
    let offset = metadata.offset.map_or(-1, u64::cast_signed);
    First { partition, offset, timestamp }.write(written)
}

impl fmt::Debug for KafkaDelays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaDelays").field("group", &self.group).finish_non_exhaustive()
    }
}
