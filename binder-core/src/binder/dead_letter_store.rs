//! Listing dead letters and sending them back.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::ConsumerBinding;
use crate::message::Headers;
use crate::{Error, Result};

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
    /// To look: nothing changes. [`DeadLetterPass::resolve`] is not called.
    Look,
    /// To say of each letter what becomes of it.
    Resolve {
        /// Send to the destination, where every group sees it, instead of to the failed group only.
        all_groups: bool,
    },
}

/// What becomes of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposal {
    /// It goes back, without what made it a dead letter, and with its [count](REDRIVE_COUNT) increased.
    Send,
    /// It stays, in its order among those that stay.
    Keep,
    /// It is deleted.
    Discard,
}

/// One way through the dead letters of a group.
///
/// # Contract
/// A letter leaves the store only after the broker has confirmed its message, so a process that dies may send one twice and loses none. What
/// was taken and not resolved stays, also if the pass is dropped.
#[async_trait]
pub trait DeadLetterPass: fmt::Debug + Send {
    /// Takes the next letters, at most `max`; none at the end.
    async fn take(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>>;

    /// Does with the letters taken last, in their order, what is said. Returns for each why it could not be sent, if it could not: such a letter
    /// stays. Dropping the future may leave letters both sent and stored.
    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>>;

    /// Ends the pass; what stays can be taken again when this returns.
    async fn close(self: Box<Self>) -> Result<()>;
}

/// A dead letter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetterEntry {
    /// The destination that the message was received from.
    pub destination: Arc<str>,
    /// The group that failed.
    pub group: Arc<str>,
    /// The partition it came from, where the broker has partitions.
    pub partition: Option<u32>,
    /// The offset within the partition, where the broker has one.
    pub offset: Option<u64>,
    /// When the message was sent, if that is known.
    pub timestamp: Option<SystemTime>,
    /// How often the handler was tried; 0 if the payload could not be decoded, `None` if another library wrote the letter.
    pub attempts: Option<u32>,
    /// What went wrong, if the letter says so.
    pub reason: Option<String>,
    /// How often the message was sent back before.
    pub redriven: u32,
    /// The key.
    pub key: Option<Bytes>,
    /// The headers of the message, without those that tell of the failure.
    pub headers: Headers,
    /// The payload; `None` is a tombstone.
    pub payload: Option<Bytes>,
}

impl DeadLetterEntry {
    /// Creates an entry of which only the place is known.
    pub fn new(destination: impl Into<Arc<str>>, group: impl Into<Arc<str>>) -> Self {
        Self {
            destination: destination.into(),
            group: group.into(),
            partition: None,
            offset: None,
            timestamp: None,
            attempts: None,
            reason: None,
            redriven: 0,
            key: None,
            headers: Headers::new(),
            payload: None,
        }
    }
}
