//! Listing dead letters and sending them back.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::ConsumerBinding;
use crate::message::Headers;
use crate::{Error, ErrorKind, Result};

/// Header of a message that was sent back from the dead letters: how often. It travels on with the message, so that a loop is noticed.
pub const REDRIVE_COUNT: &str = "x-redrive-count";

/// Header of a dead letter: how often its handler was tried.
pub const ATTEMPTS: &str = "x-attempts";

/// The dead letters of a broker.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// Begins to go through the dead letters that an input's group has now, oldest first; later ones are not met. If there is no place for them
    /// yet, there are none.
    ///
    /// # Errors
    /// As [`Binder::bind_consumer`](super::Binder::bind_consumer).
    async fn open(&self, binding: &ConsumerBinding, purpose: Purpose) -> Result<Box<dyn DeadLetterPass>>;
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// To look: nothing changes, and [`DeadLetterPass::resolve`] is refused.
    Look,
    /// To say of each letter what becomes of it.
    Resolve {
        /// Send to the destination, where every group sees it, instead of to the failed group only.
        all_groups: bool,
    },
}

impl Purpose {
    /// Checks that a pass may take letters, of which so many are taken and not resolved. Every [`DeadLetterPass::take`] begins with this.
    ///
    /// # Errors
    /// [`Unexpected`](ErrorKind::Unexpected) if letters of a pass that resolves are left: it would go past them.
    pub fn check_take(self, unresolved: usize) -> Result<()> {
        if self == Self::Look || unresolved == 0 {
            return Ok(());
        }
        let text = format!("more dead letters are taken while {unresolved} are not resolved");
        Err(Error::new(ErrorKind::Unexpected, text))
    }

    /// Checks that a pass may resolve letters, of which so many are taken and not resolved. Every [`DeadLetterPass::resolve`] begins with
    /// this.
    ///
    /// # Errors
    /// [`Unexpected`](ErrorKind::Unexpected) if the pass only looks, or if there is not one disposal for each letter.
    pub fn check_resolve(self, unresolved: usize, disposals: &[Disposal]) -> Result<()> {
        if self == Self::Look {
            return Err(Error::new(ErrorKind::Unexpected, "the pass was opened to look"));
        }
        if disposals.len() == unresolved {
            return Ok(());
        }
        let text = format!("{} disposals for {unresolved} dead letters", disposals.len());
        Err(Error::new(ErrorKind::Unexpected, text))
    }
}

/// What becomes of a dead letter. A binder keeps the letter if it does not know what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposal {
    /// It goes back, without what made it a dead letter, and with its [count](REDRIVE_COUNT) increased.
    Send,
    /// It stays, in its order among those that stay.
    Keep,
    /// It is deleted.
    Discard,
    /// What no binder knows: the test kit says it in place of what a later version may add.
    #[cfg(feature = "testkit")]
    #[doc(hidden)]
    Unknown,
}

/// One way through the dead letters of a group.
///
/// # Contract
/// A letter leaves the store only after the broker has confirmed its message, so a process that dies may send one twice and loses none. What
/// was taken and not resolved stays, also if the pass is dropped.
///
/// What is asked for is checked before anything is done, with [`Purpose::check_take`] and [`Purpose::check_resolve`], and what they refuse
/// changes nothing: the pass goes on as if it had not been asked. After another error, or when the future of a call was dropped, the pass
/// loses nothing either, but may refuse all but [`close`](Self::close).
#[async_trait]
pub trait DeadLetterPass: fmt::Debug + Send {
    /// Takes the next letters, at most `max`; none at the end.
    ///
    /// # Errors
    /// As [`Purpose::check_take`]: in a pass that resolves, the letters taken before are resolved first.
    async fn take(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>>;

    /// Does with the letters taken last, in their order, what is said: one disposal for each. A letter of which is said what the binder does
    /// not know stays. Returns for each letter why it could not be sent, if it could not: such a letter stays. Dropping the future may leave
    /// letters both sent and stored.
    ///
    /// # Errors
    /// As [`Purpose::check_resolve`]; letters that are resolved count no more.
    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>>;

    /// Ends the pass; what stays can be taken again when this returns.
    async fn close(self: Box<Self>) -> Result<()>;
}

/// Where dead letters come from: one for many of them, cheap to clone.
#[derive(Clone, Debug)]
pub struct DeadLetterSource(Arc<(Box<str>, Box<str>)>);

impl DeadLetterSource {
    /// Names the destination that messages were received from, and the group that failed.
    pub fn new(destination: impl Into<Box<str>>, group: impl Into<Box<str>>) -> Self {
        Self(Arc::new((destination.into(), group.into())))
    }

