//! The receive loop of an input whose messages are settled by transactions.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Ledger;
use crate::binder::{Consumer, LaneId, Received};
use crate::handler::{DeliveryRef, Verdict};
use crate::runtime::assigned::Assigned;
use crate::runtime::input::{Run, RunContext};
use crate::runtime::runner::{BATCH, REVOKE_TIMEOUT, sleep_until};
use crate::runtime::seek::Seeks;
use crate::runtime::state::{BindingState, Command, StateCell};
use crate::runtime::work::Work;
use crate::{Error, ErrorKind, Result};

/// How long the consumer is left alone while handlers run: to pause it costs what it holds ahead.
const GRACE: Duration = Duration::from_millis(100);

/// Returns how an input is run whose binder is called `binder`.
pub(in crate::runtime) fn run_of<F, Fut>(invoke: F, binder: Arc<str>) -> Run
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error> + Clone + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    Arc::new(move |consumer, context: RunContext| {
        let RunContext { settings, exhausted, state, control, seeks } = context;
        let max = settings.prefetch.min(BATCH);
        let assigned = Assigned::new(Arc::clone(&settings.channel), state.clone());
        let ledger = Ledger::new(Arc::clone(&binder), &settings, &exhausted, &state);
        let (exhausted, collecting) = (ledger.exhausted(), collecting(invoke.clone(), &ledger, &binder));
        let work = Work::new(settings, collecting, exhausted, state.clone());
        let (revoked, busy_until, again) = (None, None, None);
        let runner = TransactionRunner {
            consumer,
            work,
            control,
            state,
            seeks,
            assigned,
            ledger,
            max,
            revoked,
            busy_until,
            again,
            paused: false,
        };
        Box::pin(runner.run())
    })
}

/// Makes calls that keep what they send, and what they were given, until they have succeeded.
fn collecting<F, Fut>(
    invoke: F,
    ledger: &Ledger,
    binder: &Arc<str>,
) -> impl Fn(&DeliveryRef<'_>) -> Result<BoxFuture<'static, Verdict>, Error> + Send + Sync + use<F, Fut>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error> + Send + Sync,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    let (collected, binder) = (ledger.collected(), Arc::clone(binder));
    move |delivery: &DeliveryRef<'_>| {
        let transaction = super::Transaction::new(Some(Arc::clone(&binder)));
        let call = transaction.within(|| invoke(delivery))?;
        let parcel = delivery.view.detach(delivery.index, &mut BytesMut::new());
        let (attempt, collected) = (delivery.attempt, Arc::clone(&collected));
        Ok(Box::pin(async move {
            call.await?;
            collected.add_sent(vec![(parcel, attempt)], transaction.end());
            Ok(())
        }))
    }
}

struct TransactionRunner<F, Fut> {
    /// Dropped before the consumer: what it has goes to others then, and no call may run any more.
    work: Work<F, Fut>,
    consumer: Box<dyn Consumer>,
    control: watch::Receiver<Command>,
    state: StateCell,
    seeks: Arc<Seeks>,
    assigned: Assigned,
    ledger: Ledger,
    /// How many messages a transaction has at most.
    max: usize,
    /// Lanes that are to be given back, and until when.
    revoked: Option<(Vec<LaneId>, Instant)>,
    /// Until when the consumer is left alone, for the sake of a batch.
    busy_until: Option<Instant>,
    /// When an aborted transaction is tried again.
    again: Option<Instant>,
    /// Whether the consumer was told to pause.
    paused: bool,
}

