//! The receive loop of one input.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::assigned::Assigned;
use super::seek::Seeks;
use super::state::{BindingState, Command, StateCell};
use super::work::Work;
use crate::binder::{Consumer, LaneId, Received};
use crate::handler::{DeliveryRef, Verdict};
use crate::{Error, Result};

/// Deliveries that are taken at once.
pub(crate) const BATCH: usize = 256;

/// How long the handlers of lanes that are to be given back may still run.
pub(super) const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether a delivery holds up its lane.
const LOOK: Duration = Duration::from_secs(1);

/// When to look for deliveries that hold up their lanes, and whether what is done behind them can be settled.
pub(crate) struct Look {
    sleep: Pin<Box<Sleep>>,
    settles_apart: bool,
}

impl Look {
    pub(crate) fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(LOOK)), settles_apart: true }
    }
}

/// Waits for commands again and again. A watch makes a new place in its list of those who wait for each wait that begins, which costs more than
/// all else that a message wakes; this one waits on.
pub(crate) struct Commands(BoxStream<'static, ()>);

impl Commands {
    /// Waits for what comes after what `control` has seen.
    pub(crate) fn after(control: &watch::Receiver<Command>) -> Self {
        let next = async |mut control: watch::Receiver<Command>| control.changed().await.ok().map(|()| ((), control));
        Self(stream::unfold(control.clone(), next).boxed())
    }

    /// Waits for a command that it was not ready for before; false if there will never be one.
    async fn changed(&mut self) -> bool {
        self.0.next().await.is_some()
    }
}

/// A consumer with its work.
pub(crate) struct Runner<F, Fut> {
    /// Dropped before the consumer: what it has goes to others then, and no call may run any more.
    work: Work<F, Fut>,
    consumer: Box<dyn Consumer>,
    control: watch::Receiver<Command>,
    commands: Commands,
    state: StateCell,
    seeks: Arc<Seeks>,
    assigned: Assigned,
    /// Lanes that are to be given back, and until when.
    revoked: Option<(Vec<LaneId>, Instant)>,
    /// Whether the consumer was told to pause.
    paused: bool,
    look: Look,
}

impl<F, Fut> Runner<F, Fut>
where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error> + Send + Sync,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    pub(crate) fn new(
        consumer: Box<dyn Consumer>,
        work: Work<F, Fut>,
        control: watch::Receiver<Command>,
        state: StateCell,
        seeks: Arc<Seeks>,
        assigned: Assigned,
    ) -> Self {
        let (commands, look) = (Commands::after(&control), Look::new());
        Self { consumer, work, control, commands, state, seeks, assigned, revoked: None, paused: false, look }
    }

    /// Runs until it is told to stop, then drains and closes. Fails with what the consumer can't mend by itself.
    pub(crate) async fn run(mut self) -> Result<()> {
        let patience = loop {
            if let Command::Stop(patience) = self.turn().await? {
                break patience;
            }
        };
        let deadline = Instant::now() + patience;
        self.drain(deadline).await?;
        let close = tokio::time::timeout_at(deadline + Duration::from_secs(1), self.consumer.close());
        let closed = close.await.unwrap_or_else(|_| {
            tracing::warn!("the consumer did not close in time; what is unsettled is delivered again");
            Ok(())
        });
        self.assigned.remove_all();
        closed
    }

    /// One turn: start what can be started, settle what is done, take what is there, else wait for what comes first.
    async fn turn(&mut self) -> Result<Command> {
        let command = *self.control.borrow_and_update();
        if matches!(command, Command::Stop(_)) {
            return Ok(command);
        }
        self.work.rest(command == Command::Pause);
        if self.work.is_waiting() {
            poll_fn(|context| Poll::Ready(self.work.poll_event(context))).await.is_ready();
        }
        self.work.pump(BATCH);
        self.settle()?;
        if let Some(error) = self.work.take_stop() {
            return Err(error);
        }
        self.release_revoked().await?;
        if self.seeks.is_pending() {
            self.seek();
        }
        self.steer(command)?;
        if !self.paused && self.take_what_is_there()? || self.work.can_start() {
            tokio::task::consume_budget().await;
        } else {
            self.wait().await?;
        }
        if self.work.window().unsettled() > 0 && self.look.sleep.deadline() <= Instant::now() {
            self.look()?;
        }
        Ok(command)
    }

    /// Moves the consumer; what was received and not started is dropped, what runs settles nothing any more.
    #[cold]
    fn seek(&mut self) {
        let Self { consumer, work, assigned, seeks, .. } = self;
        seeks.carry_out(consumer.as_mut(), |ended| {
            work.forget(ended);
            assigned.remove(ended);
        });
    }

    fn take_what_is_there(&mut self) -> Result<bool> {
        let max = self.work.room().min(BATCH);
        let Some(received) = self.consumer.try_recv_many(max)? else { return Ok(false) };
        take(received, &mut self.work, &mut self.revoked, &mut self.assigned);
        Ok(true)
    }

    async fn wait(&mut self) -> Result<()> {
        let max = self.work.room().clamp(1, BATCH);
        let revoke_deadline = self.revoked.as_ref().map(|(_, deadline)| *deadline);
        tokio::select! {
            biased;
            // what comes most is asked first; a turn begins with the rest anyway
            received = unless_commanded(&self.control, receive(self.consumer.as_mut(), max)) => {
                if let Some(received) = received? {
                    take(received, &mut self.work, &mut self.revoked, &mut self.assigned);
                }
            }
            comes = self.commands.changed() => {
                if !comes {
                    return Err(Error::new(crate::ErrorKind::Closed, "the application is gone"));
                }
            }
            () = poll_fn(|context| self.work.poll_event(context)), if self.work.is_waiting() => {}
            () = sleep_until(revoke_deadline) => {}
            () = &mut self.look.sleep, if self.work.window().unsettled() > 0 => {}
        }
        Ok(())
    }

    /// Gives lanes back when none of their handlers runs any more, or at the deadline.
    async fn release_revoked(&mut self) -> Result<()> {
        let Some((lanes, deadline)) = &self.revoked else { return Ok(()) };
        if self.work.runs_in(lanes) && Instant::now() < *deadline {
            return Ok(());
        }
        self.consumer.release(lanes).await?;
        let lanes = std::mem::take(&mut self.revoked).map_or_else(Vec::new, |(lanes, _)| lanes);
        self.work.forget(&lanes);
        self.assigned.remove(&lanes);
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        let consumer = &mut self.consumer;
        self.work.window().take_settled(|lane, sequence| consumer.settle(lane, sequence))?;
        self.state.note_unsettled(self.work.window().unsettled(), false);
        Ok(())
    }

    /// Notes how old the oldest unfinished delivery is, and settles what is done behind one that holds up its lane, where the broker can.
    #[cold]
    fn look(&mut self) -> Result<()> {
        let now = Instant::now();
        self.look.sleep.as_mut().reset(now + LOOK);
        let Self { consumer, look, work, .. } = self;
        let oldest = work.window().take_stuck(now, |lane, sequences| {
            look.settles_apart = look.settles_apart && consumer.settle_apart(lane, sequences)?;
            Ok::<_, Error>(look.settles_apart)
        })?;
        if let Some(since) = oldest {
            self.state.note_oldest(since);
        }
        Ok(())
    }

    /// Stops or starts the intake: by command, and by the number of unsettled deliveries.
    fn steer(&mut self, command: Command) -> Result<()> {
        let asked = command == Command::Pause;
        self.work.hold_full_lanes(self.consumer.as_mut())?;
        let full = if self.paused { !self.work.has_room_again() } else { self.work.room() == 0 };
        let pause = asked || full;
        if pause != self.paused {
            if pause {
                self.consumer.pause()?
            } else {
                self.consumer.resume()?
            }
            self.paused = pause;
        }
        let state = self.state.phase();
        match (asked, state) {
            (true, BindingState::Running | BindingState::Connecting(_)) => self.state.set(BindingState::Paused),
            (false, BindingState::Paused | BindingState::Connecting(_)) => self.state.set(BindingState::Running),
            _ => {}
        }
        Ok(())
    }

    /// Lets running handlers finish and settles them. What has not been started stays with the broker.
    async fn drain(&mut self, deadline: Instant) -> Result<()> {
        self.work.drop_waiting();
        if !self.paused {
            self.consumer.pause()?;
        }
        while !self.work.is_idle() && Instant::now() < deadline {
            tokio::select! {
                biased;
                () = poll_fn(|context| self.work.poll_event(context)) => self.work.drop_waiting(),
                () = tokio::time::sleep_until(deadline) => {}
                received = self.consumer.recv_many(BATCH) => {
                    if let Received::Lost(lanes) = received? {
                        self.work.lose(&lanes);
                        self.assigned.remove(&lanes);
                    }
                }
            }
            self.settle()?;
        }
        if !self.work.is_idle() {
            tracing::warn!("handlers still run at the end of the shutdown; their messages are delivered again");
            self.work.cancel();
        }
        self.settle()
    }
}

