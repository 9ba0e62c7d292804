//! What a log keeps of a message.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::binder::Outgoing;
use crate::message::{ContentType, Headers};

/// Length of a part that is not there.
const ABSENT: u32 = u32::MAX;

/// The most bytes that a key and a payload have together.
pub(super) const MAX_BYTES: usize = u32::MAX as usize - 1;

/// A message to be appended.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) payload: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
    kind: Kind,
    extra: Option<Arc<Extra>>,
}

/// Content type in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Absent,
    Json,
    Text,
    Bytes,
    /// Stands in [`Extra`].
    Other,
}

/// What few messages have.
#[derive(Debug)]
pub(super) struct Extra {
    content_type: Option<ContentType>,
    headers: Headers,
}

impl<'a> Record<'a> {
    /// Creates a record; headers are copied only if there are some.
    pub(super) fn new(
        payload: Option<&'a [u8]>,
        key: Option<&'a [u8]>,
        content_type: Option<&ContentType>,
        headers: &Headers,
    ) -> Self {
        let kind = content_type.map_or(Kind::Absent, Kind::of);
        let extra = (kind == Kind::Other || !headers.is_empty()).then(|| {
            let content_type = content_type.filter(|_| kind == Kind::Other).cloned();
            Arc::new(Extra { content_type, headers: headers.clone() })
        });
        Self { payload, key, kind, extra }
    }

    /// Creates a record of what a producer was handed.
    pub(super) fn outgoing(message: &Outgoing<'a>, with_headers: bool) -> Self {
        if with_headers {
            return Self::new(message.payload, message.key, Some(message.content_type), message.headers);
        }
        Self { payload: message.payload, key: message.key, kind: Kind::Absent, extra: None }
    }

    /// Returns how many bytes the record takes.
    pub(super) fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.payload.map_or(0, <[u8]>::len)
    }

    /// Returns what is kept of the record beside its bytes, which start at `offset` of a segment.
    pub(super) fn into_item(self, segment: u32, offset: usize, now: Stamp) -> Item {
        let length = |part: Option<&[u8]>| part.map_or(ABSENT, |bytes| bytes.len() as u32);
        Item {
            segment,
            offset: offset as u32,
            key: length(self.key),
            payload: length(self.payload),
            stamp: now.0 << 8 | self.kind as u64,
            extra: self.extra,
        }
    }
}

impl Kind {
    fn of(content_type: &ContentType) -> Self {
        if *content_type == ContentType::JSON {
            Self::Json
        } else if *content_type == ContentType::TEXT {
            Self::Text
        } else if *content_type == ContentType::BYTES {
            Self::Bytes
        } else {
            Self::Other
        }
    }
}

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// Reads the clock.
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs() * 1000 + u64::from(since.subsec_millis()))
    }
}

/// A message in a log: where its bytes lie, and the little that is not bytes.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) segment: u32,
    offset: u32,
    key: u32,
    payload: u32,
    stamp: u64,
    extra: Option<Arc<Extra>>,
}

static NO_HEADERS: Headers = Headers::new();

impl Item {
    /// Returns a copy whose segment is counted from elsewhere.
    pub(super) fn moved(&self, from: u32, to: u32) -> Self {
        Self { segment: self.segment.wrapping_sub(from).wrapping_add(to), ..self.clone() }
    }

    fn key_range(&self) -> Option<(usize, usize)> {
        let start = self.offset as usize;
        (self.key != ABSENT).then_some((start, start + self.key as usize))
    }

    fn payload_range(&self) -> Option<(usize, usize)> {
        let key = if self.key == ABSENT { 0 } else { self.key as usize };
        let start = self.offset as usize + key;
        (self.payload != ABSENT).then_some((start, start + self.payload as usize))
    }

    /// Returns the payload within the item's segment.
    pub(super) fn payload<'a>(&self, segment: &'a Bytes) -> Option<&'a [u8]> {
        self.payload_range().map(|(start, end)| &segment[start..end])
    }

    /// Returns the key within the item's segment.
    pub(super) fn key<'a>(&self, segment: &'a Bytes) -> Option<&'a [u8]> {
        self.key_range().map(|(start, end)| &segment[start..end])
    }

    /// Returns the payload as a share of the item's segment.
    pub(super) fn payload_bytes(&self, segment: &Bytes) -> Option<Bytes> {
        self.payload_range().map(|(start, end)| segment.slice(start..end))
    }

    /// Returns the key as a share of the item's segment.
    pub(super) fn key_bytes(&self, segment: &Bytes) -> Option<Bytes> {
        self.key_range().map(|(start, end)| segment.slice(start..end))
    }

    /// Returns the content type.
    pub(super) fn content_type(&self) -> Option<ContentType> {
        match self.stamp as u8 {
            kind if kind == Kind::Json as u8 => Some(ContentType::JSON),
            kind if kind == Kind::Text as u8 => Some(ContentType::TEXT),
            kind if kind == Kind::Bytes as u8 => Some(ContentType::BYTES),
            _ => self.extra.as_ref().and_then(|extra| extra.content_type.clone()),
        }
    }

    /// Returns the headers.
    pub(super) fn headers(&self) -> &Headers {
        self.extra.as_ref().map_or(&NO_HEADERS, |extra| &extra.headers)
    }

    /// Returns when it was appended.
    pub(super) fn timestamp(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.stamp >> 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_half_a_cache_line() {
        assert_eq!(size_of::<Item>(), 32);
    }

    #[test]
    fn what_is_absent_differs_from_what_is_empty() {
        let segment = Bytes::from_static(b"kp");
        let headers = Headers::new();
        let item = |key, payload| Record::new(payload, key, None, &headers).into_item(0, 0, Stamp(7));
        let both = item(Some(&b"k"[..]), Some(&b"p"[..]));
        assert_eq!((both.key(&segment), both.payload(&segment)), (Some(&b"k"[..]), Some(&b"p"[..])));
        let empty = item(Some(b""), Some(b""));
        assert_eq!((empty.key(&segment), empty.payload(&segment)), (Some(&b""[..]), Some(&b""[..])));
        let absent = item(None, None);
        assert_eq!((absent.key(&segment), absent.payload(&segment)), (None, None));
        assert_eq!(item(None, Some(b"kp")).payload(&segment), Some(&b"kp"[..]));
    }

    #[test]
    fn content_types_and_time_come_back() {
        let headers = Headers::new();
        for text in ["application/json", "text/plain", "application/octet-stream", "application/xml"] {
            let content_type = ContentType::parse(text);
            let item = Record::new(None, None, Some(&content_type), &headers).into_item(0, 0, Stamp(1234));
            assert_eq!(item.content_type(), Some(content_type));
            assert_eq!(item.timestamp(), UNIX_EPOCH + Duration::from_millis(1234));
        }
        assert_eq!(Record::new(None, None, None, &headers).into_item(0, 0, Stamp(0)).content_type(), None);
    }
}
