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
    Binder, BinderContext, BinderFactory, BinderHealth, Capability, CommitError, Consumer, ConsumerBinding,
    ConsumerTransaction, DeadLetterSink, DeadLetterStore, Delay, Envelope, LaneId, Outgoing, OutgoingBatch, Producer,
    ProducerBinding, Receipts, Received, Seek, SeekTo, SharedBinder, Slot, Status, Transactions, TrySend,
};
use crate::testkit::{Network, Way};
use crate::{Error, ErrorKind, Result};

/// How long a client takes to notice that nobody answers, as by missing heartbeats.
const SILENCE: Duration = Duration::from_secs(2);

/// Puts a switch between applications and their broker: stopped, it behaves as a broker that is not reached.
///
/// Gives the fault cases to a binder that has no broker to stop, such as one in memory, and those of the network by
/// [`disturb`](Self::disturb). Clones are the same.
#[derive(Clone)]
pub struct Unsteady {
    factory: Arc<dyn BinderFactory>,
    weather: watch::Sender<Weather>,
}

/// What is between applications and their broker.
#[derive(Clone, Copy, Debug)]
struct Weather {
    there: bool,
    network: Network,
}

impl Weather {
    /// Nothing is carried, and everybody knows it.
    fn is_gone(self) -> bool {
        !self.there || self.network == Network::Cut
    }

    /// Bytes vanish, so connections die.
    fn is_silent(self) -> bool {
        self.network.loses(Way::ToBroker) || self.network.loses(Way::FromBroker)
    }

    fn is_reached(self) -> bool {
        !self.is_gone() && !self.is_silent()
    }
}

impl Unsteady {
    /// Puts the switch before the binders of a factory.
    pub fn new(factory: impl BinderFactory) -> Self {
        let weather = Weather { there: true, network: Network::Clear };
        Self { factory: Arc::new(factory), weather: watch::Sender::new(weather) }
    }

    /// Stops or starts; never fails.
    pub fn set(&self, verb: Verb) -> io::Result<()> {
        self.weather.send_modify(|weather| weather.there = verb == Verb::Start);
        Ok(())
    }

    /// Imitates a network: a consumer whose bytes vanish is lost after two seconds of silence, deliveries and sends come late or slowly.
    /// What is sent while nothing gets through waits.
    pub fn disturb(&self, network: Network) {
        self.weather.send_modify(|weather| weather.network = network);
    }
}

impl fmt::Debug for Unsteady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsteady").field("weather", &*self.weather.borrow()).finish_non_exhaustive()
    }
}

impl BinderFactory for Unsteady {
    fn create(&self, context: &BinderContext) -> Result<SharedBinder> {
        let binder = self.factory.create(context)?;
        Ok(SharedBinder::new(UnsteadyBinder { binder, weather: self.weather.subscribe() }))
    }
}

const AWAY: &str = "the broker does not answer";

fn away() -> Error {
    Error::new(ErrorKind::Connection, AWAY).retryable()
}

#[derive(Debug)]
struct UnsteadyBinder {
    binder: SharedBinder,
    weather: watch::Receiver<Weather>,
}

impl UnsteadyBinder {
    fn reach(&self) -> Result<()> {
        if self.weather.borrow().is_reached() { Ok(()) } else { Err(away()) }
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
        Ok(Box::new(UnsteadyConsumer { consumer, weather: self.weather.clone(), dead: None, due: None }))
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
        let forward = Arc::clone(&waiting).forward(self.weather.clone(), binding.status.clone());
        let task = tokio::spawn(forward).abort_handle();
        Ok(Arc::new(UnsteadyProducer { waiting, weather: self.weather.clone(), task }))
    }

    fn health(&self) -> BinderHealth {
        if self.weather.borrow().is_reached() {
            self.binder.health()
        } else {
            BinderHealth::Connecting(AWAY.to_owned())
        }
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
    weather: watch::Receiver<Weather>,
    /// Since when bytes vanish; such a connection does not live again.
    dead: Option<Instant>,
    /// When the next delivery comes through.
    due: Option<Instant>,
}

impl UnsteadyConsumer {
    /// Looks what became of the connection, and returns whether deliveries come through.
    fn look(&mut self) -> Result<bool> {
        let now = *self.weather.borrow();
        if now.is_silent() {
            self.dead.get_or_insert_with(Instant::now);
        }
        if now.is_gone() || self.dead.is_some_and(|since| since.elapsed() >= SILENCE) {
            return Err(away());
        }
        Ok(self.dead.is_none() || now.network == Network::HalfOpen(Way::ToBroker))
    }

    /// Returns whether the broker is told anything.
    fn is_heard(&mut self) -> bool {
        self.look().is_ok() && self.dead.is_none()
    }
}

/// Waits until the connection is lost.
async fn lost(weather: &mut watch::Receiver<Weather>, dead: &mut Option<Instant>) -> Error {
    loop {
        let now = *weather.borrow_and_update();
        if now.is_silent() {
            dead.get_or_insert_with(Instant::now);
        }
        if now.is_gone() {
            return away();
        }
        let end = dead.map(|since| since + SILENCE);
        let silence = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = silence => return away(),
            _ = weather.changed() => {}
        }
    }
}

