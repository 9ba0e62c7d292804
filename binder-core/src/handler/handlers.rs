//! Which functions are handlers.

use std::fmt;
use std::future::Future;

use super::{DeliveryRef, FromDelivery};
use crate::codec::Decode;
use crate::message::Message;
use crate::{Error, ErrorKind, Result};

/// Marks a handler whose first argument is the payload.
#[derive(Debug)]
pub struct Plain;

/// Marks a handler whose first argument is a [`Message`].
#[derive(Debug)]
pub struct WholeMessage;

/// A function that handles payloads of type `T`; every fitting `async fn` is one.
///
/// `A` is inferred, `S` is the state its extractors ask for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of `{T}`",
    label = "not a handler of this input",
    note = "a handler is an `async fn` whose first argument is the payload or `Message` of it, by value, and whose other arguments are extractors; one with `State<S>` needs `.with_state(..)`; put `#[check_handler]` on it to see which argument does not fit"
)]
pub trait Handler<T, A, S = ()>: Send + Sync + 'static {
    /// What the function returns.
    type Output;
    /// The call.
    type Future: Future<Output = Self::Output> + Send + 'static;

    /// Takes the arguments out of the delivery and makes the call; nothing of it has run when this returns. `None` is a tombstone.
    fn call(&self, payload: Option<T>, delivery: &DeliveryRef<'_>, state: &S) -> Result<Self::Future>;

    /// Returns whether one of the arguments exists on a `transactional` input only.
    fn needs_transaction(&self) -> bool {
        false
    }
}

macro_rules! handlers {
    ($($extractor:ident),*) => {
        impl<T, S, F, Fut, $($extractor,)*> Handler<T, (Plain, $($extractor,)*), S> for F
        where
            T: Decode,
            F: Fn(T, $($extractor,)*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            $($extractor: FromDelivery<S>,)*
        {
            type Output = Fut::Output;
            type Future = Fut;

            fn needs_transaction(&self) -> bool {
                false $(|| $extractor::NEEDS_TRANSACTION)*
            }

            #[inline]
            fn call(&self, payload: Option<T>, _delivery: &DeliveryRef<'_>, _state: &S) -> Result<Fut> {
                let payload = payload.ok_or_else(tombstone)?;
                Ok(self(payload, $($extractor::from_delivery(_delivery, _state)?,)*))
            }
        }

        impl<T, S, F, Fut, $($extractor,)*> Handler<T, (WholeMessage, $($extractor,)*), S> for F
        where
            T: Decode,
            F: Fn(Message<T>, $($extractor,)*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            $($extractor: FromDelivery<S>,)*
        {
            type Output = Fut::Output;
            type Future = Fut;

            fn needs_transaction(&self) -> bool {
                false $(|| $extractor::NEEDS_TRANSACTION)*
            }

            #[inline]
            fn call(&self, payload: Option<T>, delivery: &DeliveryRef<'_>, _state: &S) -> Result<Fut> {
                let message = delivery.to_message(payload);
                Ok(self(message, $($extractor::from_delivery(delivery, _state)?,)*))
            }
        }
    };
}

handlers!();
handlers!(E1);
handlers!(E1, E2);
handlers!(E1, E2, E3);
handlers!(E1, E2, E3, E4);
handlers!(E1, E2, E3, E4, E5);
handlers!(E1, E2, E3, E4, E5, E6);

#[cold]
fn tombstone() -> Error {
    Error::new(ErrorKind::Codec, "the message is a tombstone; a handler that takes `Message<T>` can handle it")
}

/// What can be done with every handler.
pub trait HandlerExt: Sized {
    /// Gives the handler its state.
    fn with_state<S>(self, state: S) -> WithState<Self, S> {
        WithState { handler: self, state }
    }
}

impl<F: Send + Sync + 'static> HandlerExt for F {}

/// A handler with its state.
#[derive(Clone)]
pub struct WithState<H, S> {
    pub(super) handler: H,
    pub(super) state: S,
}

impl<H, S> fmt::Debug for WithState<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithState").finish_non_exhaustive()
    }
}

impl<H, T, A, S> Handler<T, A, ()> for WithState<H, S>
where
    H: Handler<T, A, S>,
    S: Send + Sync + 'static,
{
    type Output = H::Output;
    type Future = H::Future;

    fn needs_transaction(&self) -> bool {
        self.handler.needs_transaction()
    }

    #[inline]
    fn call(&self, payload: Option<T>, delivery: &DeliveryRef<'_>, (): &()) -> Result<H::Future> {
        self.handler.call(payload, delivery, &self.state)
    }
}
