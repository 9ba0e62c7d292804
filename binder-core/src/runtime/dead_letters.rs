//! Dead letters in the hand of an operator: look, send back, delete.

use std::fmt;
use std::sync::Arc;

use super::application::{Application, lock};
use super::input::InputEntry;
use crate::binder::{DeadLetterEntry, DeadLetterPass, Disposal, Purpose};
use crate::{Error, ErrorKind, Result};

/// Letters that are looked at together unless the caller says it.
const BATCH: usize = 20_000;

/// How often a message is sent back unless the caller says it.
const MAX_REDRIVES: u32 = 3;

impl Application {
    /// Returns the dead letters of an input's group. The input must be bound; it need not be handled or started.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if no input has this name, or if it has no dead letters; [`Unsupported`](ErrorKind::Unsupported) if the
    /// binder can't list them.
    pub fn dead_letters(&self, channel: &str) -> Result<DeadLetters> {
        let found = lock(&self.0.registry).inputs.iter().find(|input| *input.binding.channel == *channel).cloned();
        let input = found.ok_or_else(|| Error::new(ErrorKind::Config, format!("no input is called `{channel}`")))?;
        if !input.binding.has_dead_letters() {
            let error =
                Error::new(ErrorKind::Config, "the input has no dead letters: it has no `group`, or they are off");
            return Err(input.in_context(error));
        }
        if input.binder.dead_letter_store().is_none() {
            return Err(input.in_context(Error::new(ErrorKind::Unsupported, "the binder can't list dead letters")));
        }
        Ok(DeadLetters { input, batch: BATCH })
    }
}

/// The dead letters of one input's group.
///
/// Every call goes through those that are there when it begins, oldest first. It works while the input runs, and while it does not.
///
/// ```
/// # use binder_core::prelude::*;
/// # use binder_core::channel::SinkBinding;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> binder_core::Result<()> {
/// # let config = Config::builder().yaml("stream: { bindings: { input: { group: billing } } }").build()?;
/// # let app = Application::builder().config(config).build()?;
/// # let channels = app.bind::<SinkBinding<String>>().await?;
/// let letters = app.dead_letters("input")?;
/// for letter in letters.list(10).await? {
///     println!("{:?}: {}", letter.offset, letter.reason().unwrap_or_default());
/// }
/// let report = letters.redrive().only(|letter| letter.redriven == 0).run().await?;
/// println!("{} sent, {} kept", report.sent, report.kept);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetters {
    input: Arc<InputEntry>,
    batch: usize,
}

impl DeadLetters {
    /// Sets how many letters are taken, decided on and resolved together, at least 1. Default: 20,000, of which a binder takes fewer: Kafka
    /// and RabbitMQ stop at 16 MiB, RabbitMQ at 5,000, memory at 256.
    ///
    /// Kafka and RabbitMQ take the next batch while one is resolved, so memory holds two. On Kafka a batch is one transaction, which costs
    /// some milliseconds: small batches are slow. A run that is dropped, or whose process dies, may have sent letters of one batch that are
    /// sent again the next time: on Kafka none, on RabbitMQ those that were on their way, about 1,000 at most, on memory the whole batch.
    #[must_use]
    pub fn batch_size(mut self, letters: usize) -> Self {
        self.batch = letters.max(1);
        self
    }

    /// Counts the dead letters; reads them all.
    ///
    /// # Errors
    /// [`Connection`](ErrorKind::Connection) if the broker is not reached.
    pub async fn count(&self) -> Result<usize> {
        let mut count = 0;
        let mut pass = self.open(Purpose::Look).await?;
        loop {
            let taken = self.take(&mut pass, self.batch).await?.len();
            if taken == 0 {
                self.close(pass).await?;
                return Ok(count);
            }
            count += taken;
        }
    }

    /// Returns the oldest dead letters, at most `max`; nothing changes.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    ///
    /// # Cancel safety
    /// Dropping the future leaves every letter where it is; on RabbitMQ they are back in their queue when the channel has closed.
    pub async fn list(&self, max: usize) -> Result<Vec<DeadLetterEntry>> {
        let mut letters = Vec::new();
        let mut pass = self.open(Purpose::Look).await?;
        while letters.len() < max {
            let taken = self.take(&mut pass, (max - letters.len()).min(self.batch)).await?;
            if taken.is_empty() {
                break;
            }
            letters.extend(taken);
        }
        self.close(pass).await?;
        Ok(letters)
    }

    /// Begins to send dead letters back to the group that failed.
    pub fn redrive(&self) -> Redrive {
        Redrive { letters: self.clone(), only: Box::new(|_| true), max_redrives: MAX_REDRIVES, all_groups: false }
    }

    /// Deletes the dead letters that `filter` chooses. Returns how many were deleted and kept.
    ///
    /// # Errors
    /// As [`count`](Self::count); what was deleted before stays deleted.
    pub async fn discard(&self, filter: impl Fn(&DeadLetterEntry) -> bool + Send + Sync) -> Result<RedriveReport> {
        let decide = |letter: &DeadLetterEntry| Ok(if filter(letter) { Disposal::Discard } else { Disposal::Keep });
        self.resolve(Purpose::Resolve { all_groups: false }, decide).await
    }

