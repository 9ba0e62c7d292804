//! Why a handler failed.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::{Error, ErrorKind};

/// What a handler's call came to.
pub(crate) type Verdict = Result<(), HandlerError>;

/// The failure of a handler. Made from every error by `?`; then it is worth a retry.
///
/// It does not implement `std::error::Error` itself, so that every error converts into it.
///
/// ```
/// use binder_core::handler::HandlerError;
///
/// fn parse(text: &str) -> Result<u32, HandlerError> {
///     text.parse().map_err(HandlerError::permanent)        // no retry: it will not get better
/// }
/// assert!(!parse("x").unwrap_err().is_retryable());
/// ```
pub struct HandlerError(Error);

impl HandlerError {
    /// Creates a failure that no retry mends: it goes to the dead letters at once.
    pub fn permanent<E>(error: E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(describe(error.into()).permanent())
    }

    /// Creates a failure that is worth a retry after the configured backoff.
    pub fn transient<E>(error: E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(describe(error.into()).retryable())
    }

    /// Makes the next attempt wait this long instead of the configured backoff. The failure counts as worth a retry.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self(self.0.with_retry_after(wait))
    }

    /// Returns whether another attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        self.0.is_retryable()
    }

    /// Creates the wish to see the delivery again at once, without counting as a failure.
    pub(crate) fn redeliver() -> Self {
        Self(Error::redelivery())
    }

    /// Returns the error, or nothing if it was only the wish for redelivery.
    pub(crate) fn into_error(self) -> Option<Error> {
        (!self.0.is_redelivery()).then_some(self.0)
    }

    /// Makes a failure of what a panic carried.
    #[cold]
    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message");
        Self(Error::new(ErrorKind::Handler, format!("the handler panicked: {text}")).retryable())
    }
}

#[cold]
fn describe(cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
    match cause.downcast::<Error>() {
        Ok(own) => *own,
        Err(other) => Error::new(ErrorKind::Handler, format!("the handler failed: {other}")).with_source(other),
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    /// An error of this library keeps its own word on whether a retry helps; every other error is worth one.
    #[cold]
    fn from(error: E) -> Self {
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        let own = boxed.is::<Error>();
        let error = describe(boxed);
        Self(if own { error } else { error.retryable().returned_as(std::any::type_name::<E>()) })
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_word() {
        assert_eq!(size_of::<Verdict>(), size_of::<usize>());
    }

    #[test]
    fn an_error_of_ours_keeps_its_own_word() {
        let permanent = HandlerError::from(Error::new(ErrorKind::Unroutable, "nobody listens"));
        assert!(!permanent.is_retryable());
        assert_eq!(permanent.into_error().map(|error| error.kind()), Some(ErrorKind::Unroutable));
    }

    #[test]
    fn another_error_is_worth_a_retry() {
        assert!(HandlerError::from(std::io::Error::other("down")).is_retryable());
    }
}
