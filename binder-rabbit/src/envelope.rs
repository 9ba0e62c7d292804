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

/// What [`Plain`] properties take on the wire beside content type and key.
const PLAIN_OVERHEAD: usize = 70;

const CONTENT_TYPE_TOO_LONG: &str = "the content type is longer than 255 bytes";

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
    pub(crate) properties: Properties,
}

/// The properties of a message that may have to be sent again.
#[derive(Debug)]
pub(crate) enum Properties {
    /// As the client wants them.
    Whole(Box<BasicProperties>),
    /// What they are made of, for a message without headers of the application: the client takes them by value, and to make them again
    /// is rare, while a copy of them costs a quarter of all that a send allocates.
    Plain(Plain),
}

/// See [`Properties::Plain`].
#[derive(Debug)]
pub(crate) struct Plain {
    content_type: ContentType,
    delivery_mode: u8,
    id: Uuid,
    timestamp: u64,
    key: Option<Bytes>,
}

impl Plain {
    /// Makes the properties of an outgoing message, without the headers of the application.
    pub(crate) fn new(content_type: &ContentType, key: Option<Bytes>, delivery_mode: u8) -> Result<Self> {
        if content_type.as_str().len() > usize::from(u8::MAX) {
            return Err(Error::new(ErrorKind::Refused, CONTENT_TYPE_TOO_LONG));
        }
        let (content_type, id, timestamp) = (content_type.clone(), Uuid::new_v4(), now());
        Ok(Self { content_type, delivery_mode, id, timestamp, key })
    }

    fn make(&self) -> BasicProperties {
        let mut buffer = Uuid::encode_buffer();
        let id: &str = self.id.hyphenated().encode_lower(&mut buffer);
        let made = BasicProperties::default()
            .with_content_type(self.content_type.as_str().into())
            .with_delivery_mode(self.delivery_mode)
            .with_priority(0)
            .with_message_id(id.into())
            .with_timestamp(self.timestamp);
        match self.key.as_deref() {
            Some(key) => made.with_headers(headers::key_table(key)),
            None => made,
        }
    }
}

impl Properties {
    /// Makes what the client takes.
    pub(crate) fn make(&self) -> BasicProperties {
        match self {
            Self::Whole(properties) => BasicProperties::clone(properties),
            Self::Plain(plain) => plain.make(),
        }
    }

    /// Returns how many bytes they may take on the wire, or nothing where they always fit.
    fn encoded_len(&self) -> Option<usize> {
        match self {
            Self::Whole(properties) => {
                properties.headers().as_ref()?;
                Some(headers::encoded_len(properties))
            }
            Self::Plain(plain) => {
                plain.key.as_ref().map(|key| PLAIN_OVERHEAD + plain.content_type.as_str().len() + key.len())
            }
        }
    }
}

impl Envelope {
    /// Refuses what would make the broker close the channel or the connection.
    pub(crate) fn check(&self, max_message_size: usize, frame_max: usize) -> Result<()> {
        check_body(self.body.len(), max_message_size)?;
        let Some(properties) = self.properties.encoded_len() else { return Ok(()) };
        let properties = properties + FRAME_OVERHEAD;
        if properties > frame_max {
            let text = format!("the headers take {properties} bytes, a frame holds {frame_max}");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok(())
    }

    /// Returns whether this is its id, which the broker quotes when it returns the message.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        match &self.properties {
            Properties::Whole(properties) => properties.message_id().as_ref().is_some_and(|own| own.as_str() == id),
            Properties::Plain(plain) => *plain.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *id,
        }
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
        .map_err(|cause| Error::new(ErrorKind::Refused, CONTENT_TYPE_TOO_LONG).with_source(cause))
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
        Envelope { route, body: Bytes::from_static(body), properties: Properties::Whole(Box::new(properties)) }
    }

    fn plain(key: Option<&'static [u8]>) -> Plain {
        Plain::new(&ContentType::JSON, key.map(Bytes::from_static), 2).expect("valid")
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
        for properties in [envelope(&Headers::new(), b"").properties, Properties::Plain(plain(None))] {
            check_properties(&properties.make());
        }
    }

    fn check_properties(properties: &BasicProperties) {
        assert_eq!(properties.content_type().as_ref().map(ShortString::as_str), Some("application/json"));
        assert_eq!((*properties.delivery_mode(), *properties.priority()), (Some(2), Some(0)));
        let id = properties.message_id().as_ref().expect("an id").to_string();
        assert_eq!(Uuid::parse_str(&id).expect("a UUID").get_version_num(), 4);
        assert!(properties.timestamp().is_some_and(|seconds| seconds > 1_700_000_000));
        assert!(properties.headers().is_none());
    }
    #[test]
    fn plain_properties_are_the_same_each_time_they_are_made() {
        let plain = plain(Some(b"order-1"));
        assert_eq!(plain.make(), plain.make());
    }

    #[test]
    fn plain_properties_are_those_of_a_message_without_headers() {
        for key in [&b"order-1"[..], &[0xff, 0x00]] {
            let message = Outgoing {
                payload: Some(b""),
                key: Some(key),
                content_type: &ContentType::JSON,
                headers: &Headers::new(),
                partition: None,
            };
            let plain = plain(Some(key));
            let id = plain.id.to_string();
            let whole = properties(&message, true, 2).expect("valid").with_timestamp(plain.timestamp);
            assert_eq!(plain.make(), whole.with_message_id(id.as_str().into()));
            let length = Properties::Plain(plain).encoded_len();
            assert_eq!(length, Some(headers::encoded_len(&properties(&message, true, 2).expect("valid"))));
        }
    }

    #[test]
    fn a_returned_message_is_known_by_its_id() {
        let whole = envelope(&Headers::new(), b"");
        let plain = Envelope { properties: Properties::Plain(plain(None)), ..envelope(&Headers::new(), b"") };
        for (own, other) in [(&whole, &plain), (&plain, &whole)] {
            let made = own.properties.make();
            let id = made.message_id().as_ref().expect("an id").as_str();
            assert!(own.has_id(id) && !other.has_id(id));
        }
    }

    #[test]
    fn a_content_type_that_is_too_long_is_refused() {
        let content_type = ContentType::parse(&"x".repeat(256));
        assert_eq!(Plain::new(&content_type, None, 2).expect_err("too long").kind(), ErrorKind::Refused);
    }
}
