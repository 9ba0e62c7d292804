//! The binder's rules, one claim per test.

mod checks;
mod concurrency;
mod groups;
mod inspection;
mod moving_aside;
mod receiving;
mod retention;
mod seeking;
mod sending;

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;

use super::MemoryBinder;
use crate::binder::{
    BatchView, Binder, Consumer, ConsumerBinding, LaneId, Outgoing, Parcel, Producer, ProducerBinding, Receipt,
    Received, TrySend,
};
use crate::message::{ContentType, Headers, Message};
use crate::{Error, ErrorKind};

/// Returns a binding of a group on a destination.
fn binding(destination: &str, group: Option<&str>) -> ConsumerBinding {
    let mut binding = ConsumerBinding::new(destination);
    binding.group = group.map(str::to_owned);
    binding
}

fn bind(binder: &MemoryBinder, binding: &ConsumerBinding) -> Box<dyn Consumer> {
    binder.bind_consumer(binding).now_or_never().expect("never waits").expect("it binds")
}

fn consumer(binder: &MemoryBinder, destination: &str, group: &str) -> Box<dyn Consumer> {
    bind(binder, &binding(destination, Some(group)))
}

/// Returns a producer whose destination has so many partitions.
fn producer(binder: &MemoryBinder, destination: &str, partitions: u32) -> Arc<dyn Producer> {
    let mut binding = ProducerBinding::new(destination);
    binding.properties.partition_count = partitions;
    binder.bind_producer(&binding).now_or_never().expect("never waits").expect("it binds")
}

/// Publishes texts to a partition.
fn publish(binder: &MemoryBinder, destination: &str, partition: u32, texts: &[&str]) {
    for text in texts {
        let message = Message::new(*text).with_partition(partition);
        binder.publish(destination, message).expect("there is room");
    }
}

/// Takes what is there, of at most ten deliveries a batch, without settling it.
fn drain(consumer: &mut dyn Consumer) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    while let Some(received) = consumer.try_recv_many(10).expect("it is open") {
        let Received::Batch(batch) = received else { panic!("{received:?}") };
        parcels.extend((0..batch.len()).map(|index| batch.detach(index, &mut Default::default())));
    }
    parcels
}

fn settle(consumer: &mut dyn Consumer, parcels: &[Parcel]) {
    for parcel in parcels {
        consumer.settle(parcel.token.lane, parcel.token.sequence).expect("it is open");
    }
}

/// Returns the lanes that the group wants back next.
fn revoked(consumer: &mut dyn Consumer) -> Vec<LaneId> {
    match consumer.try_recv_many(0).expect("it is open") {
        Some(Received::Revoked(lanes)) => lanes,
        other => panic!("{other:?}"),
    }
}

fn release(consumer: &mut dyn Consumer, lanes: &[LaneId]) {
    consumer.release(lanes).now_or_never().expect("never waits").expect("it is open");
}

fn texts(parcels: &[Parcel]) -> Vec<&str> {
    parcels.iter().map(|parcel| std::str::from_utf8(parcel.payload.as_deref().unwrap()).unwrap()).collect()
}

fn partitions(parcels: &[Parcel]) -> Vec<u32> {
    let mut partitions: Vec<u32> = parcels.iter().filter_map(|parcel| parcel.metadata.partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions
}

static NO_HEADERS: Headers = Headers::new();

fn outgoing(payload: &[u8]) -> Outgoing<'_> {
    Outgoing {
        payload: Some(payload),
        key: None,
        content_type: &ContentType::JSON,
        headers: &NO_HEADERS,
        partition: None,
    }
}

fn sent(result: crate::Result<TrySend<'_>>) -> Receipt<'_> {
    match result.expect("it is open") {
        TrySend::Sent(receipt) => receipt,
        TrySend::Full => panic!("it is full"),
    }
}

fn is_full(result: crate::Result<TrySend<'_>>) -> bool {
    matches!(result.expect("it is open"), TrySend::Full)
}

/// Waits for what must come without a timer; on a paused clock the limit strikes as soon as everything sleeps.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(std::time::Duration::from_secs(1), future).await.expect("it is woken")
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn payloads(messages: &[Message<Bytes>]) -> Vec<&[u8]> {
    messages.iter().map(|message| message.payload().unwrap().as_ref()).collect()
}
