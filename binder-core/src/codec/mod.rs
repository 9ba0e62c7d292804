//! Between a payload and its bytes.
//!
//! Which codec is used says the content type: the message's own, else the binding's, else `application/json`. `String`, `Bytes` and
//! `Vec<u8>` are sent and received as they are, whatever the content type says, as Spring Cloud Stream does.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::ContentType;
use crate::{Error, ErrorKind, Result};

/// A payload that can be sent: every `Serialize` type.
pub trait Encode: Send + Sync + 'static {
    /// Appends the bytes of this payload in the given content type.
    fn encode(&self, codecs: &Codecs, content_type: &ContentType, out: &mut Vec<u8>) -> Result<()>;
}

/// A payload that can be received: every `DeserializeOwned` type.
pub trait Decode: Sized + Send + 'static {
    /// Reads a payload from bytes in the given content type.
    fn decode(codecs: &Codecs, content_type: &ContentType, bytes: &[u8]) -> Result<Self>;
}

/// A payload that can be sent and received.
pub trait Payload: Encode + Decode {}

impl<T: Encode + Decode> Payload for T {}

/// A format beside the built-in ones, for every serde type.
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

    /// Adds a codec; it goes before those that were added earlier, and after the built-in ones.
    #[must_use]
    pub fn with(self, codec: impl Codec) -> Self {
        let mut all: Vec<_> = self.0.iter().map(Arc::clone).collect();
        all.insert(0, Arc::new(codec));
        Self(Arc::new(all))
    }

    fn find(&self, content_type: &ContentType) -> Option<&dyn Codec> {
        let essence = content_type.essence();
        self.0.iter().find(|codec| codec.accepts(essence)).map(AsRef::as_ref)
    }
}

impl<T: Serialize + Send + Sync + 'static> Encode for T {
    #[inline]
    fn encode(&self, codecs: &Codecs, content_type: &ContentType, out: &mut Vec<u8>) -> Result<()> {
        if let Some(bytes) = as_raw(self) {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        if *content_type == ContentType::JSON {
            return serde_json::to_writer(out, self).map_err(|cause| unfit("write", content_type, cause));
        }
        encode_other(self, codecs, content_type, out)
    }
}

impl<T: DeserializeOwned + Send + 'static> Decode for T {
    #[inline]
    fn decode(codecs: &Codecs, content_type: &ContentType, bytes: &[u8]) -> Result<Self> {
        if let Some(payload) = from_raw(bytes) {
            return payload;
        }
        if *content_type == ContentType::JSON {
            return serde_json::from_slice(bytes).map_err(|cause| unfit("read", content_type, cause));
        }
        decode_other(codecs, content_type, bytes)
    }
}

/// Returns the bytes of a payload that is bytes already. The comparison of types costs nothing at run time.
#[inline]
fn as_raw(value: &dyn Any) -> Option<&[u8]> {
    let text = || value.downcast_ref::<String>().map(String::as_bytes);
    let bytes = || value.downcast_ref::<Bytes>().map(AsRef::as_ref);
    let vec = || value.downcast_ref::<Vec<u8>>().map(Vec::as_slice);
    text().or_else(bytes).or_else(vec)
}

/// Makes a payload that is bytes already; `None` for every other type.
#[inline]
fn from_raw<T: 'static>(bytes: &[u8]) -> Option<Result<T>> {
    let mut found: Option<T> = None;
    let target = &mut found as &mut dyn Any;
    if let Some(slot) = target.downcast_mut::<Option<Bytes>>() {
        *slot = Some(Bytes::copy_from_slice(bytes));
    } else if let Some(slot) = target.downcast_mut::<Option<Vec<u8>>>() {
        *slot = Some(bytes.to_vec());
    } else if let Some(slot) = target.downcast_mut::<Option<String>>() {
        match std::str::from_utf8(bytes) {
            Ok(text) => *slot = Some(text.to_owned()),
            Err(cause) => return Some(Err(unfit("read", &ContentType::TEXT, cause))),
        }
    }
    found.map(Ok)
}

#[cold]
fn encode_other<T: Serialize>(value: &T, codecs: &Codecs, content_type: &ContentType, out: &mut Vec<u8>) -> Result<()> {
    match content_type.essence() {
        "application/json" => serde_json::to_writer(out, value).map_err(|cause| unfit("write", content_type, cause)),
        _ => match codecs.find(content_type) {
            Some(codec) => codec.encode(content_type, &value, out),
            None => Err(unknown(content_type)),
        },
    }
}

#[cold]
fn decode_other<T: DeserializeOwned>(codecs: &Codecs, content_type: &ContentType, bytes: &[u8]) -> Result<T> {
    match content_type.essence() {
        "application/json" => serde_json::from_slice(bytes).map_err(|cause| unfit("read", content_type, cause)),
        _ => {
            let codec = codecs.find(content_type).ok_or_else(|| unknown(content_type))?;
            let mut payload = None;
            codec.decode(content_type, bytes, &mut |reader| {
                payload = Some(erased_serde::deserialize(reader)?);
                Ok(())
            })?;
            payload.ok_or_else(|| Error::new(ErrorKind::Codec, format!("the codec of `{content_type}` read nothing")))
        }
    }
}

#[cold]
fn unfit(verb: &str, content_type: &ContentType, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Codec, format!("can't {verb} the payload as `{content_type}`: {cause}")).with_source(cause)
}

#[cold]
fn unknown(content_type: &ContentType) -> Error {
    Error::new(
        ErrorKind::Codec,
        format!(
            "no codec for content type `{content_type}`; there are application/json, text/plain, application/octet-stream and those that were added to the application"
        ),
    )
}
