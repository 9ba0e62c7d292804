//! The sending half of the contract.

use std::fmt;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::{Outgoing, OutgoingBatch, Parcel, Receipt};
use crate::{Error, Result};

/// What [`Producer::try_send`] did.
#[derive(Debug)]
pub enum TrySend<'a> {
    /// The message was taken; the receipt says what the broker made of it.
    Sent(Receipt<'a>),
    /// The window is full: nothing was taken. Wait with [`Producer::poll_ready`].
    Full,
}

/// Sends to one destination. Shared by all that hold the channel.
///
/// # Contract
/// Messages go to the broker in the order of the calls. A receipt resolves when the broker has taken responsibility (all in-sync replicas,
/// a publisher confirm) or it is certain that it will not; it always resolves, at the latest after the binding's `send-timeout`. While
/// the broker is away messages wait in the window and are sent, or sent again, when it is back.
pub trait Producer: fmt::Debug + Send + Sync + 'static {
    /// Hands over one message, copied before the call returns.
    fn try_send(&self, message: Outgoing<'_>) -> Result<TrySend<'_>>;

    /// Hands over a batch; one receipt for all, which names the messages that fail. If the call itself fails, or there is no room, nothing was
    /// taken; a message that can't be sent does not hold up the others. A batch larger than the window is taken when the window is empty.
    fn try_send_batch(&self, batch: &OutgoingBatch) -> Result<TrySend<'_>>;

    /// Ready when there is room in the window again. The waker is woken then, or earlier.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>>;

    /// Returns how many partitions the destination has now, where messages can be sent to one of them; may grow.
    fn partitions(&self) -> Option<u32> {
        None
    }

    /// Waits until every receipt has resolved.
    fn flush(&self) -> BoxFuture<'_, Result<()>>;

    /// Flushes and closes; later sends fail with [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

/// A delivery whose attempts are used up, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadLetter<'a> {
    /// The delivery as it was received: bytes, key and headers unchanged.
    pub delivery: &'a Parcel,
    /// The last error.
    pub reason: &'a Error,
    /// How often the handler was tried; 0 if the payload could not be decoded.
    pub attempts: u32,
}

impl<'a> DeadLetter<'a> {
    /// Creates a dead letter.
    pub fn new(delivery: &'a Parcel, reason: &'a Error, attempts: u32) -> Self {
        Self { delivery, reason, attempts }
    }
}

/// Moves exhausted messages aside, with the names and headers that the broker's world expects.
#[async_trait]
pub trait DeadLetterSink: fmt::Debug + Send + Sync + 'static {
    /// Publishes a dead letter and waits until the broker has confirmed it.
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()>;
}
