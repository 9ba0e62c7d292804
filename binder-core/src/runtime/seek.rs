//! Moving an input to another position while it runs.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::application::BindingControl;
use super::input::InputEntry;
use super::state::BindingState;
use crate::binder::{Consumer, LaneId, SeekTo};
use crate::{Error, ErrorKind, Result};

/// One seek that was asked for.
#[derive(Debug)]
struct Asked {
    partition: Option<u32>,
    to: SeekTo,
    answer: oneshot::Sender<Result<()>>,
}

/// Seeks that wait for the loop of their input.
#[derive(Debug, Default)]
pub(crate) struct Seeks {
    pending: AtomicBool,
    asked: Mutex<Vec<Asked>>,
}

impl Seeks {
    fn push(&self, partition: Option<u32>, to: SeekTo) -> oneshot::Receiver<Result<()>> {
        let (answer, answered) = oneshot::channel();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(Asked { partition, to, answer });
        self.pending.store(true, Relaxed);
        answered
    }

    /// Returns whether there is something to do. Cheap; whoever asks wakes the loop afterwards.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Relaxed)
    }

    /// Tells the consumer; `ended` gets the lanes that are no more.
    #[cold]
    pub(crate) fn carry_out(&self, consumer: &mut dyn Consumer, mut ended: impl FnMut(&[LaneId])) {
        let asked = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            self.pending.store(false, Relaxed);
            std::mem::take(&mut *asked)
        };
        for Asked { partition, to, answer } in asked {
            let done = consumer.seek(partition, to).map(|lanes| ended(&lanes));
            if let Err(Err(error)) = answer.send(done) {
                tracing::error!("a seek was refused: {error:?}");
            }
        }
    }
}

impl BindingControl {
    /// Moves the group on all partitions that this input holds, and commits that position: it survives a restart.
    ///
    /// When this returns, no message that was received before is started any more. A handler that runs may finish; it settles nothing, and
    /// if it fails it is not tried again (of a `transactional` input it ends at its next `.await`). Works while the binding is paused. An
    /// input that is not running, or holds no partition yet, keeps
    /// the seek and carries it out with its next assignment. Other members of the group keep their partitions and positions.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if the binder can't seek (RabbitMQ); the reason if the binding has stopped for good.
    ///
    /// # Cancel safety
    /// The seek is carried out even if the future is dropped after its first poll. A batch that is being handled is waited for.
    pub async fn seek(&self, to: SeekTo) -> Result<()> {
        self.input().seek(None, to).await
    }

    /// As [`seek`](Self::seek), for one partition; of an input with several destinations, for this partition of each.
    ///
    /// # Errors
    /// As [`seek`](Self::seek); [`Refused`](ErrorKind::Refused) if the input holds partitions, but not this one.
    pub async fn seek_partition(&self, partition: u32, to: SeekTo) -> Result<()> {
        self.input().seek(Some(partition), to).await
    }
}

impl InputEntry {
    async fn seek(&self, partition: Option<u32>, to: SeekTo) -> Result<()> {
        if !self.can_seek() {
            let text = "the binder can't move a group's position";
            return Err(self.in_context(Error::new(ErrorKind::Unsupported, text)));
        }
        if let Some(error) = self.state.stopped() {
            return Err(error);
        }
        let mut phase = self.state.watch();
        let answered = self.seeks.push(partition, to);
        self.wake();
        let ended = phase.wait_for(|state| {
            matches!(state, BindingState::Idle | BindingState::Connecting(_) | BindingState::Stopped(_))
        });
        let answer = tokio::select! {
            biased;
            answer = answered => answer.unwrap_or(Ok(())),
            _ = ended => self.state.stopped().map_or(Ok(()), Err),
        };
        answer.map_err(|error| self.in_context(error))
    }
}