/// Returns how many bytes a delivery or several have.
fn size(received: &Received<'_>) -> usize {
    match received {
        Received::Batch(view) => (0..view.len()).map(|index| view.payload(index).map_or(0, <[u8]>::len)).sum(),
        _ => 0,
    }
}

#[deny(clippy::missing_trait_methods, reason = "what is not forwarded would be the default")]
impl Consumer for UnsteadyConsumer {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        let hears = self.look()?;
        // what comes late or slowly comes to one who waits
        if !hears || self.due.is_some() || self.weather.borrow().network != Network::Clear {
            return Ok(None);
        }
        self.consumer.try_recv_many(max)
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        Box::pin(async move {
            let hears = self.look()?;
            let Self { consumer, weather, dead, due } = self;
            let network = weather.borrow().network;
            let receive = async {
                if !hears {
                    std::future::pending::<()>().await;
                }
                if let Network::Delayed(delay) = network {
                    due.get_or_insert_with(|| Instant::now() + delay);
                }
                if let Some(due) = *due {
                    tokio::time::sleep_until(due).await;
                }
                let received = consumer.recv_many(max).await?;
                *due = matches!(network, Network::Slow(_)).then(|| Instant::now() + network.pace(size(&received)));
                Ok(received)
            };
            tokio::select! {
                biased;
                error = lost(weather, dead) => Err(error),
                received = receive => received,
            }
        })
    }

    /// The weather needs a future.
    fn poll_ready(&mut self, _: &mut Context<'_>, _: usize) -> Option<Poll<()>> {
        None
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        if self.is_heard() { self.consumer.settle(lane, sequence) } else { Ok(()) }
    }

    fn settle_apart(&mut self, lane: LaneId, sequences: &[u64]) -> Result<bool> {
        if self.is_heard() { self.consumer.settle_apart(lane, sequences) } else { Ok(true) }
    }

    fn seek(&mut self, partition: Option<u32>, to: SeekTo) -> Result<Vec<LaneId>> {
        self.consumer.seek(partition, to)
    }

    fn commit<'a>(&'a mut self, transaction: ConsumerTransaction<'a>) -> BoxFuture<'a, Result<(), CommitError>> {
        if self.is_heard() {
            return self.consumer.commit(transaction);
        }
        Box::pin(std::future::ready(Err(CommitError::Aborted(away()))))
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
    /// When it comes through.
    due: Instant,
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
    async fn forward(self: Arc<Self>, mut weather: watch::Receiver<Weather>, status: Status) {
        loop {
            let reached = weather.borrow_and_update().is_reached();
            if reached {
                status.up()
            } else {
                status.connecting(AWAY)
            }
            self.expire();
            let first = lock(&self.queue).front().map(|held| (held.due, held.until));
            if reached && first.is_some_and(|(due, _)| due <= Instant::now()) {
                self.send_first().await;
                continue;
            }
            let next = async {
                match first {
                    Some((due, until)) if reached => tokio::time::sleep_until(due.min(until)).await,
                    Some((_, until)) => tokio::time::sleep_until(until).await,
                    None => self.added.notified().await,
                }
            };
            tokio::select! {
                _ = weather.changed() => {}
                () = next => {}
            }
        }
    }

    /// Sends the first that waits.
    async fn send_first(&self) {
        let Some((slot, batch)) =
            lock(&self.queue).front_mut().map(|held| (held.slot, std::mem::take(&mut held.batch)))
        else {
            return;
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
    weather: watch::Receiver<Weather>,
    task: tokio::task::AbortHandle,
}

impl UnsteadyProducer {
    fn goes_through(&self) -> bool {
        let Weather { there, network } = *self.weather.borrow();
        there && network == Network::Clear && lock(&self.waiting.queue).is_empty()
    }

    fn hold(&self, batch: OutgoingBatch) -> TrySend<'_> {
        let Waiting { receipts, queue, added, timeout, .. } = &*self.waiting;
        let Some(slot) = receipts.reserve(batch.len() as u32) else { return TrySend::Full };
        let (now, network) = (Instant::now(), self.weather.borrow().network);
        let mut queue = lock(queue);
        let before = queue.back().map_or(now, |held| held.due.max(now));
        let size = batch.iter().map(|message| message.payload.map_or(0, <[u8]>::len)).sum();
        let due = if let Network::Delayed(delay) = network { now + delay } else { before + network.pace(size) };
        queue.push_back(Held { slot, batch, due, until: now + *timeout });
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

#[deny(clippy::missing_trait_methods, reason = "what is not forwarded would be the default")]
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

    fn partitions(&self) -> Option<u32> {
        self.waiting.producer.partitions()
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
