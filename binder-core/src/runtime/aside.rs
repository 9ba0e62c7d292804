//! What becomes of a message that core is done with for now: its attempts are used up, or its next one is far away.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::backoff;
use super::delayed::Delayed;
use super::lanes::Task;
use super::state::{BindingState, StateCell};
use super::transaction::Collected;
use crate::binder::{DeadLetter, DeadLetterSink, DelaySink};
use crate::config::Backoff;
use crate::{Error, Result};

/// What to do with an exhausted message.
#[derive(Clone)]
pub(crate) enum Exhausted {
    DeadLetter(Arc<dyn DeadLetterSink>),
    /// A dead letter too, in the transaction that settles the message.
    Transaction(Arc<Collected>),
    Discard,
    Stop,
}

impl fmt::Debug for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeadLetter(_) => "DeadLetter",
            Self::Transaction(_) => "Transaction",
            Self::Discard => "Discard",
            Self::Stop => "Stop",
        })
    }
}

/// A message on its way to where it is kept.
pub(crate) struct Aside {
    way: Way,
    state: StateCell,
}

enum Way {
    DeadLetter { channel: Arc<str>, sink: Arc<dyn DeadLetterSink>, reason: Error, attempts: u32 },
    Later { sink: Arc<dyn DelaySink>, wait: Duration },
}

impl Way {
    fn what(&self) -> &'static str {
        match self {
            Self::DeadLetter { .. } => "a dead letter",
            Self::Later { .. } => "a message that is to be tried again later",
        }
    }

    async fn go(&self, task: &Task) -> Result<()> {
        match self {
            Self::DeadLetter { sink, reason, attempts, .. } => {
                sink.send(DeadLetter::new(&task.parcel, reason, *attempts)).await
            }
            Self::Later { sink, wait } => sink.send(&task.parcel, task.attempt + 1, *wait).await,
        }
    }
}

impl Aside {
    /// Moves a message to the dead letters.
    pub(crate) fn dead_letter(
        channel: &Arc<str>,
        sink: &Arc<dyn DeadLetterSink>,
        reason: Error,
        attempts: u32,
        state: &StateCell,
    ) -> Self {
        let (channel, sink) = (Arc::clone(channel), Arc::clone(sink));
        Self { way: Way::DeadLetter { channel, sink, reason, attempts }, state: state.clone() }
    }

    /// Lets a message wait on the broker.
    pub(crate) fn later(delayed: &Delayed, wait: Duration, state: &StateCell) -> Self {
        Self { way: Way::Later { sink: delayed.sink(), wait }, state: state.clone() }
    }

    /// Publishes the message until the broker has confirmed it, however often that takes; the delivery stays unsettled meanwhile and
    /// the binding says that it is degraded.
    pub(crate) async fn send(self, task: Task) -> (Task, Result<(), Error>) {
        let waits = Backoff::default().initial(Duration::from_millis(200));
        let mut random = fastrand::Rng::new();
        let mut failed = 0;
        let what = self.way.what();
        while let Err(error) = self.way.go(&task).await {
            failed += 1;
            let wait = backoff::wait(&waits, failed, &mut random);
            tracing::error!(?wait, "{what} was not confirmed, will be tried again: {error:?}");
            self.state.set(BindingState::Degraded(format!("{what} is not confirmed: {error}")));
            tokio::time::sleep(wait).await;
        }
        if failed > 0 {
            self.state.set(BindingState::Running);
        }
        if let Way::DeadLetter { channel, reason, attempts, .. } = &self.way {
            self.state.counts().dead_lettered.add(1);
            let letter = DeadLetter::new(&task.parcel, reason, *attempts);
            self.state.hooks().tell(|hooks| hooks.on_dead_letter(channel, &letter));
        }
        (task, Ok(()))
    }
}
