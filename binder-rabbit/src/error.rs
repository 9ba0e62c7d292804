//! The client's errors in the words of the library.

use binder_core::{Error, ErrorKind};
use lapin::protocol::{AMQPError, AMQPErrorKind};

use lapin::uri::AMQPUri;

use crate::config::address;

/// The broker's reply codes that mean something here.
pub(crate) mod code {
    pub(crate) const ACCESS_REFUSED: u16 = 403;
    pub(crate) const NOT_FOUND: u16 = 404;
    pub(crate) const PRECONDITION_FAILED: u16 = 406;
}

/// What the broker said, if it was the broker who ended the call.
pub(crate) fn broker(error: &lapin::Error) -> Option<&AMQPError> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => Some(error),
        _ => None,
    }
}

/// The code with which the broker closed a channel; none if it was the connection that ended.
pub(crate) fn channel_code(error: &lapin::Error) -> Option<u16> {
    let error = broker(error)?;
    matches!(error.kind(), AMQPErrorKind::Soft(_)).then(|| error.get_id())
}

/// The shortest text that says what happened.
pub(crate) fn text(error: &lapin::Error) -> String {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        lapin::ErrorKind::IOError(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// A lost connection or channel: the same call may succeed later.
pub(crate) fn lost(error: lapin::Error) -> Error {
    let message = format!("the connection to the broker was lost: {}", text(&error));
    Error::new(ErrorKind::Connection, message).retryable().with_source(error)
}

/// An attempt to connect that failed; names the place and the user, never the password.
pub(crate) fn connect(uri: &AMQPUri, error: lapin::Error) -> Error {
    let address = address(uri);
    let said = text(&error);
    let message = match broker(&error) {
        Some(refused) if refused.get_id() == code::ACCESS_REFUSED => {
            format!("the broker at {address} refuses user `{}`: {said}", uri.authority.userinfo.username)
        }
        Some(_) => format!("the broker at {address} refuses the connection: {said}"),
        None if said.contains("lookup address") => {
            format!("unknown host `{}` (broker at {address}): {said}", uri.authority.host)
        }
        None => {
            certificate(&address, &error).unwrap_or_else(|| format!("no connection to the broker at {address}: {said}"))
        }
    };
    Error::new(ErrorKind::Connection, message).retryable().with_source(error)
}

#[cfg(feature = "tls")]
fn certificate(address: &str, error: &lapin::Error) -> Option<String> {
    crate::tls::reason(address, error)
}

#[cfg(not(feature = "tls"))]
fn certificate(_address: &str, _error: &lapin::Error) -> Option<String> {
    None
}

/// No node of a cluster was reached.
pub(crate) fn all(mut failures: Vec<Error>) -> Error {
    if failures.len() == 1
        && let Some(failure) = failures.pop()
    {
        return failure;
    }
    let told: Vec<_> = failures.iter().map(Error::message).collect();
    Error::new(ErrorKind::Connection, told.join("; ")).retryable()
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the binder is closed")
}

/// The broker refused to declare, bind or consume something.
pub(crate) fn declare(what: &str, name: &str, error: lapin::Error) -> Error {
    let said = text(&error);
    let refused = |message: String| Error::new(ErrorKind::Refused, message);
    let mapped = match channel_code(&error) {
        Some(code::PRECONDITION_FAILED) => refused(format!(
            "{what} `{name}` exists with other settings: {said}; delete it, or change the configuration to match"
        )),
        Some(code::NOT_FOUND) => refused(format!("{what} `{name}` does not exist: {said}")),
        Some(code::ACCESS_REFUSED) => refused(format!("no right to use {what} `{name}`: {said}")).retryable(),
        Some(_) => refused(format!("the broker refuses {what} `{name}`: {said}")).retryable(),
        None => return lost(error),
    };
    mapped.with_source(error)
}
