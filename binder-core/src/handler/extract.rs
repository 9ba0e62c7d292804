//! Arguments that a handler may take beside its payload.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use uuid::Uuid;

use crate::binder::{BatchView, Metadata};
use crate::message::{HeaderValue, Headers, Message};
use crate::{Error, ErrorKind, Result};

/// A delivery on its way into a handler; borrowed from the client.
#[derive(Clone, Copy)]
pub struct DeliveryRef<'a> {
    pub(crate) view: &'a dyn BatchView,
    pub(crate) index: usize,
    pub(crate) attempt: u32,
    pub(crate) channel: &'a Arc<str>,
}

impl DeliveryRef<'_> {
    /// Returns the payload's bytes; a tombstone has none.
    pub fn payload(&self) -> Option<&[u8]> {
        self.view.payload(self.index)
    }

    /// Returns the key.
    pub fn key(&self) -> Option<&[u8]> {
        self.view.key(self.index)
    }

    /// Returns the last header of this name.
    pub fn header(&self, name: &str) -> Option<HeaderValue> {
        self.view.header(self.index, name)
    }

    /// Returns all headers.
    pub fn headers(&self) -> Headers {
        self.view.headers(self.index)
    }

    /// Returns which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns where it came from.
    pub fn metadata(&self) -> Metadata {
        self.view.metadata(self.index)
    }

    pub(crate) fn to_message<T>(self, payload: Option<T>) -> Message<T> {
        let mut message = payload.map_or_else(Message::tombstone, Message::new).with_headers(self.headers());
        if let Some(key) = self.key() {
            message = message.with_key(Bytes::copy_from_slice(key));
        }
        match self.view.content_type(self.index) {
            Some(content_type) => message.with_content_type(content_type),
            None => message,
        }
    }
}

impl std::fmt::Debug for DeliveryRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryRef")
            .field("channel", self.channel)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// A type that a handler may take as an argument after its payload.
///
/// Called before the handler runs, while the delivery is borrowed; a failure goes to the dead letters unless the error is retryable.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from a delivery",
    label = "not an extractor",
    note = "after the payload a handler takes `State<S>`, `Headers`, `Header<N>`, `Option<Header<N>>`, `Transaction` or `Delivery`; `State<S>` needs `.with_state(..)` with exactly this `S`"
)]
pub trait FromDelivery<S>: Sized {
    /// Whether there is such a value on a `transactional` input only. A handler that takes it is refused on others.
    const NEEDS_TRANSACTION: bool = false;

    /// Takes the value.
    fn from_delivery(delivery: &DeliveryRef<'_>, state: &S) -> Result<Self>;
}

/// State that handlers share, given by [`with_state`](super::HandlerExt::with_state); cloned for each call.
#[derive(Clone, Copy, Debug)]
pub struct State<S>(
    /// The state.
    pub S,
);

impl<S: Clone> FromDelivery<S> for State<S> {
    fn from_delivery(_: &DeliveryRef<'_>, state: &S) -> Result<Self> {
        Ok(Self(state.clone()))
    }
}

impl<S> FromDelivery<S> for Headers {
    fn from_delivery(delivery: &DeliveryRef<'_>, _: &S) -> Result<Self> {
        Ok(delivery.headers())
    }
}

/// What is known of a delivery beside payload, key and headers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The channel.
    pub channel: Arc<str>,
    /// The destination, as the broker calls it.
    pub destination: Arc<str>,
    /// The partition, where the broker has partitions.
    pub partition: Option<u32>,
    /// The offset within the partition, where the broker has one.
    pub offset: Option<u64>,
    /// When the message was sent, if it says so.
    pub timestamp: Option<SystemTime>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How often the broker had delivered it before, as far as it tells.
    pub redelivered: u32,
    /// The key.
    pub key: Option<Bytes>,
}

impl<S> FromDelivery<S> for Delivery {
    fn from_delivery(delivery: &DeliveryRef<'_>, _: &S) -> Result<Self> {
        Ok(Self::of(delivery))
    }
}

