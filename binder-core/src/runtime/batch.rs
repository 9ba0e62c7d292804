//! The receive loop of an input whose messages are handled in batches.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::application::Application;
use super::aside::{Aside, Exhausted};
use super::assigned::Assigned;
use super::breaker::Breaker;
use super::input::{Decoder, RunContext};
use super::lanes::Task;
use super::runner::{BATCH, REVOKE_TIMEOUT, unless_overdue};
use super::seek::Seeks;
use super::state::{BindingState, Command, StateCell};
use super::transaction::{Ledger, Transaction};
use super::window::SettlementWindow;
use super::work::{Settings, late};
use crate::binder::{Consumer, LaneId, Parcel, Received};
use crate::channel::Input;
use crate::codec::Decode;
use crate::handler::{Batch, BatchHandler, BatchOutcome, DeliveryRef, HandlerError, IntoBatchOutcome};
use crate::message::Message;
use crate::{Error, ErrorKind, Result};

impl Application {
    /// Handles what arrives on an input in batches: what is there, at most 256 messages or `prefetch`. One batch at a time, in order.
    ///
    /// Items that the outcome names as failed are tried again after the backoff, together, and become dead letters when their attempts
    /// are used up; nothing behind them is settled before. The others are settled. A panic fails the whole batch. Layers do not go around
    /// batch handlers.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the input is handled already or its concurrency is not 1.
    #[allow(clippy::unused_async, reason = "spawns tasks, so it belongs into a runtime")]
    pub async fn handle_batch<T, A, H>(&self, input: Input<T>, handler: H) -> Result<()>
    where
        T: Decode + Sync,
        A: 'static,
        H: BatchHandler<T, A>,
        H::Output: IntoBatchOutcome + Send,
    {
        let entry = input.entry();
        let refused = if entry.is_handled() {
            Some("is handled already")
        } else if entry.binding.properties.concurrency != 1 {
            Some("has a concurrency above 1; batches are handled one at a time")
        } else {
            None
        };
        if let Some(why) = refused {
            return Err(Error::new(ErrorKind::Config, format!("the input `{}` {why}", entry.binding.channel)));
        }
        entry.check_transaction(handler.needs_transaction())?;
        let handler = Arc::new(handler);
        let decoder = entry.decoder();
        let binder = entry.binding.properties.transactional.then(|| Arc::clone(&entry.binder_name));
        entry.set_boxed_run(Arc::new(move |consumer, context| {
            let call =
                Call { handler: Arc::clone(&handler), decoder: decoder.clone(), types: std::marker::PhantomData };
            Box::pin(BatchRunner::new(consumer, call, context, binder.clone()).run())
        }));
        if self.is_started() && entry.auto_startup {
            entry.start();
        }
        Ok(())
    }
}

/// The handler with what turns deliveries into its batch.
pub(super) struct Call<H, T, A> {
    handler: Arc<H>,
    decoder: Decoder,
    types: std::marker::PhantomData<fn() -> (T, A)>,
}

/// A message that is not done.
pub(super) struct Item {
    pub(super) parcel: Parcel,
    pub(super) attempt: u32,
}

pub(super) struct BatchRunner<C> {
    port: Port,
    call: C,
    settings: Settings,
    exhausted: Exhausted,
    state: StateCell,
    breaker: Option<Breaker>,
    random: fastrand::Rng,
    seeks: Arc<Seeks>,
    /// What is to be committed, if the input is transactional.
    ledger: Option<Ledger>,
}

/// The consumer, polled on while something else is waited for.
struct Port {
    consumer: Box<dyn Consumer>,
    control: watch::Receiver<Command>,
    inbox: Inbox,
    window: SettlementWindow,
    /// Deliveries that a batch has at most.
    max: usize,
    /// Whether what is done is settled by transactions.
    transactional: bool,
    /// Whether the intake is to stand still.
    paused: bool,
}

/// What was received and not looked at.
struct Inbox {
    next: Vec<Item>,
    revoked: Vec<LaneId>,
    /// When the revoked lanes are given up, whatever still runs.
    revoked_until: Option<Instant>,
    lost: Vec<LaneId>,
    assigned: Assigned,
    arena: BytesMut,
    /// Whether a delivery may be a later attempt.
    delayed: bool,
}