/// Waits for `future` as long as there is no command that was not seen: what comes after it must not overtake it.
async fn unless_commanded<R>(control: &watch::Receiver<Command>, future: impl Future<Output = R>) -> R {
    let mut future = std::pin::pin!(future);
    let poll = |context: &mut Context<'_>| match control.has_changed() {
        Ok(false) => future.as_mut().poll(context),
        // who waits for commands is polled as well, and ready
        _ => Poll::Pending,
    };
    poll_fn(poll).await
}

/// Waits for what there is to take; `None` if it is gone meanwhile.
async fn receive(consumer: &mut dyn Consumer, max: usize) -> Result<Option<Received<'_>>> {
    tokio::task::consume_budget().await;
    let can_poll = poll_fn(|context| match consumer.poll_ready(context, max) {
        Some(poll) => poll.map(|()| true),
        None => Poll::Ready(false),
    });
    if can_poll.await { consumer.try_recv_many(max) } else { consumer.recv_many(max).await.map(Some) }
}

fn take<F, Fut>(
    received: Received<'_>,
    work: &mut Work<F, Fut>,
    revoked: &mut Option<(Vec<LaneId>, Instant)>,
    assigned: &mut Assigned,
) where
    F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error>,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    match received {
        Received::Batch(view) => work.accept(&*view),
        Received::Assigned(lanes) => assigned.add(lanes),
        Received::Lost(lanes) => {
            work.lose(&lanes);
            assigned.remove(&lanes);
        }
        Received::Revoked(lanes) => {
            work.revoke(&lanes);
            let noted = revoked.get_or_insert_with(|| (Vec::new(), Instant::now() + REVOKE_TIMEOUT));
            noted.0.extend(lanes);
        }
    }
}

pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Waits for what comes of `future`; after the command to stop no longer than that may take.
pub(super) async fn unless_overdue<R>(
    control: &mut watch::Receiver<Command>,
    future: impl Future<Output = R>,
) -> Option<R> {
    let mut future = std::pin::pin!(future);
    let mut deadline = None;
    loop {
        tokio::select! {
            biased;
            result = &mut future => return Some(result),
            Ok(stop) = control.wait_for(|command| matches!(command, Command::Stop(_))), if deadline.is_none() => {
                if let Command::Stop(patience) = *stop {
                    deadline = Some(Instant::now() + patience);
                }
            }
            () = sleep_until(deadline) => return None,
        }
    }
}
