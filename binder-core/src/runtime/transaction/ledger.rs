//! The transactions of an input.

use std::sync::Arc;
use std::time::Duration;

use super::collected::{Collected, Done, What};
use super::{Part, Transaction};
use crate::binder::{CommitError, Consumer, ConsumerTransaction, DeadLetter, LaneId};
use crate::config::Backoff;
use crate::handler::BatchOutcome;
use crate::runtime::aside::Exhausted;
use crate::runtime::backoff;
use crate::runtime::batch::Item;
use crate::runtime::state::{BindingState, StateCell};
use crate::runtime::work::Settings;
use crate::{Error, ErrorKind, Result};

/// What is done and not committed: positions, and what was sent on the way there.
///
/// Messages are done in any order, positions grow by prefix; what was sent beyond the prefix waits for the next transaction.
pub(in crate::runtime) struct Ledger {
    binder: Arc<str>,
    channel: Arc<str>,
    state: StateCell,
    collected: Arc<Collected>,
    exhausted: Exhausted,
    positions: Vec<(LaneId, u64)>,
    /// Whether a commit is under way, or was dropped on its way.
    undecided: bool,
    failed: u32,
    random: fastrand::Rng,
}

impl Ledger {
    /// `exhausted` is what the binding says; handlers get [`exhausted`](Self::exhausted) instead.
    pub(in crate::runtime) fn new(
        binder: Arc<str>,
        settings: &Settings,
        exhausted: &Exhausted,
        state: &StateCell,
    ) -> Self {
        let collected = Arc::<Collected>::default();
        let exhausted = match exhausted {
            Exhausted::DeadLetter(_) => Exhausted::Transaction(Arc::clone(&collected)),
            other => other.clone(),
        };
        let (channel, state) = (Arc::clone(&settings.channel), state.clone());
        let random = fastrand::Rng::new();
        Self {
            binder,
            channel,
            state,
            collected,
            exhausted,
            positions: Vec::new(),
            undecided: false,
            failed: 0,
            random,
        }
    }

    /// Returns what is done with exhausted messages: their dead letters are part of the transaction.
    pub(in crate::runtime) fn exhausted(&self) -> Exhausted {
        self.exhausted.clone()
    }

    pub(super) fn collected(&self) -> Arc<Collected> {
        Arc::clone(&self.collected)
    }

    /// Begins what one call sends.
    pub(in crate::runtime) fn begin(&self) -> Transaction {
        Transaction::new(Some(Arc::clone(&self.binder)))
    }

    /// Ends what a call of a batch handler has sent; nothing of it counts if all items failed.
    pub(in crate::runtime) fn add_call(&self, transaction: &Transaction, items: &[Item], outcome: &BatchOutcome) {
        let parts = transaction.end();
        if outcome.all.is_some() {
            return;
        }
        let failed = |index| outcome.failed.iter().any(|(known, _)| *known == index);
        let succeeded = items.iter().enumerate().filter(|(index, _)| !failed(*index));
        let succeeded = succeeded.map(|(_, item)| (item.parcel.clone(), item.attempt)).collect();
        self.collected.add_sent(succeeded, parts);
    }

