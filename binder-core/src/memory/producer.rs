//! The sending half.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::destination::{Destination, no_partition};
use super::hub::{Session, closed};
use super::item::{Kind, MAX_BYTES, Record};
use super::partition::{Appender, Partition};
use super::stamp;
use crate::binder::{Outgoing, OutgoingBatch, Producer, ProducerBinding, Receipt, TrySend};
use crate::config::{HeaderMode, Start};
use crate::{Error, ErrorKind, Result};

thread_local! {
    static PLAN: RefCell<Plan> = const { RefCell::new(Plan { choices: Vec::new(), counts: Vec::new() }) };
}

/// Where the messages of a batch go; kept by the thread, so that it costs no allocation.
struct Plan {
    /// The partition of each message.
    choices: Vec<u32>,
    /// How many messages each partition gets.
    counts: Vec<usize>,
}

impl Plan {
    fn make(&mut self, batch: &OutgoingBatch, destination: &Destination) -> Result<()> {
        self.choices.clear();
        self.counts.clear();
        for message in batch.iter() {
            check_size(&message, destination)?;
            let choice = destination.choose(message.partition, message.key)?;
            self.choices.push(choice);
            let needed = self.counts.len().max(choice as usize + 1);
            self.counts.resize(needed, 0);
            self.counts[choice as usize] += 1;
        }
        Ok(())
    }
}

/// Appends to a destination. What was appended is confirmed at once.
#[derive(Debug)]
pub(super) struct MemoryProducer {
    session: Arc<Session>,
    destination: Arc<Destination>,
    /// The destination's partition 0, often the only one.
    first: Arc<Partition>,
    with_headers: bool,
    closed: AtomicBool,
}

impl MemoryProducer {
    /// Opens the destination of a binding.
    pub(super) fn open(session: &Arc<Session>, binding: &ProducerBinding) -> Result<Self> {
        session.check_open()?;
        let partitions = binding.properties.partition_count;
        let destination = session.hub.open(&binding.destination, partitions, binding.provision)?;
        binding.properties.required_groups.iter().for_each(|group| destination.ensure_group(group, Start::Earliest));
        let with_headers = binding.properties.header_mode != HeaderMode::None;
        let first = Arc::clone(destination.partition(0));
        Ok(Self { session: Arc::clone(session), destination, first, with_headers, closed: AtomicBool::new(false) })
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed("the producer is closed"));
        }
        self.session.check_open()
    }

    /// Appends a batch to a destination that has one partition.
    fn append_to_only(&self, batch: &OutgoingBatch) -> Result<bool> {
        let copied =
            batch.is_plain() && Kind::of(batch.content_type()) != Kind::Other && batch.bytes().len() <= MAX_BYTES;
        if !copied {
            batch.iter().try_for_each(|message| check_only(&message, &self.destination))?;
        }
        let mut appender = self.first.appender();
        if !appender.claim_room(batch.len()) {
            return Ok(false);
        }
        let now = stamp::now();
        if copied {
            appender.append_batch(batch, self.with_headers, now);
        } else {
            batch.iter().for_each(|message| appender.append(Record::outgoing(&message, self.with_headers), now));
        }
        appender.publish();
        Ok(true)
    }

    /// Locks all partitions that the batch goes to, in order, so that it is taken as a whole or not at all.
    fn append_to_many(&self, plan: &Plan, batch: &OutgoingBatch) -> bool {
        let mut appenders: Vec<Option<Appender<'_>>> = Vec::with_capacity(plan.counts.len());
        for (index, count) in (0..).zip(&plan.counts) {
            let mut appender = (*count > 0).then(|| self.destination.partition(index).appender());
            if appender.as_mut().is_some_and(|appender| !appender.claim_room(*count)) {
                return false;
            }
            appenders.push(appender);
        }
        let now = stamp::now();
        for (message, choice) in batch.iter().zip(&plan.choices) {
            if let Some(appender) = &mut appenders[*choice as usize] {
                appender.append(Record::outgoing(&message, self.with_headers), now);
            }
        }
        appenders.into_iter().flatten().for_each(Appender::publish);
        true
    }
}

/// Refuses what a log can't hold.
#[inline]
pub(super) fn check_size(message: &Outgoing<'_>, destination: &Destination) -> Result<()> {
    let bytes = message.key.map_or(0, <[u8]>::len) + message.payload.map_or(0, <[u8]>::len);
    if bytes <= MAX_BYTES { Ok(()) } else { Err(too_large(destination.name())) }
}

/// Refuses what the only partition of a destination can't hold.
#[inline]
fn check_only(message: &Outgoing<'_>, destination: &Destination) -> Result<()> {
    match message.partition {
        Some(index) if index > 0 => Err(no_partition(destination.name(), index, 1)),
        _ => check_size(message, destination),
    }
}

#[cold]
fn too_large(destination: &str) -> Error {
    Error::new(ErrorKind::TooLarge, "key and payload are larger than 4 GiB together")
        .with_context("destination", destination)
}

impl Producer for MemoryProducer {
    fn try_send(&self, message: Outgoing<'_>) -> Result<TrySend<'_>> {
        self.check_open()?;
        check_size(&message, &self.destination)?;
        let index = self.destination.choose(message.partition, message.key)?;
        let record = Record::outgoing(&message, self.with_headers);
        let partition = if index == 0 { &self.first } else { self.destination.partition(index) };
        let sent = partition.try_append(record);
        Ok(if sent { TrySend::Sent(Receipt::confirmed()) } else { TrySend::Full })
    }

    fn try_send_batch(&self, batch: &OutgoingBatch) -> Result<TrySend<'_>> {
        self.check_open()?;
        let sent = if self.destination.count() == 1 {
            self.append_to_only(batch)?
        } else {
            PLAN.with_borrow_mut(|plan| {
                plan.make(batch, &self.destination)?;
                Ok::<_, Error>(self.append_to_many(plan, batch))
            })?
        };
        Ok(if sent { TrySend::Sent(Receipt::confirmed()) } else { TrySend::Full })
    }

    /// Ready when every partition has room for what it refused, for it is not known what the caller wants to send.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        for index in 0..self.destination.count() {
            ready!(self.destination.partition(index).poll_room(context, || self.check_open()))?;
        }
        Poll::Ready(Ok(()))
    }

    fn partitions(&self) -> Option<u32> {
        Some(self.destination.count())
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.closed.store(true, Ordering::Release);
        self.destination.wake_writers();
        async { Ok(()) }.boxed()
    }
}
