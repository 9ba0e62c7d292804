//! The one error of the library.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Result with this library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, so that code can decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is wrong; nothing was opened. A change of the configuration helps, waiting does not.
    Config,
    /// The binder can't do what was asked; see its `Capability`.
    Unsupported,
    /// The broker is not reached, or the connection was lost.
    Connection,
    /// The broker said no: access, a full queue, arguments that differ.
    Refused,
    /// No queue takes the message.
    Unroutable,
    /// The message is larger than the broker accepts.
    TooLarge,
    /// No answer in time. Whether the broker has the message is not known.
    Timeout,
    /// The channel, the binding or the application is closed.
    Closed,
    /// Bytes and type do not fit.
    Codec,
    /// A handler failed.
    Handler,
    /// A fault of this library or of a client library.
    Unexpected,
}

impl ErrorKind {
    /// Returns the name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unsupported => "unsupported",
            Self::Connection => "connection",
            Self::Refused => "refused",
            Self::Unroutable => "unroutable",
            Self::TooLarge => "too large",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Codec => "codec",
            Self::Handler => "handler",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with a [kind](Self::kind), a flag whether [a retry can help](Self::is_retryable), and where it happened.
///
/// `Display` says this level only; `{:?}` prints the chain. Neither holds a payload or a secret.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retryable: bool,
    redelivery: bool,
    retry_after: Option<Duration>,
    /// Name of the type that a handler returned, if it left open whether a retry helps.
    returned: Option<&'static str>,
    context: Vec<(&'static str, String)>,
    source: Option<Source>,
}

impl Error {
    /// Creates an error that a retry does not help.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retryable: false,
            redelivery: false,
            retry_after: None,
            returned: None,
            context: Vec::new(),
            source: None,
        }))
    }

    /// Creates the wish to see a delivery again, which is no failure of a handler.
    pub(crate) fn redelivery() -> Self {
        let mut error = Self::new(ErrorKind::Handler, "the delivery was dropped unsettled").retryable();
        error.0.redelivery = true;
        error
    }

    /// Notes the type of an error that a handler returned as it was.
    pub(crate) fn returned_as(mut self, type_name: &'static str) -> Self {
        self.0.returned = Some(type_name);
        self
    }

    /// Returns the type of the error that a handler returned, if it left open whether a retry helps.
    pub(crate) fn returned_type(&self) -> Option<&'static str> {
        self.0.returned
    }

    pub(crate) fn is_redelivery(&self) -> bool {
        self.0.redelivery
    }

    /// Marks the error as one that may pass by itself.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// Marks the error as one that stays, as after the last retry.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.0.retryable = false;
        self
    }

    /// Says how long to wait before a retry.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retryable = true;
        self.0.retry_after = Some(wait);
        self
    }

    /// Attaches the client's error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds where it happened: `binder`, `binding`, `destination`, `operation`. A key that is there already stays.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        if self.context(key).is_none() {
            self.0.context.push((key, value.into()));
        }
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Returns how long to wait before a retry, if the one who failed said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns a piece of context.
    pub fn context(&self, key: &str) -> Option<&str> {
        let found = self.0.context.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the text of this level, without context.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            let open = if index == 0 { " (" } else { ", " };
            write!(f, "{open}{key} `{value}`")?;
        }
        if self.0.context.is_empty() {
            return Ok(());
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.kind)?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_ref()?;
        Some(source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_says_this_level_and_where() {
        let cause = std::io::Error::other("refused by peer");
        let error = Error::new(ErrorKind::Connection, "no connection")
            .with_context("binder", "rabbit")
            .with_context("binder", "later")
            .with_source(cause);
        assert_eq!(error.to_string(), "no connection (binder `rabbit`)");
        assert!(format!("{error:?}").ends_with("caused by: refused by peer"));
    }

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
