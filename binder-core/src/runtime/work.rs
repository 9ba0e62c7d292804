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
use super::breaker::Breaker;
use super::delayed::Delayed;
use super::keys::{KeyPlace, Keys};
use super::lanes::{LaneIndex, LaneKey, LaneState, Lanes, Task, WaitId};
use super::retry::RetryPolicy;
use super::runner::BATCH;
use super::slots::{Done, SlotIndex, Slots, Started};
use super::spread::{Late, Spread};
use super::state::{BindingState, StateCell};
use super::window::SettlementWindow;
use crate::binder::{BatchView, Consumer, LaneId};
use crate::config::{BreakerProperties, Ordering};
use crate::handler::{DeliveryRef, HandlerError, Verdict};
use crate::{Error, ErrorKind};

/// How an input works.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) channel: Arc<str>,
    pub(crate) retry: RetryPolicy,
    /// How long a call may take; none is for ever.
    pub(crate) handler_timeout: Option<Duration>,
    /// Whether calls hand out deliveries to somebody who pulls: they compute nothing, and their order counts.
    pub(crate) hands_out: bool,
    pub(crate) breaker: BreakerProperties,
    pub(crate) ordering: Ordering,
    pub(crate) concurrency: usize,
    pub(crate) prefetch: usize,
    /// Where the keys are that `ordering: key` asks for.
    pub(crate) key: KeyPlace,
    /// Where failed messages wait, if not here.
    pub(crate) delayed: Option<Delayed>,
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
    /// Whether calls get tasks of their own; none if that is of no use.
    spread: Option<Spread>,
    running: Vec<Option<Running>>,
    /// When the first of the running calls is late; looked at again then.
    first_late: Option<Instant>,
    late: Pin<Box<Sleep>>,
    breaker: Option<Breaker>,
    /// When the breaker lets a call start again.
    reopen: Pin<Box<Sleep>>,
    /// Whether the binding is paused.
    rests: bool,
    /// Whether no call may start: the binding is paused, or the breaker is open.
    held: bool,
    /// Whether lanes can be held each for itself, so that `prefetch` bounds each.
    holds_lanes: bool,
    lanes: Lanes,
    timers: BinaryHeap<Reverse<(Instant, LaneIndex, WaitId)>>,
    sleep: Pin<Box<Sleep>>,
    aside: FuturesUnordered<BoxFuture<'static, (Task, Result<(), Error>)>>,
    exhausted: Exhausted,
    state: StateCell,
    arena: BytesMut,
    random: fastrand::Rng,
    stop: Option<Error>,
}

/// A call that has been started and is not done.
struct Running {
    task: Task,
    deadline: Option<Instant>,
}

impl<F, Fut> Work<F, Fut>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    pub(crate) fn new(settings: Settings, invoke: F, exhausted: Exhausted, state: StateCell) -> Self {
        Self {
            slots: Slots::new(settings.concurrency),
            spread: if settings.hands_out { None } else { Spread::new(settings.concurrency) },
            breaker: Breaker::new(&settings.breaker),
            reopen: Box::pin(tokio::time::sleep(Duration::ZERO)),
            rests: false,
            held: false,
            holds_lanes: true,
            settings,
            invoke,
            window: SettlementWindow::default(),
            running: Vec::new(),
            first_late: None,
            late: Box::pin(tokio::time::sleep(Duration::ZERO)),
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
        if self.held {
            return 0;
        }
        let room = self.settings.prefetch.saturating_sub(self.unsettled());
        if self.breaker.is_some() { self.room_for_probe(room) } else { room }
    }

    /// While the breaker probes one delivery is enough, if none waits already.
    #[cold]
    fn room_for_probe(&self, room: usize) -> usize {
        if self.breaker.as_ref().is_some_and(Breaker::probes) {
            room.min(usize::from(self.lanes.is_empty()))
        } else {
            room
        }
    }

    /// Returns how many deliveries are unsettled of that which `prefetch` bounds.
    #[inline]
    fn unsettled(&self) -> usize {
        let all = self.window.unsettled();
        // as long as all of them are few the fullest lane need not be looked for
        if self.holds_lanes && all + BATCH > self.settings.prefetch { self.window.fullest() } else { all }
    }