    /// Returns the destination.
    pub fn destination(&self) -> &str {
        &self.0.0
    }

    /// Returns the group.
    pub fn group(&self) -> &str {
        &self.0.1
    }
}

/// A dead letter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetterEntry {
    pub(crate) source: DeadLetterSource,
    /// The partition it came from, where the broker has partitions.
    pub partition: Option<u32>,
    /// The offset within the partition, where the broker has one.
    pub offset: Option<u64>,
    /// When the message was sent, if that is known.
    pub timestamp: Option<SystemTime>,
    /// How often the handler was tried; 0 if the payload could not be decoded, `None` if another library wrote the letter.
    pub attempts: Option<u32>,
    /// How often the message was sent back before.
    pub redriven: u32,
    /// The key.
    pub key: Option<Bytes>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<Bytes>,
    pub(crate) details: Option<Arc<dyn DeadLetterDetails>>,
}

/// What of a dead letter is read only when somebody asks: most are sent back unread.
pub trait DeadLetterDetails: fmt::Debug + Send + Sync {
    /// Returns what went wrong, if the letter says so.
    fn reason(&self) -> Option<String>;

    /// Returns the headers of the message, without those that tell of the failure.
    fn headers(&self) -> Headers;
}

impl DeadLetterEntry {
    /// Adds reason and headers. Default: none of either.
    #[must_use]
    pub fn with_details(mut self, details: Arc<dyn DeadLetterDetails>) -> Self {
        self.details = Some(details);
        self
    }

    /// Returns the destination that the message was received from.
    pub fn destination(&self) -> &str {
        self.source.destination()
    }

    /// Returns the group that failed.
    pub fn group(&self) -> &str {
        self.source.group()
    }

    /// Returns what went wrong, if the letter says so; read at each call.
    pub fn reason(&self) -> Option<String> {
        self.details.as_ref()?.reason()
    }

    /// Returns the headers of the message, without those that tell of the failure; read at each call.
    pub fn headers(&self) -> Headers {
        self.details.as_ref().map_or_else(Headers::new, |details| details.headers())
    }

    /// Creates an entry of which only the place is known.
    pub fn new(source: DeadLetterSource) -> Self {
        Self {
            source,
            partition: None,
            offset: None,
            timestamp: None,
            attempts: None,
            redriven: 0,
            key: None,
            payload: None,
            details: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_neither_passed_nor_guessed() {
        let resolve = Purpose::Resolve { all_groups: false };
        assert!(resolve.check_take(0).is_ok() && resolve.check_resolve(0, &[]).is_ok());
        assert!(resolve.check_resolve(2, &[Disposal::Keep, Disposal::Send]).is_ok());
        let error = resolve.check_take(3).expect_err("three would be passed");
        assert_eq!(error.to_string(), "more dead letters are taken while 3 are not resolved");
        for (letters, disposals) in [(2, 1), (2, 3), (1, 0), (0, 1)] {
            let error = resolve.check_resolve(letters, &vec![Disposal::Send; disposals]).expect_err("not one for each");
            assert_eq!(error.to_string(), format!("{disposals} disposals for {letters} dead letters"));
        }
    }

    #[test]
    fn who_looks_takes_and_resolves_nothing() {
        assert!(Purpose::Look.check_take(3).is_ok());
        let error = Purpose::Look.check_resolve(1, &[Disposal::Keep]).expect_err("nothing changes");
        assert_eq!(error.to_string(), "the pass was opened to look");
    }
}
