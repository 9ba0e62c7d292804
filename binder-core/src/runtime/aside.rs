//! What becomes of a message whose attempts are used up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::backoff;
use super::lanes::Task;
use super::state::{BindingState, StateCell};
use crate::Error;
use crate::binder::{DeadLetter, DeadLetterSink};
use crate::config::Backoff;

/// What to do with an exhausted message.
#[derive(Clone)]
pub(crate) enum Exhausted {
    DeadLetter(Arc<dyn DeadLetterSink>),
    Discard,
    Stop,
}

impl fmt::Debug for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeadLetter(_) => "DeadLetter",
            Self::Discard => "Discard",
            Self::Stop => "Stop",
        })
    }
}

/// A dead letter on its way.
pub(crate) struct Aside {
    pub(crate) channel: Arc<str>,
    pub(crate) sink: Arc<dyn DeadLetterSink>,
    pub(crate) state: StateCell,
    pub(crate) attempts: u32,
}

impl Aside {
    /// Publishes the dead letter until the broker has confirmed it, however often that takes; the delivery stays unsettled meanwhile and
    /// the binding says that it is degraded.
    pub(crate) async fn send(self, task: Task, reason: Error) -> (Task, Result<(), Error>) {
        let waits = Backoff::default().initial(Duration::from_millis(200));
        let mut random = fastrand::Rng::new();
        let mut failed = 0;
        loop {
            let letter = DeadLetter::new(&task.parcel, &reason, self.attempts);
            match self.sink.send(letter).await {
                Ok(()) => break,
                Err(error) => {
                    failed += 1;
                    let wait = backoff::wait(&waits, failed, &mut random);
                    tracing::error!(?wait, "a dead letter was not confirmed, will be tried again: {error:?}");
                    self.state.set(BindingState::Degraded(format!("a dead letter is not confirmed: {error}")));
                    tokio::time::sleep(wait).await;
                }
            }
        }
        if failed > 0 {
            self.state.set(BindingState::Running);
        }
        let letter = DeadLetter::new(&task.parcel, &reason, self.attempts);
        self.state.hooks().tell(|hooks| hooks.on_dead_letter(&self.channel, &letter));
        (task, Ok(()))
    }
}