    /// Returns whether intake should start again after it was stopped for want of room.
    pub(crate) fn has_room_again(&self) -> bool {
        // a lane that is held has its own way back
        let few = self.holds_lanes || self.unsettled() <= self.settings.prefetch * 3 / 4;
        few && self.room() > 0
    }

    /// Lets the consumer hold the lanes of which as much is unsettled as may be, and go on with those that have room again.
    #[inline]
    pub(crate) fn hold_full_lanes(&mut self, consumer: &mut dyn Consumer) -> Result<(), Error> {
        let is_full = self.holds_lanes && !self.held && self.unsettled() >= self.settings.prefetch;
        if is_full || self.window.holds() { self.change_held(consumer) } else { Ok(()) }
    }

    #[cold]
    fn change_held(&mut self, consumer: &mut dyn Consumer) -> Result<(), Error> {
        let prefetch = self.settings.prefetch;
        for (hold, bound) in [(false, prefetch * 3 / 4), (true, prefetch)] {
            let lanes = self.window.to_hold(hold, bound);
            if lanes.is_empty() {
                continue;
            }
            self.holds_lanes = consumer.hold(&lanes, hold)?;
            if self.holds_lanes {
                self.window.note_held(&lanes, hold);
            }
        }
        Ok(())
    }

    /// Returns whether no handler runs and no dead letter is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.running() == 0 && self.aside.is_empty()
    }

    /// Returns whether something may happen without a new delivery.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.is_idle() || !self.timers.is_empty() || self.held
    }

    /// Returns whether a handler can be started now.
    pub(crate) fn can_start(&self) -> bool {
        self.lanes.has_ready() && !self.is_full()
    }

    /// Lets no call start from now on, or lets them start again.
    #[inline]
    pub(crate) fn rest(&mut self, rests: bool) {
        if rests != self.rests {
            self.rests = rests;
            self.held = rests || self.breaker.as_ref().is_some_and(Breaker::holds);
        }
    }

    /// Returns whether no call may be started, for want of a place, because of the breaker or of a pause.
    #[inline]
    fn is_full(&self) -> bool {
        self.held || self.slots.is_full()
    }

    /// Returns why the binding must stop, if it must.
    pub(crate) fn take_stop(&mut self) -> Option<Error> {
        self.stop.take()
    }

    /// Handles a batch: at once what can be, in a lane what can't.
    pub(crate) fn accept(&mut self, view: &dyn BatchView) {
        let keys = if self.settings.ordering == Ordering::Key { self.keys_of(view) } else { Keys::Unused };
        let mut next = 0;
        while next < view.len() {
            let end = if self.lanes.is_empty() { self.run_end(view, next) } else { next + 1 };
            if !self.lanes.is_empty() || self.is_full() {
                self.accept_beside_others(view, next, &keys);
                next += 1;
            } else {
                next = self.run_in_place(view, next, end, &keys);
            }
        }
    }

    /// Finds the keys, and counts what has none.
    fn keys_of<'v>(&self, view: &'v dyn BatchView) -> Keys<'v> {
        let keys = self.settings.key.of(view);
        let missing = keys.missing();
        if missing > 0 {
            self.state.counts().without_key.add(missing);
        }
        keys
    }

    fn accept_beside_others(&mut self, view: &dyn BatchView, index: usize, keys: &Keys<'_>) {
        let busy = match self.settings.ordering {
            Ordering::Partition => self.lanes.find_partition(view.token(index).lane),
            Ordering::Key => keys.get(index).and_then(|key| self.lanes.find_key(key)),
            Ordering::None => None,
        };
        if let Some(lane) = busy {
            let task = self.detach(view, index, lane);
            self.window.receive(task.parcel.token);
            self.lanes.push_back(task);
        } else if self.lanes.has_ready() || self.is_full() {
            let task = self.detach_to_new_lane(view, index, keys);
            self.window.receive(task.parcel.token);
            self.lanes.push_back(task);
        } else {
            self.run_in_place(view, index, index + 1, keys);
        }
    }

    /// Runs handlers straight from the batch until one does not succeed at once: that one is copied out. Returns what to go on with.
    ///
    /// The deliveries are of one lane, of which nothing is unfinished before them, so the last that passed settles them all.
    #[inline]
    fn run_in_place(&mut self, view: &dyn BatchView, first: usize, end: usize, keys: &Keys<'_>) -> usize {
        let end = if self.breaker.is_some() { first + 1 } else { end };
        let attempt = self.attempt_of(view, first);
        let mut delivery = DeliveryRef { view, index: first, attempt, channel: &self.settings.channel };
        let (spread, slots) = (&mut self.spread, &mut self.slots);
        let stopped = begin(spread, slots, &self.invoke, &mut delivery, end);
        let index = delivery.index;
        if index > first {
            self.window.pass(view.token(index - 1));
            self.note_success();
        }
        match stopped {
            None => index,
            Some(stopped) => {
                self.continue_aside(view, index, keys, stopped);
                index + 1
            }
        }
    }

    /// Returns the index up to which deliveries are of one lane, and of one attempt.
    #[inline]
    fn run_end(&self, view: &dyn BatchView, index: usize) -> usize {
        if self.settings.delayed.is_none() { view.run_end(index) } else { index + 1 }
    }

    #[inline]
    fn attempt_of(&self, view: &dyn BatchView, index: usize) -> u32 {
        if self.settings.delayed.is_none() { 1 } else { view.attempt(index).max(1) }
    }

    #[cold]
    fn continue_aside(&mut self, view: &dyn BatchView, index: usize, keys: &Keys<'_>, started: Started) {
        let task = self.detach_to_new_lane(view, index, keys);
        self.window.receive(task.parcel.token);
        self.after_start(task, started);
    }

    /// Starts handlers of waiting lanes, at most `max`.
    pub(crate) fn pump(&mut self, max: usize) {
        for _ in 0..max {
            if self.is_full() {
                return;
            }
            let Some(task) = self.lanes.next_ready() else { return };
            let mut delivery =
                DeliveryRef { view: &task.parcel, index: 0, attempt: task.attempt, channel: &self.settings.channel };
            let stopped = begin(&mut self.spread, &mut self.slots, &self.invoke, &mut delivery, 1);
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
        let deadline = self.settings.handler_timeout.map(|wait| Instant::now() + wait);
        if self.first_late.is_none() {
            self.first_late = deadline;
        }
        self.running[slot] = Some(Running { task, deadline });
        if let Some(breaker) = &mut self.breaker {
            breaker.started();
            self.held = self.rests || breaker.holds();
        }
    }

    #[inline]
    fn note_success(&mut self) {
        if self.breaker.is_some() {
            self.note_success_in_breaker();
        }
    }

    #[cold]
    fn note_success_in_breaker(&mut self) {
        let Some(breaker) = &mut self.breaker else { return };
        if breaker.succeeded(1) {
            tracing::info!(channel = %self.settings.channel, "the breaker closes: the probe succeeded");
            self.state.set(BindingState::Running);
        }
        self.held = self.rests || breaker.holds();
    }

    fn note_failure(&mut self) {
        let Some(breaker) = &mut self.breaker else { return };
        if let Some(why) = breaker.failed(Instant::now()) {
            tracing::error!(channel = %self.settings.channel, "no handler starts: {why}");
            self.state.set(BindingState::Degraded(why));
        }
        self.held = self.rests || breaker.holds();
    }

    fn complete(&mut self, task: Task, verdict: Verdict) {
        match verdict.map_err(HandlerError::into_error) {
            Ok(()) => {
                self.note_success();
                self.finish(&task);
            }
            Err(None) if self.has_ended(&task) => self.lanes.advance(task.lane),
            Err(None) => self.lanes.retry_now(Task { attempt: task.attempt + 1, ..task }),
            Err(Some(error)) => self.fail(task, error),
        }
    }

    fn finish(&mut self, task: &Task) {
        if !self.window.finish(task.parcel.token) {
            self.state.counts().too_late.add(1);
        }
        self.lanes.advance(task.lane);
    }

    /// Returns whether the delivery's lane was forgotten: it is delivered again, or not wanted any more.
    fn has_ended(&self, task: &Task) -> bool {
        !self.window.knows(task.parcel.token.lane)
    }

    #[cold]
    fn fail(&mut self, task: Task, error: Error) {
        self.note_failure();
        if self.has_ended(&task) {
            tracing::debug!(channel = %self.settings.channel, "failed after its lane had ended: {error:?}");
            return self.lanes.advance(task.lane);
        }
        let channel = &self.settings.channel;
        if self.settings.retry.is_worth_another(&error, task.attempt) {
            self.state.counts().retried.add(1);
            if let Some(delayed) = &self.settings.delayed {
                let wait = delayed.wait(&error, task.attempt);
                tracing::warn!(%channel, attempt = task.attempt, ?wait, "attempt failed, waits on the broker: {error:?}");
                self.lanes.set_state(task.lane, LaneState::Aside);
                return self.aside.push(Box::pin(Aside::later(delayed, wait, &self.state).send(task)));
            }
            let wait = self.settings.retry.wait(&error, task.attempt, &mut self.random);
            tracing::warn!(%channel, attempt = task.attempt, ?wait, "attempt failed, will be tried again: {error:?}");
            let (due, lane) = (Instant::now() + wait, task.lane);
            let wait = self.lanes.wait(Task { attempt: task.attempt + 1, ..task });
            return self.timers.push(Reverse((due, lane, wait)));
        }
        let attempts = if error.kind() == ErrorKind::Codec { 0 } else { task.attempt };
        match &self.exhausted {
            Exhausted::DeadLetter(sink) => {
                tracing::warn!(%channel, attempts, "moving the message to the dead letters: {error:?}");
                self.lanes.set_state(task.lane, LaneState::Aside);
                let aside = Aside::dead_letter(channel, sink, error.permanent(), attempts, &self.state);
                self.aside.push(Box::pin(aside.send(task)));
            }
            Exhausted::Transaction(collected) => {
                tracing::warn!(%channel, attempts, "moving the message to the dead letters: {error:?}");
                collected.add_letter(task.parcel.clone(), error.permanent(), attempts);
                self.finish(&task);
            }
            Exhausted::Discard => {
                self.state.counts().discarded.add(1);
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
        while let Poll::Ready(Done { slot, verdict, away }) = self.slots.poll_done(context) {
            progress = true;
            if let (Some(took), Some(spread)) = (away, &mut self.spread) {
                spread.note(took, 1);
            }
            let Some(Running { task, .. }) = self.running[slot].take() else { continue };
            match verdict {
                Some(verdict) => self.complete(task, verdict),
                None => self.fail(task, late(self.settings.handler_timeout.unwrap_or_default())),
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
        progress |= self.first_late.is_some() && self.poll_late(context);
        progress |= self.held && self.poll_breaker(context);
        if progress || self.can_start() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_timers(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        while let Some(Reverse((due, lane, wait))) = self.timers.peek().copied() {
            if self.sleep.deadline() != due {
                self.sleep.as_mut().reset(due);
            }
            if self.sleep.as_mut().poll(context).is_pending() {
                break;
            }
            self.timers.pop();
            self.lanes.wake(lane, wait);
            progress = true;
        }
        progress
    }

    /// Ends calls that take longer than they may: they count as failed.
    fn poll_late(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        while let Some(first_late) = self.first_late {
            if self.late.deadline() != first_late {
                self.late.as_mut().reset(first_late);
            }
            if self.late.as_mut().poll(context).is_pending() {
                break;
            }
            progress |= self.end_late(Instant::now());
            self.first_late = self.running.iter().flatten().filter_map(|running| running.deadline).min();
        }
        progress
    }

    #[cold]
    fn end_late(&mut self, now: Instant) -> bool {
        let mut progress = false;
        let patience = self.settings.handler_timeout.unwrap_or_default();
        for slot in 0..self.running.len() {
            let is_late = |running: &&mut Running| running.deadline.is_some_and(|deadline| deadline <= now);
            let Some(running) = self.running[slot].as_mut().filter(is_late) else { continue };
            if let Late::Again(due) = self.slots.end_late(slot, now, patience) {
                running.deadline = Some(due);
            } else if let Some(Running { task, .. }) = self.running[slot].take() {
                self.fail(task, late(patience));
                progress = true;
            }
        }
        progress
    }

    #[cold]
    fn poll_breaker(&mut self, context: &mut Context<'_>) -> bool {
        let Some(until) = self.breaker.as_ref().and_then(Breaker::open_until) else { return false };
        if self.reopen.deadline() != until {
            self.reopen.as_mut().reset(until);
        }
        if self.reopen.as_mut().poll(context).is_pending() {
            return false;
        }
        if let Some(breaker) = &mut self.breaker {
            breaker.tick(Instant::now());
            self.held = self.rests || breaker.holds();
        }
        true
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

    /// Forgets lanes that are gone already. Their handlers end at their next `.await`, so that none of them runs beside the one that gets
    /// the same message again.
    #[cold]
    pub(crate) fn lose(&mut self, lost: &[LaneId]) {
        self.forget(lost);
        for slot in 0..self.running.len() {
            let is_lost = |running: &mut Running| lost.contains(&running.task.parcel.token.lane);
            let Some(Running { task, .. }) = self.running[slot].take_if(is_lost) else { continue };
            self.slots.cancel(slot);
            self.lanes.advance(task.lane);
            if let Some(breaker) = &mut self.breaker {
                breaker.cancelled();
                self.held = self.rests || breaker.holds();
            }
        }
    }

    /// Returns whether a handler runs for one of these lanes.
    pub(crate) fn runs_in(&self, lanes: &[LaneId]) -> bool {
        let running = self.running.iter().flatten().any(|running| lanes.contains(&running.task.parcel.token.lane));
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
        Task { parcel: view.detach(index, &mut self.arena), attempt: self.attempt_of(view, index), lane }
    }

    fn detach_to_new_lane(&mut self, view: &dyn BatchView, index: usize, keys: &Keys<'_>) -> Task {
        let key = match self.settings.ordering {
            Ordering::Partition => LaneKey::Partition(view.token(index).lane),
            Ordering::Key => keys.get(index).map_or(LaneKey::Single, |key| LaneKey::Key(Bytes::copy_from_slice(key))),
            Ordering::None => LaneKey::Single,
        };
        let lane = self.lanes.add(key);
        self.detach(view, index, lane)
    }
}

/// Makes the error of a handler that takes too long.
#[cold]
pub(super) fn late(patience: Duration) -> Error {
    let patience = humantime::format_duration(patience);
    Error::new(ErrorKind::Timeout, format!("the handler was not done within `handler-timeout` ({patience})"))
        .retryable()
}

/// Decodes deliveries and starts their handlers, one after the other, until one does not succeed at once or `end` is reached. `delivery` then
/// stands at the one that did not, or at the end.
#[inline]
fn begin<F, Fut>(
    spread: &mut Option<Spread>,
    slots: &mut Slots<Fut>,
    invoke: &F,
    delivery: &mut DeliveryRef<'_>,
    end: usize,
) -> Option<Started>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    match spread {
        None => start(slots, invoke, delivery, end),
        Some(spread) => begin_somewhere(spread, slots, invoke, delivery, end),
    }
}

#[inline(never)]
fn begin_somewhere<F, Fut>(
    spread: &mut Spread,
    slots: &mut Slots<Fut>,
    invoke: &F,
    delivery: &mut DeliveryRef<'_>,
    end: usize,
) -> Option<Started>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    while !spread.is_away() {
        let first = delivery.index;
        let until = end.min(first + spread.together());
        let since = spread.clock(until - first);
        let stopped = start(slots, invoke, delivery, until);
        if let Some(since) = since {
            spread.note(since.elapsed(), delivery.index - first + usize::from(stopped.is_some()));
        }
        if stopped.is_some() || delivery.index == end {
            return stopped;
        }
    }
    Some(start_away(slots, invoke, delivery))
}

/// Decodes a delivery and starts its handler in a task of its own.
fn start_away<F, Fut>(slots: &mut Slots<Fut>, invoke: &F, delivery: &DeliveryRef<'_>) -> Started
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    match catch_unwind(AssertUnwindSafe(|| invoke(delivery))) {
        Ok(Ok(future)) => slots.start_away(future),
        Ok(Err(error)) => Started::Done(Err(HandlerError::from(error))),
        Err(panic) => Started::Done(Err(HandlerError::from_panic(panic.as_ref()))),
    }
}

/// As [`begin`], in place. A panic on the way is the failure of its delivery, as one in the handler is.
#[inline]
fn start<F, Fut>(slots: &mut Slots<Fut>, invoke: &F, delivery: &mut DeliveryRef<'_>, end: usize) -> Option<Started>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict> + Send + 'static,
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
