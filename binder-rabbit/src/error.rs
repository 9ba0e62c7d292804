//! The client's errors in the words of the library.

use std::fmt;

use binder_core::{Error, ErrorKind};
use lapin::protocol::{AMQPError, AMQPErrorKind};
use lapin::types::{AMQPValue, FieldTable};

use lapin::uri::{AMQPScheme, AMQPUri};

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

/// What the broker says of a durable queue whose node is down, with the code of one that does not exist.
const DOWN: &str = "is down or inaccessible";

/// The broker knows nothing of that name.
pub(crate) fn is_missing(error: &lapin::Error) -> bool {
    channel_code(error) == Some(code::NOT_FOUND) && !text(error).contains(DOWN)
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
            let of_tls = if uri.scheme == AMQPScheme::AMQPS { certificate(&address, &error) } else { None };
            of_tls.unwrap_or_else(|| format!("no connection to the broker at {address}: {said}"))
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

const WAY_OUT: &str = "delete it, or change the configuration to match";

/// In what something that exists differs from what was asked for. The broker names one difference only.
pub(crate) struct Difference<'a> {
    pub(crate) what: &'a str,
    pub(crate) there: &'a str,
    wanted: &'a str,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, there, wanted } = self;
        write!(f, "`{what}` is {there}, wanted is {wanted}")
    }
}

/// Reads `inequivalent arg 'x-max-length' for queue 'a' in vhost '/': received none but current is the value '5' of type 'long'`.
pub(crate) fn difference(error: &lapin::Error) -> Option<Difference<'_>> {
    (channel_code(error)? == code::PRECONDITION_FAILED)
        .then(|| read_difference(broker(error)?.get_message().as_str()))?
}

fn read_difference(said: &str) -> Option<Difference<'_>> {
    let (_, said) = said.split_once("inequivalent arg '")?;
    let (what, said) = said.split_once('\'')?;
    // Names of queues may hold anything, what follows them may not.
    let (_, values) = said.rsplit_once("': received ")?;
    let (wanted, there) = values.split_once(" but current is ")?;
    let value = |text| match str::split(text, '\'').nth(1) {
        Some(value) => value,
        None => text,
    };
    Some(Difference { what, there: value(there), wanted: value(wanted) })
}

/// The broker refused to declare a queue with these arguments.
pub(crate) fn declare_queue(name: &str, wanted: &FieldTable, error: lapin::Error) -> Error {
    let Some(difference) = difference(&error).map(|difference| difference.to_string()) else {
        return declare("queue", name, error);
    };
    let all = shown(wanted);
    let message = format!("queue `{name}` exists with other settings: {difference} (in all: {all}); {WAY_OUT}");
    Error::new(ErrorKind::Refused, message).with_source(error)
}

/// The arguments of a queue, for people.
pub(crate) fn shown(arguments: &FieldTable) -> String {
    let all: Vec<_> = arguments.inner().iter().map(|(name, value)| format!("{name}={}", shown_value(value))).collect();
    if all.is_empty() { "no arguments".to_owned() } else { all.join(", ") }
}

fn shown_value(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

/// The broker refused to declare, bind or consume something.
pub(crate) fn declare(what: &str, name: &str, error: lapin::Error) -> Error {
    let said = text(&error);
    let refused = |message: String| Error::new(ErrorKind::Refused, message);
    let mapped = match channel_code(&error) {
        Some(code::PRECONDITION_FAILED) => refused(match difference(&error) {
            Some(difference) => format!("{what} `{name}` exists with other settings: {difference}; {WAY_OUT}"),
            None => format!("the broker refuses {what} `{name}`: {said}"),
        }),
        Some(code::NOT_FOUND) if is_missing(&error) => refused(format!("{what} `{name}` does not exist: {said}")),
        Some(code::ACCESS_REFUSED) => refused(format!("no right to use {what} `{name}`: {said}")).retryable(),
        Some(_) => refused(format!("the broker refuses {what} `{name}`: {said}")).retryable(),
        None => return lost(error),
    };
    mapped.with_source(error)
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "tls")]
    use std::sync::Arc;

    use lapin::protocol::AMQPSoftError;

    use super::*;

    fn refused(said: &str) -> lapin::Error {
        let kind = AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND);
        lapin::ErrorKind::ProtocolError(AMQPError::new(kind, said.into())).into()
    }

    #[test]
    fn a_queue_whose_node_is_down_may_come_back() {
        let missing = refused("NOT_FOUND - no queue 'a' in vhost '/'");
        assert!(is_missing(&missing));
        assert!(!declare("queue", "a", missing).is_retryable());
        let down = refused("NOT_FOUND - home node 'b@c' of durable queue 'a' in vhost '/' is down or inaccessible");
        assert!(!is_missing(&down));
        assert!(declare("queue", "a", down).is_retryable());
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_connection_that_ends_in_tls_may_be_for_a_certificate() {
        let reset = || lapin::ErrorKind::IOError(Arc::new(std::io::ErrorKind::ConnectionReset.into())).into();
        let told = |url: &str| connect(&url.parse().expect("a URL"), reset()).to_string();
        assert!(told("amqps://mq").ends_with("see `tls.certificate`"), "{}", told("amqps://mq"));
        assert!(told("amqp://mq").ends_with("connection reset"), "{}", told("amqp://mq"));
    }

    fn told(said: &str) -> String {
        read_difference(said).expect("a difference").to_string()
    }

    #[test]
    fn a_difference_is_told_with_what_is_there_and_what_was_wanted() {
        let said = "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'it's': received 1' in vhost '/': received none \
                    but current is the value '5' of type 'signedint'";
        assert_eq!(told(said), "`x-max-length` is 5, wanted is none");
        let said = "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'a' in vhost '/': received the value \
                    'reject-publish' of type 'longstr' but current is none";
        assert_eq!(told(said), "`x-overflow` is none, wanted is reject-publish");
        let said = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'a' in vhost '/': received 'topic' but current is 'fanout'";
        assert_eq!(told(said), "`type` is fanout, wanted is topic");
        assert!(read_difference("PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'a' in vhost '/'").is_none());
    }
}
