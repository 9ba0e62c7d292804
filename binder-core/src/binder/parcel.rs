//! A delivery that owns its bytes.

use bytes::{Bytes, BytesMut};

use super::{BatchView, Metadata, Token};
use crate::message::{ContentType, HeaderValue, Headers};

/// A delivery that was copied out of its batch; itself a batch of one.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The payload; `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// The key.
    pub key: Option<Bytes>,
    /// What names the delivery.
    pub token: Token,
    /// The content type, if the message has one.
    pub content_type: Option<ContentType>,
    /// The headers of the application.
    pub headers: Headers,
    /// Where it came from.
    pub metadata: Metadata,
}

impl Parcel {
    /// Copies delivery `index` of `view`: the road for binders that have no cheaper one.
    pub fn copy(view: &dyn BatchView, index: usize, arena: &mut BytesMut) -> Self {
        let mut keep = |bytes: &[u8]| {
            arena.extend_from_slice(bytes);
            arena.split().freeze()
        };
        Self {
            payload: view.payload(index).map(&mut keep),
            key: view.key(index).map(&mut keep),
            token: view.token(index),
            content_type: view.content_type(index),
            headers: view.headers(index),
            metadata: view.metadata(index),
        }
    }
}

impl BatchView for Parcel {
    fn len(&self) -> usize {
        1
    }

    fn payload(&self, _: usize) -> Option<&[u8]> {
        self.payload.as_deref()
    }

    fn payload_bytes(&self, _: usize) -> Option<Bytes> {
        self.payload.clone()
    }

    fn key(&self, _: usize) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn token(&self, _: usize) -> Token {
        self.token
    }

    fn content_type(&self, _: usize) -> Option<ContentType> {
        self.content_type.clone()
    }

    fn header(&self, _: usize, name: &str) -> Option<HeaderValue> {
        self.headers.get(name).cloned()
    }

    fn headers(&self, _: usize) -> Headers {
        self.headers.clone()
    }

    fn metadata(&self, _: usize) -> Metadata {
        self.metadata.clone()
    }

    fn detach(&self, _: usize, _: &mut BytesMut) -> Parcel {
        self.clone()
    }
}