    async fn resolve(
        &self,
        purpose: Purpose,
        decide: impl Fn(&DeadLetterEntry) -> Result<Disposal, Error> + Send + Sync,
    ) -> Result<RedriveReport> {
        let mut report = RedriveReport::default();
        let mut pass = self.open(purpose).await?;
        loop {
            let letters = self.take(&mut pass, self.batch).await?;
            if letters.is_empty() {
                break;
            }
            let mut reasons: Vec<Option<Error>> = Vec::with_capacity(letters.len());
            let mut disposals = Vec::with_capacity(letters.len());
            for letter in &letters {
                let decided = decide(letter);
                disposals.push(*decided.as_ref().unwrap_or(&Disposal::Keep));
                reasons.push(decided.err());
            }
            let answers = pass.resolve(&disposals).await.map_err(|error| self.input.in_context(error))?;
            check_answers(answers.len(), letters.len()).map_err(|error| self.input.in_context(error))?;
            for (((letter, disposal), reason), answer) in letters.iter().zip(disposals).zip(reasons).zip(answers) {
                report.note(letter, disposal, reason.or(answer));
            }
        }
        self.close(pass).await?;
        Ok(report)
    }

    async fn open(&self, purpose: Purpose) -> Result<Box<dyn DeadLetterPass>> {
        let store = self.input.binder.dead_letter_store();
        let store = store.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the binder can't list dead letters"))?;
        store.open(&self.input.binding, purpose).await.map_err(|error| self.input.in_context(error))
    }

    async fn take(&self, pass: &mut Box<dyn DeadLetterPass>, max: usize) -> Result<Vec<DeadLetterEntry>> {
        pass.take(max).await.map_err(|error| self.input.in_context(error))
    }

    async fn close(&self, pass: Box<dyn DeadLetterPass>) -> Result<()> {
        pass.close().await.map_err(|error| self.input.in_context(error))
    }
}

/// A letter that the binder does not answer for would be missing in the report.
fn check_answers(answers: usize, letters: usize) -> Result<()> {
    if answers == letters {
        return Ok(());
    }
    let text = format!("the binder answers for {answers} dead letters of {letters}");
    Err(Error::new(ErrorKind::Unexpected, text))
}

/// Sending dead letters back; see [`DeadLetters::redrive`].
#[must_use = "nothing is sent before `.run()`"]
pub struct Redrive {
    letters: DeadLetters,
    only: Box<dyn Fn(&DeadLetterEntry) -> bool + Send + Sync>,
    max_redrives: u32,
    all_groups: bool,
}

impl Redrive {
    /// Sends only what `filter` chooses. Default: everything.
    pub fn only(mut self, filter: impl Fn(&DeadLetterEntry) -> bool + Send + Sync + 'static) -> Self {
        self.only = Box::new(filter);
        self
    }

    /// Sets how often a message is sent back in all; one that was sent back so often before stays and is reported. Default: 3.
    pub fn max_redrives(mut self, max: u32) -> Self {
        self.max_redrives = max;
        self
    }

    /// Sends to the destination, where every group gets the message once more. The only way to a group of another library on Kafka, which
    /// does not read the group's own topic. Default: to the failed group only.
    pub fn all_groups(mut self) -> Self {
        self.all_groups = true;
        self
    }

    /// Sends. A letter leaves the dead letters when the broker has confirmed its message; it has the same message id, key, headers and bytes
    /// as the original, and its attempts count from 1 again.
    ///
    /// # Errors
    /// As [`DeadLetters::count`]. What one letter suffers is no error but stands in the report.
    ///
    /// # Cancel safety
    /// Dropping the future, or the death of the process, loses nothing: another run goes on where this one ended and may send some a second
    /// time.
    pub async fn run(self) -> Result<RedriveReport> {
        let Self { letters, only, max_redrives, all_groups } = self;
        let decide = |letter: &DeadLetterEntry| {
            if !only(letter) {
                return Ok(Disposal::Keep);
            }
            if letter.redriven >= max_redrives {
                let text = format!("it was sent back {} times before; the limit is {max_redrives}", letter.redriven);
                return Err(Error::new(ErrorKind::Refused, text));
            }
            Ok(Disposal::Send)
        };
        letters.resolve(Purpose::Resolve { all_groups }, decide).await
    }
}

impl fmt::Debug for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redrive")
            .field("letters", &self.letters)
            .field("max_redrives", &self.max_redrives)
            .field("all_groups", &self.all_groups)
            .finish_non_exhaustive()
    }
}

/// What became of the dead letters that a call has looked at.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RedriveReport {
    /// Sent back, and no dead letters any more.
    pub sent: usize,
    /// Deleted.
    pub discarded: usize,
    /// Left where they are, because the filter did not choose them.
    pub kept: usize,
    /// Left where they are, because they could not be sent.
    pub refused: Vec<Refused>,
}

/// A dead letter that could not be sent back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The letter.
    pub letter: DeadLetterEntry,
    /// Why it stays.
    pub reason: Error,
}

impl RedriveReport {
    fn note(&mut self, letter: &DeadLetterEntry, disposal: Disposal, refused: Option<Error>) {
        match (refused, disposal) {
            (Some(reason), _) => self.refused.push(Refused { letter: letter.clone(), reason }),
            (None, Disposal::Send) => self.sent += 1,
            (None, Disposal::Discard) => self.discarded += 1,
            (None, _) => self.kept += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binder_answers_for_each_letter() {
        assert!(check_answers(2, 2).is_ok());
        let error = check_answers(1, 2).expect_err("one is missing");
        assert_eq!(error.to_string(), "the binder answers for 1 dead letters of 2");
    }
}
