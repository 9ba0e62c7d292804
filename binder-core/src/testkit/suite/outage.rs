//! A broker in memory that can go away and come back.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::harness::Verb;
use super::world::lock;
use crate::binder::{
    Binder, BinderContext, BinderFactory, BinderHealth, Capability, Consumer, ConsumerBinding, DeadLetterSink,
    DeadLetterStore, Delay, Envelope, LaneId, Outgoing, OutgoingBatch, Producer, ProducerBinding, Receipts, Received,
    Seek, SharedBinder, Slot, Status, Transactions, TrySend,
};
use crate::{Error, ErrorKind, Result};

/// Puts a switch between applications and their broker: stopped, it behaves as a broker that is not reached.
///
/// Gives the fault cases to a binder that has no broker to stop, such as one in memory. Clones are the same.
#[derive(Clone)]
pub struct Unsteady {
    factory: Arc<dyn BinderFactory>,
    there: watch::Sender<bool>,
}

impl Unsteady {
    /// Puts the switch before the binders of a factory.
    pub fn new(factory: impl BinderFactory) -> Self {
        Self { factory: Arc::new(factory), there: watch::Sender::new(true) }
    }

    /// Stops or starts; never fails.
    pub fn set(&self, verb: Verb) -> io::Result<()> {
        self.there.send_replace(verb == Verb::Start);
        Ok(())
    }
}

impl fmt::Debug for Unsteady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsteady").field("there", &*self.there.borrow()).finish_non_exhaustive()
    }
}

impl BinderFactory for Unsteady {
    fn create(&self, context: &BinderContext) -> Result<SharedBinder> {
        let binder = self.factory.create(context)?;
        Ok(SharedBinder::new(UnsteadyBinder { binder, there: self.there.subscribe() }))
    }
}

const AWAY: &str = "the broker does not answer";

fn away() -> Error {
    Error::new(ErrorKind::Connection, AWAY).retryable()
}

#[derive(Debug)]
struct UnsteadyBinder {
    binder: SharedBinder,
    there: watch::Receiver<bool>,
}

impl UnsteadyBinder {
    fn reach(&self) -> Result<()> {
        if *self.there.borrow() { Ok(()) } else { Err(away()) }
    }
}

#[async_trait]
impl Binder for UnsteadyBinder {
    fn capability(&self) -> Capability {
        self.binder.capability()
    }

    fn check_consumer(&self, binding: &ConsumerBinding) -> Result<()> {
        self.binder.check_consumer(binding)
    }

    fn check_producer(&self, binding: &ProducerBinding) -> Result<()> {
        self.binder.check_producer(binding)
    }

    async fn bind_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        self.reach()?;
        let consumer = self.binder.bind_consumer(binding).await?;
        Ok(Box::new(UnsteadyConsumer { consumer, there: self.there.clone() }))
    }

    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>> {
        self.reach()?;
        let producer = self.binder.bind_producer(binding).await?;
        let properties = &binding.properties;
        let waiting = Arc::new(Waiting {
            producer,
            receipts: Receipts::new(properties.window),
            queue: Mutex::default(),
            added: Notify::new(),
            timeout: properties.send_timeout,
        });
        let forward = Arc::clone(&waiting).forward(self.there.clone(), binding.status.clone());
        let task = tokio::spawn(forward).abort_handle();
        Ok(Arc::new(UnsteadyProducer { waiting, there: self.there.clone(), task }))
    }

    fn health(&self) -> BinderHealth {
        if *self.there.borrow() { self.binder.health() } else { BinderHealth::Connecting(AWAY.to_owned()) }
    }

    async fn close(&self) -> Result<()> {
        self.binder.close().await
    }

    fn delay(&self) -> Option<&dyn Delay> {
        self.binder.delay()
    }

    fn seek(&self) -> Option<&dyn Seek> {
        self.binder.seek()
    }

    fn dead_letter_store(&self) -> Option<&dyn DeadLetterStore> {
        self.binder.dead_letter_store()
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        self.binder.transactions()
    }
}

/// A consumer that is lost with its broker: core opens another.
#[derive(Debug)]
struct UnsteadyConsumer {
    consumer: Box<dyn Consumer>,
    there: watch::Receiver<bool>,
}

impl Consumer for UnsteadyConsumer {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        if !*self.there.borrow() {
            return Err(away());
        }
        self.consumer.try_recv_many(max)
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        let Self { consumer, there } = self;
        Box::pin(async move {
            tokio::select! {
                biased;
                _ = there.wait_for(|there| !there) => Err(away()),
                received = consumer.recv_many(max) => received,
            }
        })
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        if *self.there.borrow() { self.consumer.settle(lane, sequence) } else { Ok(()) }
    }

    fn settle_apart(&mut self, lane: LaneId, sequences: &[u64]) -> Result<bool> {
        if *self.there.borrow() { self.consumer.settle_apart(lane, sequences) } else { Ok(true) }
    }

    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        self.consumer.release(lanes)
    }

    fn pause(&mut self) -> Result<()> {
        self.consumer.pause()
    }

    fn resume(&mut self) -> Result<()> {
        self.consumer.resume()
    }

    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        self.consumer.hold(lanes, hold)
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        self.consumer.dead_letters()
    }

    fn default_prefetch(&self) -> u32 {
        self.consumer.default_prefetch()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.consumer.close()
    }
}

