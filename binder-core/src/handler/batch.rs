//! Handlers of several messages at once.

use std::future::Future;

use super::handlers::WithState;
use super::{DeliveryRef, FromDelivery, HandlerError};
use crate::Result;
use crate::message::Message;

/// Messages that are handled together, in the order in which they came.
#[derive(Debug)]
pub struct Batch<T> {
    messages: Vec<Message<T>>,
}

impl<T> Batch<T> {
    pub(crate) fn new(messages: Vec<Message<T>>) -> Self {
        Self { messages }
    }

    /// Returns how many there are, at least one.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns whether there are none; never true in a handler.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns the messages.
    pub fn messages(&self) -> &[Message<T>] {
        &self.messages
    }

    /// Returns the payloads, tombstones left out.
    pub fn payloads(&self) -> impl Iterator<Item = &T> {
        self.messages.iter().filter_map(Message::payload)
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = Message<T>;
    type IntoIter = std::vec::IntoIter<Message<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.into_iter()
    }
}

/// How a batch went: an answer for each item. Failed items are tried again or become dead letters, the others are settled.
#[derive(Debug, Default)]
#[must_use]
pub struct BatchOutcome {
    pub(crate) failed: Vec<(usize, HandlerError)>,
    pub(crate) all: Option<HandlerError>,
}

impl BatchOutcome {
    /// Creates the outcome in which every item succeeded.
    pub fn ok() -> Self {
        Self::default()
    }

    /// Creates the outcome in which no item succeeded, for one reason.
    pub fn failed(error: impl Into<HandlerError>) -> Self {
        Self { failed: Vec::new(), all: Some(error.into()) }
    }

    /// Notes that item `index` failed. An index outside of the batch fails all.
    pub fn fail(&mut self, index: usize, error: impl Into<HandlerError>) {
        self.failed.push((index, error.into()));
    }

    /// Notes that item `index` failed.
    pub fn with_failure(mut self, index: usize, error: impl Into<HandlerError>) -> Self {
        self.fail(index, error);
        self
    }
}

/// What a batch handler may return: nothing, a [`BatchOutcome`], or a `Result` whose error concerns all items.
#[diagnostic::on_unimplemented(
    message = "a batch handler can't return `{Self}`",
    note = "a batch handler returns `BatchOutcome`, nothing, or `Result<(), E>` where the error fails every item"
)]
pub trait IntoBatchOutcome {
    /// Returns the outcome.
    fn into_batch_outcome(self) -> BatchOutcome;
}

impl IntoBatchOutcome for BatchOutcome {
    fn into_batch_outcome(self) -> BatchOutcome {
        self
    }
}

impl IntoBatchOutcome for () {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::ok()
    }
}

impl<E: Into<HandlerError>> IntoBatchOutcome for Result<(), E> {
    fn into_batch_outcome(self) -> BatchOutcome {
        self.map_or_else(BatchOutcome::failed, |()| BatchOutcome::ok())
    }
}

/// A function that handles batches; every `async fn` with a [`Batch`] first and extractors after it is one. Extractors read the batch's
/// first message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a batch handler of `{T}`",
    note = "a batch handler is an `async fn` whose first argument is `Batch<T>` and whose other arguments are extractors"
)]
pub trait BatchHandler<T, A, S = ()>: Send + Sync + 'static {
    /// What the function returns.
    type Output;
    /// The call.
    type Future: Future<Output = Self::Output> + Send + 'static;

    /// Makes the call; nothing of it has run when this returns.
    fn call(&self, batch: Batch<T>, first: &DeliveryRef<'_>, state: &S) -> Result<Self::Future>;

    /// Returns whether one of the arguments exists on a `transactional` input only.
    fn needs_transaction(&self) -> bool {
        false
    }
}

macro_rules! batch_handlers {
    ($($extractor:ident),*) => {
        impl<T, S, F, Fut, $($extractor,)*> BatchHandler<T, ($($extractor,)*), S> for F
        where
            F: Fn(Batch<T>, $($extractor,)*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            $($extractor: FromDelivery<S>,)*
        {
            type Output = Fut::Output;
            type Future = Fut;

            fn needs_transaction(&self) -> bool {
                false $(|| $extractor::NEEDS_TRANSACTION)*
            }

            fn call(&self, batch: Batch<T>, _first: &DeliveryRef<'_>, _state: &S) -> Result<Fut> {
                Ok(self(batch, $($extractor::from_delivery(_first, _state)?,)*))
            }
        }
    };
}

batch_handlers!();
batch_handlers!(E1);
batch_handlers!(E1, E2);
batch_handlers!(E1, E2, E3);
batch_handlers!(E1, E2, E3, E4);

impl<H, T, A, S> BatchHandler<T, A, ()> for WithState<H, S>
where
    H: BatchHandler<T, A, S>,
    S: Send + Sync + 'static,
{
    type Output = H::Output;
    type Future = H::Future;

    fn needs_transaction(&self) -> bool {
        self.handler.needs_transaction()
    }

    fn call(&self, batch: Batch<T>, first: &DeliveryRef<'_>, (): &()) -> Result<H::Future> {
        self.handler.call(batch, first, &self.state)
    }
}
