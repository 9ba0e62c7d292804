//! A message on its way to the broker.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use binder_core::binder::Outgoing;
use binder_core::message::{ContentType, Headers};
use binder_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::ShortString;
use uuid::Uuid;

use crate::headers;

/// What a content header frame holds beside the properties.
const FRAME_OVERHEAD: usize = 32;

/// Exchange and routing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
}

/// A message as the broker gets it. It is kept until the broker has confirmed it.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) route: Arc<Route>,
    pub(crate) body: Bytes,
    pub(crate) properties: BasicProperties,
}

impl Envelope {
    /// Refuses what would make the broker close the channel or the connection.
    pub(crate) fn check(&self, max_message_size: usize, frame_max: usize) -> Result<()> {
        check_body(self.body.len(), max_message_size)?;
        if self.properties.headers().is_none() {
            return Ok(());
        }
        let properties = headers::encoded_len(&self.properties) + FRAME_OVERHEAD;
        if properties > frame_max {
            let text = format!("the headers take {properties} bytes, a frame holds {frame_max}");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok(())
    }

    /// Returns what the broker quotes when it returns the message.
    pub(crate) fn id(&self) -> Option<&ShortString> {
        self.properties.message_id().as_ref()
    }
}

/// Refuses a body that is larger than the broker takes.
pub(crate) fn check_body(size: usize, max_message_size: usize) -> Result<()> {
    if size > max_message_size {
        let text = format!("the message has {size} bytes, the broker takes {max_message_size}");
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    Ok(())
}

/// Makes the properties of an outgoing message.
pub(crate) fn properties(message: &Outgoing<'_>, with_headers: bool, delivery_mode: u8) -> Result<BasicProperties> {
    static NO_HEADERS: Headers = Headers::new();
    let application = if with_headers { message.headers } else { &NO_HEADERS };
    let properties = BasicProperties::default()
        .with_content_type(content_type(message.content_type)?)
        .with_delivery_mode(delivery_mode)
        .with_priority(0)
        .with_message_id(new_id())
        .with_timestamp(now());
    Ok(match headers::to_table(application, message.key, message.payload.is_none())? {
        Some(table) => properties.with_headers(table),
        None => properties,
    })
}

fn content_type(content_type: &ContentType) -> Result<ShortString> {
    ShortString::try_new(content_type.as_str())
        .map_err(|cause| Error::new(ErrorKind::Refused, "the content type is longer than 255 bytes").with_source(cause))
}

/// Makes a message id.
pub(crate) fn new_id() -> ShortString {
    Uuid::new_v4().to_string().into()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(headers: &Headers, body: &'static [u8]) -> Envelope {
        let content_type = ContentType::JSON;
        let message =
            Outgoing { payload: Some(body), key: None, content_type: &content_type, headers, partition: None };
        let properties = properties(&message, true, 2).expect("valid");
        let route = Arc::new(Route { exchange: "e".into(), key: "k".into() });
        Envelope { route, body: Bytes::from_static(body), properties }
    }

    #[test]
    fn a_body_above_the_limit_is_too_large() {
        let envelope = envelope(&Headers::new(), b"12345");
        assert!(envelope.check(5, 4096).is_ok());
        assert_eq!(envelope.check(4, 4096).expect_err("too large").kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn headers_that_do_not_fit_into_a_frame_are_too_large() {
        let headers = Headers::new().with("blob", "x".repeat(4096));
        assert_eq!(envelope(&headers, b"").check(100, 4096).expect_err("too large").kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn properties_are_those_of_spring_cloud_stream() {
        let properties = envelope(&Headers::new(), b"").properties;
        assert_eq!(properties.content_type().as_ref().map(ShortString::as_str), Some("application/json"));
        assert_eq!((*properties.delivery_mode(), *properties.priority()), (Some(2), Some(0)));
        let id = properties.message_id().as_ref().expect("an id").to_string();
        assert_eq!(Uuid::parse_str(&id).expect("a UUID").get_version_num(), 4);
        assert!(properties.timestamp().is_some_and(|seconds| seconds > 1_700_000_000));
        assert!(properties.headers().is_none());
    }
}
