//! Routing on one input.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::application::Application;
use super::input::Decoder;
use crate::channel::Input;
use crate::codec::Decode;
use crate::handler::{DeliveryRef, Handler, HandlerError, IntoOutcome, Verdict};
use crate::message::HeaderValue;
use crate::{Error, ErrorKind, Result};

type Condition = Arc<dyn Fn(&DeliveryRef<'_>) -> bool + Send + Sync>;
type Target = Arc<dyn Fn(&DeliveryRef<'_>) -> Result<BoxFuture<'static, Verdict>> + Send + Sync>;

/// Which messages go a way; made by [`header`] and [`predicate`].
#[derive(Clone)]
pub struct Matcher(Condition);

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").finish_non_exhaustive()
    }
}

/// Starts a condition on a header.
pub fn header(name: impl Into<String>) -> HeaderCondition {
    HeaderCondition(name.into())
}

/// Makes a condition of a function.
pub fn predicate(holds: impl Fn(&DeliveryRef<'_>) -> bool + Send + Sync + 'static) -> Matcher {
    Matcher(Arc::new(holds))
}

/// A condition on a header, to be completed.
#[derive(Clone, Debug)]
pub struct HeaderCondition(String);

impl HeaderCondition {
    /// Holds if the header has this value. Text compares with bytes of the same text, integers of either size compare.
    pub fn eq(self, value: impl Into<HeaderValue>) -> Matcher {
        let value = value.into();
        predicate(move |delivery| delivery.header(&self.0).is_some_and(|found| same(&found, &value)))
    }

    /// Holds if the header is there.
    pub fn exists(self) -> Matcher {
        predicate(move |delivery| delivery.header(&self.0).is_some())
    }
}

fn same(left: &HeaderValue, right: &HeaderValue) -> bool {
    if matches!((left, right), (HeaderValue::Uuid(_), _) | (_, HeaderValue::Uuid(_))) {
        return left.as_uuid() == right.as_uuid();
    }
    match (left.as_bytes(), right.as_bytes()) {
        (Some(left), Some(right)) => left == right,
        _ => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left == right,
            _ => left == right,
        },
    }
}

/// What becomes of a message that no route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It goes to the dead letters, or where exhausted messages of this binding go.
    DeadLetter,
    /// It is settled and forgotten.
    Ignore,
}

/// Routes of one input, tried in the order in which they were added; see [`Application::route`].
#[must_use = "a router does nothing before `.otherwise(..).await`"]
pub struct Router<T> {
    app: Application,
    input: Input<T>,
    decoder: Decoder,
    routes: Vec<(Condition, Target)>,
    needs_transaction: bool,
}

impl Application {
    /// Begins to route an input: each message goes to the first handler whose condition holds. Every handler reads the payload as its own
    /// type, so one input may carry several.
    ///
    /// ```
    /// use binder_core::prelude::*;
    ///
    /// #[derive(Deserialize)]
    /// struct Created { name: String }
    /// #[derive(Deserialize)]
    /// struct Removed { id: u64 }
    ///
    /// async fn created(event: Created) {}
    /// async fn removed(event: Removed) {}
    ///
    /// # async fn run(app: Application, events: Input<String>) -> binder_core::Result<()> {
    /// app.route(events)
    ///     .on(header("type").eq("created"), created)
    ///     .on(header("type").eq("removed"), removed)
    ///     .otherwise(DeadLetter)
    ///     .await
    /// # }
    /// ```
    pub fn route<T: Decode>(&self, input: Input<T>) -> Router<T> {
        let decoder = input.entry().decoder();
        Router { app: self.clone(), input, decoder, routes: Vec::new(), needs_transaction: false }
    }
}

impl<T: Decode> Router<T> {
    /// Adds a route.
    pub fn on<U, A, H>(mut self, condition: Matcher, handler: H) -> Self
    where
        U: Decode,
        H: Handler<U, A>,
        H::Output: IntoOutcome,
    {
        self.needs_transaction |= handler.needs_transaction();
        let target = self.target(handler);
        self.routes.push((condition.0, target));
        self
    }

    /// Says what becomes of all other messages, and starts.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the input is handled already.
    pub async fn otherwise(self, otherwise: Otherwise) -> Result<()> {
        let rest: Target = match otherwise {
            Otherwise::Ignore => Arc::new(|_| Ok(Box::pin(std::future::ready(Ok(()))))),
            Otherwise::DeadLetter => Arc::new(|_| {
                let unrouted = Error::new(ErrorKind::Handler, "no route takes this message");
                Ok(Box::pin(std::future::ready(Err(HandlerError::from(unrouted)))))
            }),
        };
        self.finish(rest)
    }

    /// Gives all other messages to a handler, and starts.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the input is handled already.
    #[allow(clippy::unused_async, reason = "spawns tasks, so it belongs into a runtime")]
    pub async fn otherwise_handle<U, A, H>(mut self, handler: H) -> Result<()>
    where
        U: Decode,
        H: Handler<U, A>,
        H::Output: IntoOutcome,
    {
        self.needs_transaction |= handler.needs_transaction();
        let rest = self.target(handler);
        self.finish(rest)
    }

    fn target<U, A, H>(&self, handler: H) -> Target
    where
        U: Decode,
        H: Handler<U, A>,
        H::Output: IntoOutcome,
    {
        let decoder = self.decoder.clone();
        Arc::new(move |delivery| {
            let payload = decoder.decode::<U>(delivery)?;
            let call = handler.call(payload, delivery, &())?;
            Ok(Box::pin(async move { call.await.into_outcome() }))
        })
    }

    fn finish(self, rest: Target) -> Result<()> {
        self.input.entry().check_transaction(self.needs_transaction)?;
        let routes: Arc<[_]> = self.routes.into();
        self.app.run(&self.input, move |delivery: &DeliveryRef<'_>| {
            let found = routes.iter().find(|(condition, _)| condition(delivery));
            found.map_or(&rest, |(_, target)| target)(delivery)
        })
    }
}

impl<T> fmt::Debug for Router<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("input", &self.input).field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_uuid_is_the_same_as_its_text_and_texts_are_compared_as_they_are() {
        let (uuid, upper) = (Uuid::from_u128(0xabc), "00000000-0000-0000-0000-000000000ABC");
        assert!(same(&uuid.into(), &uuid.to_string().into()) && same(&upper.into(), &uuid.into()));
        assert!(!same(&upper.into(), &uuid.to_string().into()), "two texts");
        assert!(!same(&uuid.into(), &"other".into()) && !same(&uuid.into(), &HeaderValue::Null));
    }
}
