//! Transactions: messages that are published together or not at all.

use std::fmt;

use async_trait::async_trait;

use super::{DeadLetter, LaneId, OutgoingBatch, ProducerBinding};
use crate::{Error, Result};

/// Transactions over what is received and sent.
///
/// # Contract
/// Consumers of the binder do [`Consumer::commit`](super::Consumer::commit) if their binding is `transactional`.
///
/// Messages of a transaction have the names, keys and headers that a [`Producer`](super::Producer) of the same output gives them. Core has
/// bound that producer before, so destinations are provisioned.
#[async_trait]
pub trait Transactions: Send + Sync {
    /// Connects what publishes transactions that belong to no input. Waits for the broker for a while; fails with an error that is worth a
    /// retry if it is not there.
    async fn open(&self) -> Result<Box<dyn Transactor>>;
}

/// Publishes one transaction after the other. One task owns it.
#[async_trait]
pub trait Transactor: fmt::Debug + Send + 'static {
    /// Publishes all messages of all parts, or none: a reader that takes only what is committed never sees a part of them. Returns when it is
    /// decided; after an error the next transaction may be tried.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the transaction is published.
    async fn commit(&mut self, parts: &[TransactionPart<'_>]) -> Result<(), CommitError>;
}

/// Messages of a transaction that go to one output, in their order.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TransactionPart<'a> {
    /// The output.
    pub binding: &'a ProducerBinding,
    /// The messages.
    pub messages: &'a OutgoingBatch,
}

impl<'a> TransactionPart<'a> {
    /// Creates a part.
    pub fn new(binding: &'a ProducerBinding, messages: &'a OutgoingBatch) -> Self {
        Self { binding, messages }
    }
}

/// What a consumer commits as one.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ConsumerTransaction<'a> {
    /// Messages of outputs.
    pub parts: &'a [TransactionPart<'a>],
    /// Dead letters of the input.
    pub dead_letters: &'a [DeadLetter<'a>],
    /// Up to and including which sequence each lane is done.
    pub positions: &'a [(LaneId, u64)],
}

impl<'a> ConsumerTransaction<'a> {
    /// Creates a transaction.
    pub fn new(
        parts: &'a [TransactionPart<'a>],
        dead_letters: &'a [DeadLetter<'a>],
        positions: &'a [(LaneId, u64)],
    ) -> Self {
        Self { parts, dead_letters, positions }
    }
}

/// Why a transaction is not committed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommitError {
    /// Nothing was published. If the error is worth a retry, so is the same transaction.
    Aborted(Error),
    /// Nothing was published, because one message is refused for good.
    Refused {
        /// Index of its part.
        part: usize,
        /// Its index within the part.
        message: usize,
        /// What is wrong with it.
        error: Error,
    },
    /// The broker did not say in time whether it is published. It is one or the other by the time of the next transaction.
    Unknown(Error),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted(error) => write!(f, "the transaction was aborted: {error}"),
            Self::Refused { error, .. } => write!(f, "a message of the transaction was refused: {error}"),
            Self::Unknown(error) => write!(f, "it is not known whether the transaction was committed: {error}"),
        }
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let (Self::Aborted(error) | Self::Refused { error, .. } | Self::Unknown(error)) = self;
        Some(error)
    }
}
