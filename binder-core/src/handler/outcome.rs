//! What a handler may return.

use super::{HandlerError, Verdict};
use crate::message::Message;

/// What a handler without output may return: nothing, or a `Result` whose error converts into [`HandlerError`].
#[diagnostic::on_unimplemented(
    message = "a handler can't return `{Self}`",
    note = "a handler returns nothing or `Result<(), E>` with an error that implements `std::error::Error`; a handler whose value is to be published is given to `Application::process`"
)]
pub trait IntoOutcome {
    /// Says whether it went well.
    fn into_outcome(self) -> Result<(), HandlerError>;
}

impl IntoOutcome for () {
    #[inline]
    fn into_outcome(self) -> Verdict {
        Ok(())
    }
}

impl<E: Into<HandlerError>> IntoOutcome for Result<(), E> {
    #[inline]
    fn into_outcome(self) -> Verdict {
        self.map_err(Into::into)
    }
}

/// The messages that a call of a processor publishes.
pub(crate) type Replies<U> = Vec<Message<U>>;

/// What a processor may return: a value, a [`Message`], an `Option` or `Vec` of these, or a `Result` with one of these.
///
/// `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "a processor of `{U}` can't return `{Self}`",
    note = "a processor returns the output's payload, a `Message` of it, an `Option` or `Vec` of these, or a `Result` with one of these"
)]
pub trait IntoReplies<U, M> {
    /// Returns what is to be published; nothing for none.
    fn into_replies(self) -> Result<Vec<Message<U>>, HandlerError>;
}

/// Marks a processor that returns one value.
#[derive(Debug)]
pub struct One;
/// Marks a processor that returns one [`Message`].
#[derive(Debug)]
pub struct Whole;
/// Marks a processor that returns an `Option`.
#[derive(Debug)]
pub struct Optional<M>(M);
/// Marks a processor that returns a `Vec`.
#[derive(Debug)]
pub struct Several<M>(M);
/// Marks a processor that returns a `Result`.
#[derive(Debug)]
pub struct Fallible<M>(M);

impl<U> IntoReplies<U, One> for U {
    fn into_replies(self) -> Result<Replies<U>, HandlerError> {
        Ok(vec![Message::new(self)])
    }
}

impl<U> IntoReplies<U, Whole> for Message<U> {
    fn into_replies(self) -> Result<Replies<U>, HandlerError> {
        Ok(vec![self])
    }
}

impl<U, V, M> IntoReplies<U, Optional<M>> for Option<V>
where
    V: IntoReplies<U, M>,
{
    fn into_replies(self) -> Result<Replies<U>, HandlerError> {
        self.map_or(Ok(Vec::new()), IntoReplies::into_replies)
    }
}

impl<U, V, M> IntoReplies<U, Several<M>> for Vec<V>
where
    V: IntoReplies<U, M>,
{
    fn into_replies(self) -> Result<Replies<U>, HandlerError> {
        let mut all = Vec::with_capacity(self.len());
        for value in self {
            all.extend(value.into_replies()?);
        }
        Ok(all)
    }
}

impl<U, V, M, E> IntoReplies<U, Fallible<M>> for Result<V, E>
where
    V: IntoReplies<U, M>,
    E: Into<HandlerError>,
{
    fn into_replies(self) -> Result<Replies<U>, HandlerError> {
        self.map_err(Into::into)?.into_replies()
    }
}
