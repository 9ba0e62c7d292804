//! Between a payload and its bytes.
//!
//! Which codec is used says the content type: the message's own, else the binding's, else `application/json`. `String`, `Bytes` and
//! `Vec<u8>` are sent and received as they are, whatever the content type says, as Spring Cloud Stream does; only a `String` in a `text/*` with
//! a `charset` is in that: UTF-8, US-ASCII, ISO-8859-1, UTF-16, UTF-16BE or UTF-16LE. A received `Bytes` may share
//! memory with its neighbours, up to 64 KiB on the memory binder, which lives as long as it: copy what is small and kept for long.
//!
//! Every other type goes through serde: `application/json`; `text/plain` for one string, character, number, boolean or enum variant
//! without data; `application/octet-stream` for bytes, a string or a sequence of `u8`; then [the codecs that were added](Codecs::with);
//! then any `*+json` as JSON, with the feature `xml` `application/xml`, `text/xml` and any `*+xml` as XML, and any other `text/*` as plain
//! text. No error holds a piece of the payload.
//!
//! XML is that of [quick-xml](https://docs.rs/quick-xml/latest/quick_xml/de/): a field is an element, `#[serde(rename = "@name")]` an
//! attribute, a list an element for each item, the root has the name of the type. It has at most 16 MiB and 128 elements within each other, and no
//! entities but XML's own.
//!
//! Messages of Protocol Buffers, which serde does not know, are `Protobuf<M>` with the feature `protobuf`.

mod charset;
mod field;
mod json;
mod octets;
#[cfg(feature = "protobuf")]
mod protobuf;
mod quiet;
mod raw;
mod reason;
mod refuse;
mod select;
#[cfg(test)]
mod tests;
mod text;
#[cfg(feature = "xml")]
mod xml;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::field::key_at;
#[cfg(feature = "protobuf")]
pub use self::protobuf::Protobuf;
pub(crate) use self::raw::from_shared;
use self::raw::{from_raw, write_raw};
use self::select::{decode_other, encode_other};
use crate::message::ContentType;
use crate::{Error, ErrorKind, Result};

/// A payload that can be sent: every `Serialize` type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent",
    label = "not a payload that can be sent",
    note = "what is sent implements `serde::Serialize` and is `Send + Sync + 'static`: put `#[derive(serde::Serialize)]` on it"
)]
pub trait Encode: Send + Sync + 'static {
    /// Appends the bytes of this payload in the given content type. After an error `out` may end with a part of them.
    fn encode(&self, codecs: &Codecs, content_type: &ContentType, out: &mut Vec<u8>) -> Result<()>;

    /// Returns the hash code that Java gives to a field of this payload, by which its partition is chosen; an empty path is the payload.
    ///
    /// # Errors
    /// [`Codec`](ErrorKind::Codec) if there is no such field, or it has no hash code.
    fn hash_code(&self, path: &[String]) -> Result<i32>;
}

/// A payload that can be received: every `DeserializeOwned` type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be received",
    label = "not a payload that can be received",
    note = "what is received implements `serde::Deserialize`, borrows nothing and is `Send`: put `#[derive(serde::Deserialize)]` on it"
)]
pub trait Decode: Sized + Send + 'static {
    /// Reads a payload from bytes in the given content type.
    fn decode(codecs: &Codecs, content_type: &ContentType, bytes: &[u8]) -> Result<Self>;
}

/// A payload that can be sent and received.
pub trait Payload: Encode + Decode {}

impl<T: Encode + Decode> Payload for T {}

/// A format beside the built-in ones, for every serde type.
///
/// Its errors must not hold a piece of the payload: they are logged, and go with a dead letter.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Returns whether this codec reads and writes the type; given without parameters.
    fn accepts(&self, essence: &str) -> bool;

    /// Appends the bytes of `value`.
    fn encode(&self, content_type: &ContentType, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()>;

    /// Hands a deserializer over `bytes` to `read`.
    fn decode(
        &self,
        content_type: &ContentType,
        bytes: &[u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> erased_serde::Result<()>,
    ) -> Result<()>;
}

/// The codecs of an application. JSON, text and bytes are always there.
#[derive(Clone, Debug, Default)]
pub struct Codecs(Arc<Vec<Arc<dyn Codec>>>);

impl Codecs {
    /// Creates the built-in set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a codec; it goes before those that were added earlier, and after JSON, `text/plain` and `application/octet-stream`.
    #[must_use]
    pub fn with(self, codec: impl Codec) -> Self {
        let mut all: Vec<_> = self.0.iter().map(Arc::clone).collect();
        all.insert(0, Arc::new(codec));
        Self(Arc::new(all))
    }

    fn find(&self, essence: &str) -> Option<&dyn Codec> {
        self.0.iter().find(|codec| codec.accepts(essence)).map(AsRef::as_ref)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + Send + Sync + 'static> Encode for T {
    #[inline]
    fn encode(&self, codecs: &Codecs, content_type: &ContentType, out: &mut Vec<u8>) -> Result<()> {
        if let Some(written) = write_raw(self, content_type, out) {
            return written;
        }
        if *content_type == ContentType::JSON {
            return serde_json::to_writer(out, self).map_err(|cause| json::unwritten(content_type, &cause));
        }
        encode_other(self, codecs, content_type, out)
    }

    fn hash_code(&self, path: &[String]) -> Result<i32> {
        crate::channel::hash_at(self, path)
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + 'static> Decode for T {
    #[inline]
    fn decode(codecs: &Codecs, content_type: &ContentType, bytes: &[u8]) -> Result<Self> {
        if let Some(payload) = from_raw(content_type, bytes) {
            return payload;
        }
        if *content_type == ContentType::JSON {
            return serde_json::from_slice(bytes).map_err(|cause| json::unread::<T>(content_type, bytes, &cause));
        }
        decode_other(codecs, content_type, bytes)
    }
}

#[cold]
fn unfit(verb: &str, content_type: &ContentType, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Codec, format!("can't {verb} the payload as `{content_type}`: {cause}")).with_source(cause)
}