impl<F, Fut> TransactionRunner<F, Fut>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error> + Send + Sync,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    async fn run(mut self) -> Result<()> {
        let mut deadline = None;
        while self.turn_until(&mut deadline).await? {}
        let deadline = deadline.unwrap_or_else(Instant::now);
        self.drain(deadline).await?;
        let close = tokio::time::timeout_at(deadline + Duration::from_secs(1), self.consumer.close());
        let closed = close.await.unwrap_or_else(|_| {
            tracing::warn!("the consumer did not close in time; what is not committed is delivered again");
            Ok(())
        });
        self.assigned.remove_all();
        closed
    }

    /// Takes a turn; returns whether to go on. A commit that the broker does not answer is not waited for longer than a stop may take.
    async fn turn_until(&mut self, deadline: &mut Option<Instant>) -> Result<bool> {
        let mut control = self.control.clone();
        let mut turn = pin!(self.turn());
        loop {
            tokio::select! {
                biased;
                command = &mut turn => {
                    let Command::Stop(patience) = command? else { return Ok(deadline.is_none()) };
                    deadline.get_or_insert_with(|| Instant::now() + patience);
                    return Ok(false);
                }
                Ok(stop) = control.wait_for(|command| matches!(command, Command::Stop(_))), if deadline.is_none() => {
                    if let Command::Stop(patience) = *stop {
                        *deadline = Some(Instant::now() + patience);
                    }
                }
                () = sleep_until(*deadline) => return Ok(false),
            }
        }
    }

    /// One turn: start what can be started, commit a batch that is done, take the next one, else wait for what comes first.
    async fn turn(&mut self) -> Result<Command> {
        let command = *self.control.borrow_and_update();
        if matches!(command, Command::Stop(_)) {
            return Ok(command);
        }
        self.work.rest(command == Command::Pause);
        self.step().await?;
        self.release_revoked().await?;
        if self.seeks.is_pending() {
            self.seek()?;
        }
        self.steer(command)?;
        if !self.paused && self.is_free() && self.take_what_is_there()? || self.work.can_start() {
            tokio::task::consume_budget().await;
        } else {
            self.wait().await?;
        }
        Ok(command)
    }

    /// Runs handlers, and commits when it is time.
    async fn step(&mut self) -> Result<()> {
        if self.work.is_waiting() {
            poll_fn(|context| Poll::Ready(self.work.poll_event(context))).await.is_ready();
        }
        self.work.pump(BATCH);
        let ledger = &mut self.ledger;
        self.work.window().take_settled(|lane, sequence| {
            ledger.note(lane, sequence);
            Ok::<_, Error>(())
        })?;
        let stop = self.work.take_stop();
        if self.is_done() || stop.is_some() || self.revoke_is_ready() {
            self.commit().await?;
        }
        stop.map_or(Ok(()), Err)
    }

    /// Returns whether every message that was received is done.
    fn is_done(&mut self) -> bool {
        self.work.is_idle() && self.work.window().unsettled() == 0
    }

    /// Returns whether the next batch may be taken.
    fn is_free(&mut self) -> bool {
        self.is_done() && self.ledger.is_empty()
    }

    async fn commit(&mut self) -> Result<()> {
        if self.again.is_some_and(|again| Instant::now() < again) {
            return Ok(());
        }
        let had = !self.ledger.is_empty();
        let wait = self.ledger.commit(self.consumer.as_mut()).await?;
        self.again = wait.map(|wait| Instant::now() + wait);
        let unsettled = self.work.window().unsettled() + usize::from(wait.is_some());
        self.state.note_unsettled(unsettled, had && wait.is_none());
        if wait.is_none() {
            self.busy_until = None;
        }
        Ok(())
    }

    /// Moves the consumer; what was received is dropped, and handlers that run end: what they send would never be committed.
    #[cold]
    fn seek(&mut self) -> Result<()> {
        let Self { consumer, work, assigned, seeks, ledger, .. } = self;
        let mut forgotten = Ok(());
        seeks.carry_out(consumer.as_mut(), |ended| {
            work.lose(ended);
            assigned.remove(ended);
            // of several seeks the first failure counts: what it dropped must not be passed by a later commit
            forgotten = std::mem::replace(&mut forgotten, Ok(())).and(ledger.forget(ended));
        });
        forgotten
    }

    fn take_what_is_there(&mut self) -> Result<bool> {
        let Some(received) = self.consumer.try_recv_many(self.max)? else { return Ok(false) };
        self.busy_until = Some(Instant::now() + GRACE);
        take(received, &mut self.work, &mut self.revoked, &mut self.assigned, &mut self.ledger)?;
        Ok(true)
    }

    async fn wait(&mut self) -> Result<()> {
        let free = self.is_free();
        let busy_until = self.busy_until.filter(|until| !free && Instant::now() < *until);
        if !free && busy_until.is_none() && !self.paused {
            self.consumer.pause()?;
            self.paused = true;
        }
        let revoke_deadline = self.revoked.as_ref().map(|(_, deadline)| *deadline);
        let Self { control, work, consumer, revoked, assigned, ledger, max, .. } = self;
        tokio::select! {
            biased;
            changed = control.changed() => {
                if changed.is_err() {
                    return Err(Error::new(ErrorKind::Closed, "the application is gone"));
                }
            }
            () = poll_fn(|context| work.poll_event(context)) => {}
            () = sleep_until(revoke_deadline) => {}
            () = sleep_until(self.again) => {}
            () = sleep_until(busy_until) => {}
            received = consumer.recv_many(*max), if busy_until.is_none() => {
                self.busy_until = Some(Instant::now() + GRACE);
                take(received?, work, revoked, assigned, ledger)?;
            }
        }
        Ok(())
    }

    fn revoke_is_ready(&self) -> bool {
        self.revoked.as_ref().is_some_and(|(lanes, _)| !self.work.runs_in(lanes))
    }

    /// Gives lanes back when what is done there is committed, or at the deadline.
    async fn release_revoked(&mut self) -> Result<()> {
        let Some((lanes, deadline)) = &self.revoked else { return Ok(()) };
        if (self.work.runs_in(lanes) || self.ledger.holds(lanes)) && Instant::now() < *deadline {
            return Ok(());
        }
        self.consumer.release(lanes).await?;
        let lanes = std::mem::take(&mut self.revoked).map_or_else(Vec::new, |(lanes, _)| lanes);
        self.work.lose(&lanes);
        self.assigned.remove(&lanes);
        self.ledger.forget(&lanes)
    }

    /// Stops or starts the intake by command; a batch that takes long has stopped it too.
    fn steer(&mut self, command: Command) -> Result<()> {
        let asked = command == Command::Pause;
        let pause = asked || self.paused && !self.is_free();
        if pause != self.paused {
            if pause {
                self.consumer.pause()?
            } else {
                self.consumer.resume()?
            }
            self.paused = pause;
        }
        match (asked, self.state.phase()) {
            (true, BindingState::Running | BindingState::Connecting(_)) => self.state.set(BindingState::Paused),
            (false, BindingState::Paused | BindingState::Connecting(_)) => self.state.set(BindingState::Running),
            _ => {}
        }
        Ok(())
    }

    /// Lets running handlers finish and commits what is done. What has not been started stays with the broker.
    async fn drain(&mut self, deadline: Instant) -> Result<()> {
        self.work.drop_waiting();
        if !self.paused {
            self.consumer.pause()?;
        }
        loop {
            let turn = async {
                self.step().await?;
                // nothing more comes: what is done need not wait for the rest of its batch
                self.commit().await
            };
            match tokio::time::timeout_at(deadline, turn).await {
                Ok(committed) => committed?,
                Err(_) => {
                    tracing::warn!("the broker does not answer to a commit, and there is no more time to wait for it");
                    break;
                }
            }
            if self.work.is_idle() && self.ledger.is_empty() || Instant::now() >= deadline {
                break;
            }
            let Self { work, consumer, assigned, ledger, .. } = self;
            tokio::select! {
                biased;
                () = poll_fn(|context| work.poll_event(context)) => work.drop_waiting(),
                () = tokio::time::sleep_until(deadline) => {}
                () = sleep_until(self.again) => {}
                received = consumer.recv_many(BATCH) => {
                    if let Received::Lost(lanes) = received? {
                        work.lose(&lanes);
                        assigned.remove(&lanes);
                        ledger.forget(&lanes)?;
                    }
                }
            }
        }
        if !self.work.is_idle() || !self.ledger.is_empty() {
            tracing::warn!(
                "a transaction is not committed at the end of the shutdown; its messages are delivered again"
            );
            self.work.cancel();
        }
        Ok(())
    }
}

fn take<F, Fut>(
    received: Received<'_>,
    work: &mut Work<F, Fut>,
    revoked: &mut Option<(Vec<LaneId>, Instant)>,
    assigned: &mut Assigned,
    ledger: &mut Ledger,
) -> Result<()>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    match received {
        Received::Batch(view) => work.accept(&*view),
        Received::Assigned(lanes) => assigned.add(lanes),
        Received::Lost(lanes) => {
            work.lose(&lanes);
            assigned.remove(&lanes);
            ledger.forget(&lanes)?;
        }
        Received::Revoked(lanes) => {
            work.revoke(&lanes);
            let noted = revoked.get_or_insert_with(|| (Vec::new(), Instant::now() + REVOKE_TIMEOUT));
            noted.0.extend(lanes);
        }
    }
    Ok(())
}
