//! What a test wants to put in and to see.

use std::sync::Arc;

use bytes::Bytes;

use super::MemoryBinder;
use super::batch::{Batch, View};
use super::destination::Destination;
use super::item::Record;
use super::producer::check_size;
use crate::binder::{BatchView, LaneId, Outgoing};
use crate::message::{ContentType, Message};
use crate::{Error, ErrorKind, Result};

/// For tests. These work on a closed binder too.
impl MemoryBinder {
    /// Appends a message, of `application/json` unless it says otherwise; creates the destination if need be. Fails where a producer would
    /// wait.
    pub fn publish(&self, destination: &str, message: Message<impl AsRef<[u8]>>) -> Result<()> {
        let destination = self.session.hub.create(destination, message.partition().map_or(1, |index| index + 1));
        let outgoing = Outgoing {
            payload: message.payload().map(AsRef::as_ref),
            key: message.key(),
            content_type: message.content_type().unwrap_or(&ContentType::JSON),
            headers: message.headers(),
            partition: message.partition(),
        };
        check_size(&outgoing, &destination)?;
        let index = destination.choose(outgoing.partition, outgoing.key)?;
        let fits = destination.partition(index).try_append(Record::outgoing(&outgoing, true));
        if fits { Ok(()) } else { Err(full(&destination)) }
    }

    /// Returns the messages that a destination keeps, partition by partition, oldest first; settled ones are kept too.
    pub fn messages(&self, destination: &str) -> Vec<Message<Bytes>> {
        let Some(destination) = self.session.hub.find(destination) else { return Vec::new() };
        let mut batch = Batch::new(true);
        for partition in destination.partitions() {
            let mut log = partition.lock();
            let first = log.first();
            batch.begin(LaneId(0), first, destination.name(), partition.index());
            log.read(first, usize::MAX, &mut batch);
        }
        (0..batch.len()).map(|index| message(&View(&batch), index)).collect()
    }

    /// Returns how many partitions a destination has; 0 if it does not exist.
    pub fn partitions(&self, destination: &str) -> u32 {
        self.session.hub.find(destination).map_or(0, |destination| destination.count())
    }

    /// Returns for each partition the offset of the first message that a named group has not settled; `None` if there is no such group.
    pub fn position(&self, destination: &str, group: &str) -> Option<Vec<u64>> {
        self.session.hub.find(destination)?.position(group)
    }

    /// Waits until every named group has settled every message of its destination.
    pub async fn idle(&self) {
        let hub = &self.session.hub;
        hub.progress.wait_until(|| hub.all().iter().all(|destination| destination.is_idle())).await;
    }
}

fn message(view: &View<'_>, index: usize) -> Message<Bytes> {
    let parcel = view.detach(index, &mut bytes::BytesMut::new());
    let mut message = parcel.payload.map_or_else(Message::tombstone, Message::new).with_headers(parcel.headers);
    if let Some(key) = parcel.key {
        message = message.with_key(key);
    }
    if let Some(content_type) = parcel.content_type {
        message = message.with_content_type(content_type.as_str());
    }
    message.with_partition(parcel.metadata.partition.unwrap_or(0))
}

fn full(destination: &Arc<Destination>) -> Error {
    Error::new(ErrorKind::Refused, "the partition is full of messages that a group has not settled")
        .retryable()
        .with_context("destination", destination.name().as_ref())
}
