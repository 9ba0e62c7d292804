//! A message: payload, key and headers.

mod content_type;
mod headers;
mod value;

use bytes::Bytes;

pub use content_type::ContentType;
pub use headers::{Headers, Name};
pub use value::HeaderValue;

/// Names of headers that mean something to every binder.
pub mod names {
    /// MIME type of the payload.
    pub const CONTENT_TYPE: &str = "contentType";
    /// Key of a message on a broker whose messages have none.
    pub const MESSAGE_KEY: &str = "messageKey";
    /// Correlation id; a processor's output inherits it.
    pub const CORRELATION_ID: &str = "correlationId";
}

/// A payload of type `T` with a key and headers; without payload it is a *tombstone*.
///
/// ```
/// use binder_core::message::Message;
///
/// let message = Message::new("paid").with_key("order-1").with_header("tenant", "acme");
/// assert_eq!(message.payload(), Some(&"paid"));
/// assert_eq!(message.headers().get("tenant").and_then(|value| value.as_str()), Some("acme"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Message<T> {
    payload: Option<T>,
    key: Option<Bytes>,
    headers: Headers,
    content_type: Option<ContentType>,
    partition: Option<u32>,
}

impl<T> Message<T> {
    /// Creates a message with a payload.
    pub fn new(payload: T) -> Self {
        Self { payload: Some(payload), ..Self::tombstone() }
    }

    /// Creates a message without payload: on a compacted topic, "this key is gone".
    pub fn tombstone() -> Self {
        Self { payload: None, key: None, headers: Headers::new(), content_type: None, partition: None }
    }

    /// Sets the key: messages of one key keep their order.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Appends a header; one of the same name that is there already stays.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Name>, value: impl Into<HeaderValue>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Replaces all headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the content type; it wins over the binding's.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<ContentType>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets the partition; it wins over every other choice.
    #[must_use]
    pub fn with_partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Returns the payload; a tombstone has none.
    pub fn payload(&self) -> Option<&T> {
        self.payload.as_ref()
    }

    /// Takes the payload out; a tombstone has none.
    pub fn into_payload(self) -> Option<T> {
        self.payload
    }

    /// Returns whether there is no payload.
    pub fn is_tombstone(&self) -> bool {
        self.payload.is_none()
    }

    /// Returns the key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Returns the key as text, if it is UTF-8.
    pub fn key_str(&self) -> Option<&str> {
        self.key().and_then(|key| std::str::from_utf8(key).ok())
    }

    /// Returns the headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Returns the content type, if the message has one of its own.
    pub fn content_type(&self) -> Option<&ContentType> {
        self.content_type.as_ref()
    }

    /// Returns the partition that was asked for.
    pub fn partition(&self) -> Option<u32> {
        self.partition
    }

    /// Changes the payload, keeps all else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Message<U> {
        Message {
            payload: self.payload.map(change),
            key: self.key,
            headers: self.headers,
            content_type: self.content_type,
            partition: self.partition,
        }
    }
}

impl<T> From<T> for Message<T> {
    fn from(payload: T) -> Self {
        Self::new(payload)
    }
}