impl Inbox {
    fn take(&mut self, received: Received<'_>) {
        match received {
            Received::Batch(view) => {
                for index in 0..view.len() {
                    let attempt = if self.delayed { view.attempt(index).max(1) } else { 1 };
                    self.next.push(Item { parcel: view.detach(index, &mut self.arena), attempt });
                }
            }
            Received::Assigned(lanes) => self.assigned.add(lanes),
            Received::Revoked(lanes) => {
                self.revoked_until.get_or_insert_with(|| Instant::now() + REVOKE_TIMEOUT);
                self.revoked.extend(lanes);
            }
            Received::Lost(lanes) => self.lost.extend(lanes),
        }
        let (revoked, lost) = (&self.revoked, &self.lost);
        self.next.retain(|item| !revoked.contains(&item.parcel.token.lane) && !lost.contains(&item.parcel.token.lane));
    }

    fn is_lost(&self, item: &Item) -> bool {
        self.lost.contains(&item.parcel.token.lane)
    }

    fn take_revoked(&mut self) -> Vec<LaneId> {
        self.revoked_until = None;
        std::mem::take(&mut self.revoked)
    }
}

/// How a wait ended.
enum Waited<R> {
    Done(R),
    /// The binding is to stop now.
    Stopped,
    /// Nothing that is waited for is wanted any more.
    Lost,
}

impl Port {
    /// Waits for `future` and polls the consumer meanwhile; `None` if the binding is to stop now.
    async fn while_polling<R>(&mut self, future: impl Future<Output = R> + Send) -> Result<Option<R>> {
        Ok(match self.while_held(&[], future).await? {
            Waited::Done(result) => Some(result),
            Waited::Stopped | Waited::Lost => None,
        })
    }

    /// Waits for `future` while any of `items` is still wanted, if there are any, and polls the consumer meanwhile. Lanes that are to move are given up
    /// after a while: then they count as lost.
    async fn while_held<R>(&mut self, items: &[Item], future: impl Future<Output = R> + Send) -> Result<Waited<R>> {
        let mut future = std::pin::pin!(future);
        let mut paused = false;
        let mut patience = None::<Instant>;
        let result = loop {
            if !items.is_empty() && items.iter().all(|item| self.inbox.is_lost(item)) {
                break Waited::Lost;
            }
            let far = || Instant::now() + Duration::from_secs(86_400);
            let (deadline, until) = (patience.unwrap_or_else(far), self.inbox.revoked_until.unwrap_or_else(far));
            let mut overdue = false;
            tokio::select! {
                biased;
                result = &mut future => break Waited::Done(result),
                () = tokio::time::sleep_until(deadline) => break Waited::Stopped,
                () = tokio::time::sleep_until(until) => overdue = true,
                stop = self.control.wait_for(|command| matches!(command, Command::Stop(_))), if patience.is_none() => {
                    let Ok(Command::Stop(wait)) = stop.map(|command| *command) else { break Waited::Stopped };
                    patience = Some(Instant::now() + wait);
                }
                received = self.consumer.recv_many(self.max) => self.inbox.take(received?),
            }
            if overdue {
                self.give_up_revoked().await?;
            }
            if !paused && !self.paused && !self.inbox.next.is_empty() {
                paused = true;
                self.consumer.pause()?;
            }
        };
        if paused {
            self.consumer.resume()?;
        }
        Ok(result)
    }

    /// Gives lanes up though a handler runs; what is done there is settled before, unless a transaction has to do it.
    #[cold]
    async fn give_up_revoked(&mut self) -> Result<()> {
        if !self.transactional {
            let consumer = &mut self.consumer;
            self.window.take_settled(|lane, sequence| consumer.settle(lane, sequence))?;
        }
        let lanes = self.inbox.take_revoked();
        self.consumer.release(&lanes).await?;
        self.inbox.lost.extend(lanes);
        Ok(())
    }
}

