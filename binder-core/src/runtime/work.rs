//! The deliveries of one input between receipt and settlement: lanes, attempts, dead letters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, Sleep};

use super::aside::{Aside, Exhausted};
use super::backoff;
use super::lanes::{LaneIndex, LaneKey, LaneState, Lanes, Task};
use super::slots::{SlotIndex, Slots, Started};
use super::state::StateCell;
use super::window::SettlementWindow;
use crate::binder::{BatchView, LaneId};
use crate::config::{Backoff, Ordering};
use crate::handler::{DeliveryRef, HandlerError, Verdict};
use crate::{Error, ErrorKind};

/// How an input works.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) channel: Arc<str>,
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) ordering: Ordering,
    pub(crate) concurrency: usize,
    pub(crate) prefetch: usize,
    /// The header that carries the key, if not the record's own.
    pub(crate) key_header: Option<Arc<str>>,
}

/// What is done with the deliveries of one consumer.
///
/// `F` decodes a delivery and makes the handler's call; it is inlined here, so a message that succeeds at once meets no box, no task and
/// no lock. Whatever takes longer is copied out of its batch and gets a lane.
pub(crate) struct Work<F, Fut> {
    settings: Settings,
    invoke: F,
    window: SettlementWindow,
    slots: Slots<Fut>,
    running: Vec<Option<Task>>,
    lanes: Lanes,
    timers: BinaryHeap<Reverse<(Instant, LaneIndex)>>,
    sleep: Pin<Box<Sleep>>,
    aside: FuturesUnordered<BoxFuture<'static, (Task, Result<(), Error>)>>,
    exhausted: Exhausted,
    state: StateCell,
    arena: BytesMut,
    random: fastrand::Rng,
    stop: Option<Error>,
}

impl<F, Fut> Work<F, Fut>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict>,
{
    pub(crate) fn new(settings: Settings, invoke: F, exhausted: Exhausted, state: StateCell) -> Self {
        Self {
            slots: Slots::new(settings.concurrency),
            settings,
            invoke,
            window: SettlementWindow::default(),
            running: Vec::new(),
            lanes: Lanes::default(),
            timers: BinaryHeap::new(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            aside: FuturesUnordered::new(),
            exhausted,
            state,
            arena: BytesMut::new(),
            random: fastrand::Rng::new(),
            stop: None,
        }
    }

    /// Returns the deliveries that are received and not settled.
    pub(crate) fn window(&mut self) -> &mut SettlementWindow {
        &mut self.window
    }

    /// Returns how many deliveries may still be received.
    pub(crate) fn room(&self) -> usize {
        self.settings.prefetch.saturating_sub(self.window.unsettled())
    }

    /// Returns whether intake should start again after it was stopped for want of room.
    pub(crate) fn has_room_again(&self) -> bool {
        self.window.unsettled() <= self.settings.prefetch * 3 / 4
    }

    /// Returns whether no handler runs and no dead letter is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.running() == 0 && self.aside.is_empty()
    }