impl Delivery {
    pub(crate) fn of(delivery: &DeliveryRef<'_>) -> Self {
        let metadata = delivery.metadata();
        Self {
            channel: Arc::clone(delivery.channel),
            destination: metadata.destination,
            partition: metadata.partition,
            offset: metadata.offset,
            timestamp: metadata.timestamp,
            attempt: delivery.attempt,
            redelivered: metadata.redelivered,
            key: delivery.key().map(Bytes::copy_from_slice),
        }
    }
}

/// The name and type of a header; [`header!`](crate::header) writes it.
pub trait NamedHeader {
    /// The header's name on the wire.
    const NAME: &'static str;
    /// What its value is read into.
    type Value;
    /// Reads a value; `None` if it is of another type.
    fn read(value: &HeaderValue) -> Option<Self::Value>;
}

/// One header by name and type. As an argument of its own it must be there; as `Option` it may be missing, but not of another type.
#[derive(Debug)]
pub struct Header<N: NamedHeader>(
    /// The value.
    pub N::Value,
);

impl<N: NamedHeader, S> FromDelivery<S> for Header<N> {
    fn from_delivery(delivery: &DeliveryRef<'_>, state: &S) -> Result<Self> {
        let found = Option::<Self>::from_delivery(delivery, state)?;
        found.ok_or_else(|| Error::new(ErrorKind::Handler, format!("header `{}` is missing", N::NAME)))
    }
}

impl<N: NamedHeader, S> FromDelivery<S> for Option<Header<N>> {
    fn from_delivery(delivery: &DeliveryRef<'_>, _: &S) -> Result<Self> {
        match delivery.header(N::NAME) {
            None | Some(HeaderValue::Null) => Ok(None),
            Some(value) => match N::read(&value) {
                Some(value) => Ok(Some(Header(value))),
                None => Err(Error::new(ErrorKind::Handler, format!("header `{}` has another type", N::NAME))),
            },
        }
    }
}

/// A type that a header's value can be read into.
pub trait HeaderType: Sized {
    /// Reads a value; `None` if it is of another type.
    fn read(value: &HeaderValue) -> Option<Self>;
}

impl HeaderType for String {
    fn read(value: &HeaderValue) -> Option<Self> {
        if let HeaderValue::Uuid(uuid) = value {
            return Some(uuid.to_string());
        }
        value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned)
    }
}

impl HeaderType for Uuid {
    fn read(value: &HeaderValue) -> Option<Self> {
        value.as_uuid()
    }
}

impl HeaderType for HeaderValue {
    fn read(value: &HeaderValue) -> Option<Self> {
        Some(value.clone())
    }
}

impl HeaderType for Bytes {
    fn read(value: &HeaderValue) -> Option<Self> {
        value.as_bytes().map(Self::copy_from_slice)
    }
}

impl HeaderType for bool {
    fn read(value: &HeaderValue) -> Option<Self> {
        value.as_bool()
    }
}

impl HeaderType for f64 {
    fn read(value: &HeaderValue) -> Option<Self> {
        value.as_f64()
    }
}

macro_rules! integers {
    ($($type:ty),*) => {
        $(impl HeaderType for $type {
            fn read(value: &HeaderValue) -> Option<Self> {
                value.as_i64().and_then(|number| number.try_into().ok())
            }
        })*
    };
}

integers!(i32, i64, u32, u64);

/// Declares a header for [`Header<N>`](crate::handler::Header): `header!(pub Tenant: String = "tenant");`
///
/// The type is `String`, `bool`, `i32`, `i64`, `u32`, `u64`, `f64`, `Bytes`, `uuid::Uuid`, or `HeaderValue`, which takes lists and maps too.
#[macro_export]
macro_rules! header {
    ($(#[$doc:meta])* $visibility:vis $name:ident : $type:ty = $text:literal) => {
        $(#[$doc])*
        #[doc = concat!("The header `", $text, "`.")]
        #[derive(Clone, Copy, Debug)]
        $visibility struct $name;

        impl $crate::handler::NamedHeader for $name {
            const NAME: &'static str = $text;
            type Value = $type;

            fn read(value: &$crate::message::HeaderValue) -> ::core::option::Option<$type> {
                <$type as $crate::__private::HeaderType>::read(value)
            }
        }
    };
}