impl<H, T, A> BatchRunner<Call<H, T, A>>
where
    T: Decode + Sync,
    H: BatchHandler<T, A>,
    H::Output: IntoBatchOutcome + Send,
    A: 'static,
{
    fn new(
        consumer: Box<dyn Consumer>,
        call: Call<H, T, A>,
        context: RunContext,
        transactions_of: Option<Arc<str>>,
    ) -> Self {
        let RunContext { settings, exhausted, state, control, seeks } = context;
        let ledger = transactions_of.map(|binder| Ledger::new(binder, &settings, &exhausted, &state));
        let exhausted = ledger.as_ref().map_or(exhausted, Ledger::exhausted);
        let breaker = Breaker::new(&settings.breaker);
        let inbox = Inbox {
            next: Vec::new(),
            revoked: Vec::new(),
            revoked_until: None,
            lost: Vec::new(),
            assigned: Assigned::new(Arc::clone(&settings.channel), state.clone()),
            arena: BytesMut::new(),
            delayed: settings.delayed.is_some(),
        };
        let port = Port {
            consumer,
            control,
            inbox,
            window: SettlementWindow::default(),
            max: settings.prefetch.min(BATCH),
            transactional: ledger.is_some(),
            paused: false,
        };
        Self { port, call, settings, exhausted, state, breaker, random: fastrand::Rng::new(), seeks, ledger }
    }

    /// Returns a runner without transactions.
    #[cfg(test)]
    pub(super) fn of(handler: H, decoder: Decoder, consumer: Box<dyn Consumer>, context: RunContext) -> Self {
        let call = Call { handler: Arc::new(handler), decoder, types: std::marker::PhantomData };
        Self::new(consumer, call, context, None)
    }

    pub(super) async fn run(mut self) -> Result<()> {
        loop {
            self.settle().await?;
            let command = *self.port.control.borrow_and_update();
            if matches!(command, Command::Stop(_)) {
                break;
            }
            if self.seeks.is_pending() {
                self.seek()?;
            }
            self.steer(command)?;
            if !self.port.paused && !self.port.inbox.next.is_empty() {
                let count = self.port.max.min(self.port.inbox.next.len());
                let items = self.port.inbox.next.drain(..count).collect();
                if !self.handle(items).await? {
                    break;
                }
                continue;
            }
            let Port { consumer, control, inbox, max, .. } = &mut self.port;
            tokio::select! {
                biased;
                changed = control.changed() => {
                    if changed.is_err() {
                        return Err(Error::new(ErrorKind::Closed, "the application is gone"));
                    }
                }
                received = consumer.recv_many(*max) => inbox.take(received?),
            }
        }
        self.settle().await?;
        let closed = self.port.consumer.close().await;
        self.port.inbox.assigned.remove_all();
        closed
    }

    /// Stops or starts the intake.
    fn steer(&mut self, command: Command) -> Result<()> {
        let pause = command == Command::Pause;
        if pause != self.port.paused {
            if pause {
                self.port.consumer.pause()?
            } else {
                self.port.consumer.resume()?
            }
            self.port.paused = pause;
        }
        match (pause, self.state.phase()) {
            (true, BindingState::Running | BindingState::Connecting(_)) => self.state.set(BindingState::Paused),
            (false, BindingState::Paused | BindingState::Connecting(_)) => self.state.set(BindingState::Running),
            _ => {}
        }
        Ok(())
    }

    /// Waits while the binding is paused; false if it is to stop before that.
    async fn wait_for_resume(&mut self) -> Result<bool> {
        let command = *self.port.control.borrow();
        if command != Command::Pause {
            return Ok(true);
        }
        self.steer(command)?;
        let mut control = self.port.control.clone();
        let resumed = async move { control.wait_for(|command| *command != Command::Pause).await.is_ok() };
        let resumed = self.port.while_polling(resumed).await?.unwrap_or(false);
        let command = *self.port.control.borrow();
        self.steer(command)?;
        Ok(resumed && !matches!(command, Command::Stop(_)))
    }

    /// Moves the consumer; what was received and not handled is dropped.
    #[cold]
    fn seek(&mut self) -> Result<()> {
        let mut forgotten = Ok(());
        let (ledger, Port { consumer, inbox, window, .. }) = (&mut self.ledger, &mut self.port);
        let Inbox { next, assigned, .. } = inbox;
        self.seeks.carry_out(consumer.as_mut(), |ended| {
            next.retain(|item| !ended.contains(&item.parcel.token.lane));
            window.forget(ended);
            assigned.remove(ended);
            if let Some(ledger) = ledger.as_mut() {
                forgotten = std::mem::replace(&mut forgotten, Ok(())).and(ledger.forget(ended));
            }
        });
        forgotten
    }

    /// Settles what is done and gives back what was asked for.
    async fn settle(&mut self) -> Result<()> {
        let port = &mut self.port;
        if !port.inbox.lost.is_empty() {
            let lost = std::mem::take(&mut port.inbox.lost);
            port.window.forget(&lost);
            port.inbox.assigned.remove(&lost);
            self.ledger.as_mut().map_or(Ok(()), |ledger| ledger.forget(&lost))?;
        }
        let mut progress = false;
        let ledger = &mut self.ledger;
        let Port { window, consumer, .. } = port;
        window.take_settled(|lane, sequence| {
            progress = true;
            match ledger {
                None => consumer.settle(lane, sequence),
                Some(ledger) => {
                    ledger.note(lane, sequence);
                    Ok(())
                }
            }
        })?;
        if self.ledger.is_some() {
            self.commit().await?;
        }
        let port = &mut self.port;
        self.state.note_unsettled(port.window.unsettled(), progress);
        if !port.inbox.revoked.is_empty() {
            let lanes = port.inbox.take_revoked();
            port.consumer.release(&lanes).await?;
            self.ledger.as_mut().map_or(Ok(()), |ledger| ledger.forget(&lanes))?;
            port.window.forget(&lanes);
            port.inbox.assigned.remove(&lanes);
        }
        Ok(())
    }

    /// Commits what is done, however often that is tried; the consumer is polled meanwhile.
    #[cold]
    async fn commit(&mut self) -> Result<()> {
        let (Some(ledger), port) = (&mut self.ledger, &mut self.port) else { return Ok(()) };
        loop {
            let commit = ledger.commit(port.consumer.as_mut());
            let Some(committed) = unless_overdue(&mut port.control.clone(), commit).await else {
                tracing::warn!(channel = %self.settings.channel, "the broker does not answer to a commit, and there is no more time to wait for it");
                break;
            };
            let Some(wait) = committed? else { break };
            let stops = matches!(*port.control.borrow(), Command::Stop(_));
            if stops || port.while_polling(tokio::time::sleep(wait)).await?.is_none() {
                tracing::warn!(channel = %self.settings.channel, "a transaction is not committed; its messages are delivered again");
                break;
            }
            let lost = &port.inbox.lost;
            port.window.forget(lost);
            port.inbox.assigned.remove(lost);
            ledger.forget(lost)?;
        }
        Ok(())
    }

    /// Handles a batch until each item is done, or gone with its lane; false if the binding is to stop before that.
    async fn handle(&mut self, mut open: Vec<Item>) -> Result<bool> {
        open.iter().for_each(|item| self.port.window.receive(item.parcel.token));
        loop {
            self.drop_lost(&mut open);
            if open.is_empty() {
                return Ok(true);
            }
            let (messages, unread) = self.read(&mut open);
            for (item, error) in unread {
                if self.port.inbox.is_lost(&item) {
                    self.state.counts().too_late.add(1);
                    continue;
                }
                if !self.exhaust(item, error, 0).await? {
                    return Ok(false);
                }
            }
            if open.is_empty() {
                return Ok(true);
            }
            // the pause last: it may have come while the breaker was open
            if !self.wait_for_breaker().await? || !self.wait_for_resume().await? {
                return Ok(false);
            }
            // all of it may have taken a while
            if open.iter().any(|item| self.port.inbox.is_lost(item)) {
                continue;
            }
            let transaction = self.ledger.as_ref().map(Ledger::begin);
            let outcome = match self.call(messages, &open, transaction.as_ref()) {
                Ok(call) => {
                    let call = within(self.settings.handler_timeout, AssertUnwindSafe(call).catch_unwind());
                    match self.port.while_held(&open, call).await? {
                        Waited::Done(Ok(Ok(output))) => output.into_batch_outcome(),
                        Waited::Done(Ok(Err(panic))) => {
                            BatchOutcome { failed: Vec::new(), all: Some(HandlerError::from_panic(&*panic)) }
                        }
                        Waited::Done(Err(late)) => BatchOutcome::failed(late),
                        Waited::Stopped => return Ok(false),
                        Waited::Lost => continue,
                    }
                }
                Err(error) => BatchOutcome::failed(error),
            };
            if let (Some(ledger), Some(transaction)) = (&self.ledger, &transaction) {
                ledger.add_call(transaction, &open, &outcome);
            }
            self.note(outcome.all.is_none() && outcome.failed.is_empty());
            let Some(rest) = self.sort_out(open, outcome).await? else { return Ok(false) };
            open = rest;
        }
    }

    /// Drops items whose lane is lost: they are delivered again.
    fn drop_lost(&self, open: &mut Vec<Item>) {
        open.retain(|item| !self.port.inbox.is_lost(item));
    }

    /// Waits while the breaker is open; false if the binding is to stop before that.
    async fn wait_for_breaker(&mut self) -> Result<bool> {
        let Some(until) = self.breaker.as_ref().and_then(Breaker::open_until) else { return Ok(true) };
        let waited = self.port.while_polling(tokio::time::sleep_until(until)).await?;
        if let Some(breaker) = &mut self.breaker {
            breaker.tick(Instant::now());
        }
        Ok(waited.is_some())
    }

    /// Tells the breaker how a call went.
    fn note(&mut self, succeeded: bool) {
        let Some(breaker) = &mut self.breaker else { return };
        if !succeeded {
            if let Some(why) = breaker.failed(Instant::now()) {
                tracing::error!(channel = %self.settings.channel, "no handler starts: {why}");
                self.state.set(BindingState::Degraded(why));
            }
        } else if breaker.succeeded(1) {
            tracing::info!(channel = %self.settings.channel, "the breaker closes: the probe succeeded");
            self.state.set(BindingState::Running);
        }
    }

    /// Decodes the items; those that can't be are taken out.
    fn read(&self, open: &mut Vec<Item>) -> (Vec<Message<T>>, Vec<(Item, Error)>) {
        let mut messages = Vec::with_capacity(open.len());
        let mut unread = Vec::new();
        let mut readable = Vec::with_capacity(open.len());
        for item in open.drain(..) {
            let delivery = self.delivery(&item);
            let decoded = catch_unwind(AssertUnwindSafe(|| self.call.decoder.decode::<T>(&delivery)));
            match decoded.unwrap_or_else(|_| Err(Error::new(ErrorKind::Codec, "reading the payload panicked"))) {
                Ok(payload) => {
                    messages.push(delivery.to_message(payload));
                    readable.push(item);
                }
                Err(error) => unread.push((item, error)),
            }
        }
        *open = readable;
        (messages, unread)
    }

    fn call(&self, messages: Vec<Message<T>>, open: &[Item], transaction: Option<&Transaction>) -> Result<H::Future> {
        let call = || self.call.handler.call(Batch::new(messages), &self.delivery(&open[0]), &());
        let call = || match transaction {
            None => call(),
            Some(transaction) => transaction.within(call),
        };
        let made = catch_unwind(AssertUnwindSafe(call));
        made.unwrap_or_else(|_| Err(Error::new(ErrorKind::Handler, "making the handler's call panicked").retryable()))
    }

    fn delivery<'a>(&'a self, item: &'a Item) -> DeliveryRef<'a> {
        DeliveryRef { view: &item.parcel, index: 0, attempt: item.attempt, channel: &self.settings.channel }
    }

    /// Finishes what succeeded, moves aside what is exhausted, and returns what is to be tried again after its wait.
    async fn sort_out(&mut self, open: Vec<Item>, outcome: BatchOutcome) -> Result<Option<Vec<Item>>> {
        let count = open.len();
        let misplaced = outcome.failed.iter().any(|(index, _)| *index >= count);
        let all = match outcome.all {
            Some(error) => error.into_error(),
            None if misplaced => {
                let text = format!("the outcome names an item outside of its batch of {count}");
                Some(Error::new(ErrorKind::Handler, text).retryable())
            }
            None => None,
        };
        let mut failures: Vec<Option<Error>> = (0..count).map(|_| all.as_ref().map(copy)).collect();
        if all.is_none() {
            for (index, error) in outcome.failed {
                failures[index] = error.into_error();
            }
        }
        let mut rest = Vec::new();
        let mut wait = Duration::ZERO;
        for (item, failure) in open.into_iter().zip(failures) {
            let token = item.parcel.token;
            if self.port.inbox.is_lost(&item) {
                self.state.counts().too_late.add(1);
                continue;
            }
            let Some(error) = failure else {
                self.port.window.finish(token);
                continue;
            };
            if self.settings.retry.is_worth_another(&error, item.attempt) {
                self.state.counts().retried.add(1);
                if let Some(delayed) = &self.settings.delayed {
                    let wait = delayed.wait(&error, item.attempt);
                    let (channel, attempt) = (&self.settings.channel, item.attempt);
                    tracing::warn!(%channel, attempt, ?wait, "an item of a batch failed, waits on the broker: {error:?}");
                    if !self.put_aside(item, Aside::later(delayed, wait, &self.state)).await? {
                        return Ok(None);
                    }
                    continue;
                }
                wait = wait.max(self.settings.retry.wait(&error, item.attempt, &mut self.random));
                rest.push(Item { attempt: item.attempt + 1, ..item });
            } else {
                let attempt = item.attempt;
                if !self.exhaust(item, error, attempt).await? {
                    return Ok(None);
                }
            }
        }
        if !rest.is_empty() {
            tracing::warn!(channel = %self.settings.channel, items = rest.len(), ?wait, "items of a batch failed, will be tried again");
            if let Waited::Stopped = self.port.while_held(&rest, tokio::time::sleep(wait)).await? {
                return Ok(None);
            }
        }
        Ok(Some(rest))
    }

    /// Does with an exhausted item what the binding says; false if the binding is to stop before that is done.
    async fn exhaust(&mut self, item: Item, error: Error, attempts: u32) -> Result<bool> {
        let channel = &self.settings.channel;
        match &self.exhausted {
            Exhausted::Stop => return Err(error.permanent()),
            Exhausted::Transaction(collected) => {
                tracing::warn!(%channel, attempts, "moving the message to the dead letters: {error:?}");
                collected.add_letter(item.parcel.clone(), error.permanent(), attempts);
            }
            Exhausted::Discard => {
                self.state.counts().discarded.add(1);
                tracing::error!(%channel, attempts, "discarding the message: {error:?}");
            }
            Exhausted::DeadLetter(sink) => {
                tracing::warn!(%channel, attempts, "moving the message to the dead letters: {error:?}");
                let aside = Aside::dead_letter(channel, sink, error.permanent(), attempts, &self.state);
                return self.put_aside(item, aside).await;
            }
        }
        self.port.window.finish(item.parcel.token);
        Ok(true)
    }

    /// Finishes an item when the broker has it; false if the binding is to stop before that.
    async fn put_aside(&mut self, item: Item, aside: Aside) -> Result<bool> {
        let token = item.parcel.token;
        let sent = aside.send(Task { parcel: item.parcel, attempt: item.attempt, lane: 0 });
        if self.port.while_polling(sent).await?.is_none() {
            return Ok(false);
        }
        self.port.window.finish(token);
        Ok(true)
    }
}

/// Ends a call that takes longer than it may.
async fn within<R>(patience: Option<Duration>, call: impl Future<Output = R>) -> Result<R> {
    match patience {
        None => Ok(call.await),
        Some(patience) => tokio::time::timeout(patience, call).await.map_err(|_| late(patience)),
    }
}

/// Makes the same error for another item.
pub(super) fn copy(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.message().to_owned());
    if let Some(name) = error.returned_type() {
        copy = copy.returned_as(name);
    }
    match (error.is_retryable(), error.retry_after()) {
        (_, Some(wait)) => copy.with_retry_after(wait),
        (true, None) => copy.retryable(),
        (false, None) => copy,
    }
}