    /// Returns whether something may happen without a new delivery.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.is_idle() || !self.timers.is_empty()
    }

    /// Returns whether a handler can be started now.
    pub(crate) fn can_start(&self) -> bool {
        self.lanes.has_ready() && !self.slots.is_full()
    }

    /// Returns why the binding must stop, if it must.
    pub(crate) fn take_stop(&mut self) -> Option<Error> {
        self.stop.take()
    }

    /// Handles a batch: at once what can be, in a lane what can't.
    pub(crate) fn accept(&mut self, view: &dyn BatchView) {
        let mut next = 0;
        while next < view.len() {
            let end = if self.lanes.is_empty() { view.run_end(next) } else { next + 1 };
            if !self.lanes.is_empty() || self.slots.is_full() {
                self.accept_beside_others(view, next);
                next += 1;
            } else {
                next = self.run_in_place(view, next, end);
            }
        }
    }

    fn accept_beside_others(&mut self, view: &dyn BatchView, index: usize) {
        let busy = match self.settings.ordering {
            Ordering::Partition => self.lanes.find_partition(view.token(index).lane),
            Ordering::Key => self.key_of(view, index).and_then(|key| self.lanes.find_key(&key)),
            Ordering::None => None,
        };
        if let Some(lane) = busy {
            let task = self.detach(view, index, lane);
            self.window.receive(task.parcel.token);
            self.lanes.push_back(task);
        } else if self.lanes.has_ready() || self.slots.is_full() {
            let task = self.detach_to_new_lane(view, index);
            self.window.receive(task.parcel.token);
            self.lanes.push_back(task);
        } else {
            self.run_in_place(view, index, index + 1);
        }
    }

    /// Runs handlers straight from the batch until one does not succeed at once: that one is copied out. Returns what to go on with.
    ///
    /// The deliveries are of one lane, of which nothing is unfinished before them, so the last that passed settles them all.
    #[inline]
    fn run_in_place(&mut self, view: &dyn BatchView, first: usize, end: usize) -> usize {
        let mut delivery = DeliveryRef { view, index: first, attempt: 1, channel: &self.settings.channel };
        let stopped = start(&mut self.slots, &self.invoke, &mut delivery, end);
        let index = delivery.index;
        if index > first {
            self.window.pass(view.token(index - 1));
        }
        match stopped {
            None => index,
            Some(stopped) => {
                self.continue_aside(view, index, stopped);
                index + 1
            }
        }
    }

    #[cold]
    fn continue_aside(&mut self, view: &dyn BatchView, index: usize, started: Started) {
        let task = self.detach_to_new_lane(view, index);
        self.window.receive(task.parcel.token);
        self.after_start(task, started);
    }

    /// Starts handlers of waiting lanes, at most `max`.
    pub(crate) fn pump(&mut self, max: usize) {
        for _ in 0..max {
            if self.slots.is_full() {
                return;
            }
            let Some(task) = self.lanes.next_ready() else { return };
            let mut delivery =
                DeliveryRef { view: &task.parcel, index: 0, attempt: task.attempt, channel: &self.settings.channel };
            let stopped = start(&mut self.slots, &self.invoke, &mut delivery, 1);
            self.after_start(task, stopped.unwrap_or(Started::Done(Ok(()))));
        }
    }

    fn after_start(&mut self, task: Task, started: Started) {
        match started {
            Started::Running(slot) => self.note_running(slot, task),
            Started::Done(verdict) => self.complete(task, verdict),
        }
    }

    fn note_running(&mut self, slot: SlotIndex, task: Task) {
        self.lanes.set_state(task.lane, LaneState::Running);
        if self.running.len() <= slot {
            self.running.resize_with(slot + 1, || None);
        }
        self.running[slot] = Some(task);
    }

    fn complete(&mut self, task: Task, verdict: Verdict) {
        match verdict.map_err(HandlerError::into_error) {
            Ok(()) => self.finish(&task),
            Err(None) => self.lanes.retry_now(Task { attempt: task.attempt + 1, ..task }),
            Err(Some(error)) => self.fail(task, error),
        }
    }

    fn finish(&mut self, task: &Task) {
        self.window.finish(task.parcel.token);
        self.lanes.advance(task.lane);
    }

    #[cold]
    fn fail(&mut self, task: Task, error: Error) {
        let channel = &self.settings.channel;
        if error.is_retryable() && task.attempt < self.settings.max_attempts {
            let drawn = backoff::wait(&self.settings.backoff, task.attempt, &mut self.random);
            let wait = error.retry_after().unwrap_or(drawn);
            tracing::warn!(%channel, attempt = task.attempt, ?wait, "attempt failed, will be tried again: {error:?}");
            self.timers.push(Reverse((Instant::now() + wait, task.lane)));
            return self.lanes.wait(Task { attempt: task.attempt + 1, ..task });
        }
        let attempts = if error.kind() == ErrorKind::Codec { 0 } else { task.attempt };
        match &self.exhausted {
            Exhausted::DeadLetter(sink) => {
                tracing::warn!(%channel, attempts, "moving the message to the dead letters: {error:?}");
                self.lanes.set_state(task.lane, LaneState::Aside);
                let aside = Aside { sink: Arc::clone(sink), state: self.state.clone(), attempts };
                self.aside.push(Box::pin(aside.send(task, error.permanent())));
            }
            Exhausted::Discard => {
                tracing::error!(%channel, attempts, "discarding the message: {error:?}");
                self.finish(&task);
            }
            Exhausted::Stop => {
                tracing::error!(%channel, attempts, "stopping the binding: {error:?}");
                self.lanes.set_state(task.lane, LaneState::Aside);
                self.stop = Some(error.permanent());
            }
        }
    }

    /// Ready when a handler has finished, a wait is over or a dead letter is confirmed.
    pub(crate) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut progress = false;
        while let Poll::Ready((slot, verdict)) = self.slots.poll_done(context) {
            progress = true;
            if let Some(task) = self.running[slot].take() {
                self.complete(task, verdict);
            }
        }
        while let Poll::Ready(Some((task, sent))) = self.aside.poll_next_unpin(context) {
            progress = true;
            match sent {
                Ok(()) => self.finish(&task),
                Err(error) => self.stop = Some(error),
            }
        }
        progress |= self.poll_timers(context);
        if progress || self.can_start() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_timers(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        while let Some(Reverse((due, lane))) = self.timers.peek().copied() {
            if self.sleep.deadline() != due {
                self.sleep.as_mut().reset(due);
            }
            if self.sleep.as_mut().poll(context).is_pending() {
                break;
            }
            self.timers.pop();
            self.lanes.wake(lane);
            progress = true;
        }
        progress
    }

    /// Drops what has not been started, in all lanes: it stays unsettled and is delivered again.
    pub(crate) fn drop_waiting(&mut self) {
        self.lanes.drop_waiting(|_| true);
        self.timers.clear();
    }

    /// Drops what has not been started of lanes that are to be given back.
    pub(crate) fn revoke(&mut self, revoked: &[LaneId]) {
        self.lanes.drop_waiting(|task| revoked.contains(&task.parcel.token.lane));
    }

    /// Forgets lanes: their settlements are ignored from now on.
    pub(crate) fn forget(&mut self, lanes: &[LaneId]) {
        self.revoke(lanes);
        self.window.forget(lanes);
    }

    /// Returns whether a handler runs for one of these lanes.
    pub(crate) fn runs_in(&self, lanes: &[LaneId]) -> bool {
        let running = self.running.iter().flatten().any(|task| lanes.contains(&task.parcel.token.lane));
        running || !self.aside.is_empty()
    }

    /// Ends the handlers that still run; their deliveries stay unsettled.
    pub(crate) fn cancel(&mut self) {
        for slot in 0..self.running.len() {
            if self.running[slot].take().is_some() {
                self.slots.cancel(slot);
            }
        }
        self.aside.clear();
    }

    fn detach(&mut self, view: &dyn BatchView, index: usize, lane: LaneIndex) -> Task {
        Task { parcel: view.detach(index, &mut self.arena), attempt: 1, lane }
    }

    fn detach_to_new_lane(&mut self, view: &dyn BatchView, index: usize) -> Task {
        let key = match self.settings.ordering {
            Ordering::Partition => LaneKey::Partition(view.token(index).lane),
            Ordering::Key => self.key_of(view, index).map_or(LaneKey::Single, LaneKey::Key),
            Ordering::None => LaneKey::Single,
        };
        let lane = self.lanes.add(key);
        self.detach(view, index, lane)
    }

    fn key_of(&self, view: &dyn BatchView, index: usize) -> Option<Bytes> {
        let Some(name) = &self.settings.key_header else { return view.key(index).map(Bytes::copy_from_slice) };
        let value = view.header(index, name)?;
        Some(value.as_bytes().map_or_else(|| value.to_text().into(), Bytes::copy_from_slice))
    }
}

/// Decodes deliveries and starts their handlers, one after the other, until one does not succeed at once or `end` is reached. `delivery` then
/// stands at the one that did not, or at the end. A panic on the way is the failure of its delivery, as one in the handler is.
#[inline]
fn start<F, Fut>(slots: &mut Slots<Fut>, invoke: &F, delivery: &mut DeliveryRef<'_>, end: usize) -> Option<Started>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict>,
{
    let mut run = || -> Result<Option<Started>, Error> {
        while delivery.index < end {
            match slots.start(invoke(delivery)?) {
                Started::Done(Ok(())) => delivery.index += 1,
                other => return Ok(Some(other)),
            }
        }
        Ok(None)
    };
    // one catch for all: it costs as much as a handler that does little
    match catch_unwind(AssertUnwindSafe(&mut run)) {
        Ok(Ok(stopped)) => stopped,
        Ok(Err(error)) => Some(Started::Done(Err(HandlerError::from(error)))),
        Err(panic) => {
            slots.clear_next();
            Some(Started::Done(Err(HandlerError::from_panic(panic.as_ref()))))
        }
    }
}