    /// Notes that a lane is done up to and including `sequence`.
    pub(in crate::runtime) fn note(&mut self, lane: LaneId, sequence: u64) {
        match self.positions.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, known)) => *known = sequence.max(*known),
            None => self.positions.push((lane, sequence)),
        }
    }

    /// Returns whether nothing is to be committed.
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Returns whether something of these lanes is to be committed.
    pub(super) fn holds(&self, lanes: &[LaneId]) -> bool {
        self.positions.iter().any(|(lane, _)| lanes.contains(lane))
    }

    /// Forgets lanes that are no more: nothing of them is ever committed here.
    ///
    /// # Errors
    /// If a call has sent for these lanes and for others: then a new consumer has to begin where everything is committed.
    pub(in crate::runtime) fn forget(&mut self, lanes: &[LaneId]) -> Result<()> {
        self.positions.retain(|(lane, _)| !lanes.contains(lane));
        if self.collected.forget(lanes) {
            return Ok(());
        }
        let text = "a partition was lost in the middle of a batch that is one transaction with others";
        Err(Error::new(ErrorKind::Connection, text).retryable())
    }

    /// Commits what is done. Returns how long to wait before the next attempt, if it was aborted.
    ///
    /// # Errors
    /// What no further attempt mends; retryable if a new consumer has to find out what is committed.
    ///
    /// # Cancel safety
    /// After a future that was dropped nobody knows what is committed, and what was sent is gone with it: nothing is committed any more.
    pub(in crate::runtime) async fn commit(&mut self, consumer: &mut dyn Consumer) -> Result<Option<Duration>> {
        if self.positions.is_empty() || self.undecided {
            return Ok(None);
        }
        let mut done = self.collected.take_up_to(&self.positions);
        loop {
            self.undecided = true;
            let answer = try_commit(consumer, &done, &self.positions).await;
            self.undecided = false;
            match answer {
                Ok(()) => {
                    self.committed(&done);
                    return Ok(None);
                }
                Err(CommitError::Refused { part, error, .. }) => self.refuse(&mut done, part, error)?,
                Err(CommitError::Aborted(error)) if error.is_retryable() => {
                    self.collected.put_back(done);
                    return Ok(Some(self.aborted(&error)));
                }
                Err(CommitError::Aborted(error)) => return Err(error),
                Err(CommitError::Unknown(error)) => return Err(error.retryable()),
            }
        }
    }

    fn committed(&mut self, done: &[Done]) {
        self.positions.clear();
        if std::mem::take(&mut self.failed) > 0 {
            self.state.set(BindingState::Running);
        }
        for Done { items, what } in done {
            let What::Letter(reason) = what else { continue };
            self.state.counts().dead_lettered.add(items.len());
            for (parcel, attempts) in items {
                let letter = DeadLetter::new(parcel, reason, *attempts);
                self.state.hooks().tell(|hooks| hooks.on_dead_letter(&self.channel, &letter));
            }
        }
    }

    #[cold]
    fn aborted(&mut self, error: &Error) -> Duration {
        self.failed = self.failed.saturating_add(1);
        let wait =
            backoff::wait(&Backoff::default().initial(Duration::from_millis(200)), self.failed, &mut self.random);
        tracing::warn!(channel = %self.channel, ?wait, "a transaction was aborted, will be tried again: {error:?}");
        self.state.set(BindingState::Degraded(format!("a transaction is not committed: {error}")));
        wait
    }

    /// Does with the messages whose output the broker refuses what is done with those whose handler fails for good.
    #[cold]
    fn refuse(&self, done: &mut Vec<Done>, part: usize, error: Error) -> Result<()> {
        let mut end = 0;
        let owner = done.iter().position(|done| {
            end += match &done.what {
                What::Sent(parts) => parts.len(),
                What::Letter(_) => 0,
            };
            part < end
        });
        let Some(owner) = owner else { return Err(error.permanent()) };
        let channel = &self.channel;
        match &self.exhausted {
            Exhausted::Stop => return Err(error.permanent()),
            Exhausted::Discard => {
                self.state.counts().discarded.add(done[owner].items.len());
                tracing::error!(%channel, "discarding what was sent for a message: {error:?}");
            }
            Exhausted::Transaction(_) | Exhausted::DeadLetter(_) => {
                tracing::warn!(%channel, "moving the message to the dead letters: {error:?}");
                let items = std::mem::take(&mut done[owner].items);
                done.push(Done { items, what: What::Letter(error.permanent()) });
            }
        }
        done.remove(owner);
        Ok(())
    }
}

async fn try_commit(
    consumer: &mut dyn Consumer,
    done: &[Done],
    positions: &[(LaneId, u64)],
) -> Result<(), CommitError> {
    let mut parts = Vec::new();
    let mut letters = Vec::new();
    for Done { items, what } in done {
        match what {
            What::Sent(sent) => parts.extend(sent.iter().map(Part::as_contract)),
            What::Letter(reason) => {
                letters.extend(items.iter().map(|(parcel, attempts)| DeadLetter::new(parcel, reason, *attempts)));
            }
        }
    }
    consumer.commit(ConsumerTransaction::new(&parts, &letters, positions)).await
}