/// Messages that wait for the broker.
struct Held {
    slot: Slot,
    batch: OutgoingBatch,
    until: Instant,
}

/// A producer and what waits before it.
struct Waiting {
    producer: Arc<dyn Producer>,
    receipts: Receipts,
    queue: Mutex<VecDeque<Held>>,
    added: Notify,
    timeout: Duration,
}

impl Waiting {
    /// Sends what waits when the broker is there, in order, and fails what waited too long.
    async fn forward(self: Arc<Self>, mut there: watch::Receiver<bool>, status: Status) {
        loop {
            let reached = *there.borrow_and_update();
            if reached {
                status.up()
            } else {
                status.connecting(AWAY)
            }
            if reached && !self.send_first().await {
                tokio::select! {
                    _ = there.changed() => {}
                    () = self.added.notified() => {}
                }
            } else if !reached {
                let oldest = lock(&self.queue).front().map(|held| held.until);
                let expiry = async {
                    match oldest {
                        Some(until) => tokio::time::sleep_until(until).await,
                        None => self.added.notified().await,
                    }
                };
                tokio::select! {
                    _ = there.changed() => {}
                    () = expiry => self.expire(),
                }
            }
        }
    }

    /// Sends the first that waits; answers whether there was one.
    async fn send_first(&self) -> bool {
        let Some((slot, batch)) =
            lock(&self.queue).front_mut().map(|held| (held.slot, std::mem::take(&mut held.batch)))
        else {
            return false;
        };
        let sent = loop {
            match self.producer.try_send_batch(&batch) {
                Ok(TrySend::Sent(receipt)) => break receipt.await.map_err(|failures| failures.into_vec()),
                Ok(TrySend::Full) => {
                    let _ = poll_fn(|context| self.producer.poll_ready(context)).await;
                }
                Err(error) => break Err(vec![(0, error)]),
            }
        };
        lock(&self.queue).pop_front();
        let mut failures = sent.err().unwrap_or_default();
        for index in 0..batch.len() as u32 {
            let place = failures.iter().position(|(failed, _)| *failed == index);
            let answer = place.map_or(Ok(()), |place| Err(failures.swap_remove(place).1));
            self.receipts.complete(slot, index, answer);
        }
        true
    }

    fn expire(&self) {
        let mut queue = lock(&self.queue);
        while queue.front().is_some_and(|held| held.until <= Instant::now()) {
            let Some(held) = queue.pop_front() else { return };
            for index in 0..held.batch.len() as u32 {
                let late = Error::new(ErrorKind::Timeout, format!("not sent within `send-timeout`: {AWAY}"));
                self.receipts.complete(held.slot, index, Err(late.retryable()));
            }
        }
    }
}

struct UnsteadyProducer {
    waiting: Arc<Waiting>,
    there: watch::Receiver<bool>,
    task: tokio::task::AbortHandle,
}

impl UnsteadyProducer {
    fn goes_through(&self) -> bool {
        *self.there.borrow() && lock(&self.waiting.queue).is_empty()
    }

    fn hold(&self, batch: OutgoingBatch) -> TrySend<'_> {
        let Waiting { receipts, queue, added, timeout, .. } = &*self.waiting;
        let Some(slot) = receipts.reserve(batch.len() as u32) else { return TrySend::Full };
        lock(queue).push_back(Held { slot, batch, until: Instant::now() + *timeout });
        added.notify_one();
        TrySend::Sent(receipts.receipt(slot))
    }
}

pub(super) fn copy_to(batch: &mut OutgoingBatch, message: Outgoing<'_>) -> Result<()> {
    let envelope = Envelope {
        key: message.key,
        headers: message.headers.clone(),
        content_type: Some(message.content_type.clone()),
        partition: message.partition,
    };
    batch.push_with(envelope, |out| {
        out.extend_from_slice(message.payload.unwrap_or_default());
        Ok(message.payload.is_some())
    })
}

impl Producer for UnsteadyProducer {
    fn try_send(&self, message: Outgoing<'_>) -> Result<TrySend<'_>> {
        if self.goes_through() {
            return self.waiting.producer.try_send(message);
        }
        let mut batch = OutgoingBatch::default();
        copy_to(&mut batch, message)?;
        Ok(self.hold(batch))
    }

    fn try_send_batch(&self, messages: &OutgoingBatch) -> Result<TrySend<'_>> {
        if self.goes_through() {
            return self.waiting.producer.try_send_batch(messages);
        }
        let mut batch = OutgoingBatch::default();
        messages.iter().try_for_each(|message| copy_to(&mut batch, message))?;
        Ok(self.hold(batch))
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.waiting.producer.poll_ready(context))?;
        self.waiting.receipts.poll_room(context).map(Ok)
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            poll_fn(|context| self.waiting.receipts.poll_idle(context)).await;
            self.waiting.producer.flush().await
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.flush().await?;
            self.waiting.producer.close().await
        })
    }
}

impl fmt::Debug for UnsteadyProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnsteadyProducer").field("producer", &self.waiting.producer).finish_non_exhaustive()
    }
}

impl Drop for UnsteadyProducer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
