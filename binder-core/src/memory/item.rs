//! What a log keeps of a message.

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;

use super::extra::{Extra, NO_HEADERS};
use crate::binder::{Outgoing, Parcel, outgoing};
use crate::message::{ContentType, Headers};

/// Length of a part that is not there.
const ABSENT: u32 = u32::MAX;

/// The most bytes that a key and a payload have together.
pub(super) const MAX_BYTES: usize = u32::MAX as usize - 1;

/// A message to be appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) payload: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) content_type: Option<&'a ContentType>,
    pub(super) beside: Beside<'a>,
}

/// What a record brings for its [`Extra`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Beside<'a> {
    Headers(&'a Headers),
    Extra(&'a Extra),
}

/// Content type in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Absent,
    Json,
    Text,
    Bytes,
    /// Stands in [`Extra`].
    Other,
}

impl<'a> Record<'a> {
    /// Creates a record of what a producer was handed.
    #[inline(always)]
    pub(super) fn outgoing(message: &Outgoing<'a>, with_headers: bool) -> Self {
        let Outgoing { payload, key, .. } = *message;
        if with_headers {
            let (content_type, beside) = (Some(message.content_type), Beside::Headers(message.headers));
            return Self { payload, key, content_type, beside };
        }
        Self { payload, key, content_type: None, beside: Beside::Headers(&NO_HEADERS) }
    }

    /// Creates a record of what a consumer was handed.
    pub(super) fn parcel(parcel: &'a Parcel, beside: Beside<'a>) -> Self {
        Self {
            payload: parcel.payload.as_deref(),
            key: parcel.key.as_deref(),
            content_type: parcel.content_type.as_ref(),
            beside,
        }
    }

    /// Returns what is kept of the record beside its bytes; where they lie is told by the caller.
    #[inline(always)]
    pub(super) fn item(&self, place: Place, now: SystemTime) -> Item {
        let length = |part: Option<&[u8]>| part.map_or(ABSENT, |bytes| bytes.len() as u32);
        let kind = self.content_type.map_or(Kind::Absent, Kind::of);
        let has_extra = match self.beside {
            Beside::Headers(headers) => kind == Kind::Other || !headers.is_empty(),
            Beside::Extra(_) => true,
        };
        Item { place, key: length(self.key), payload: length(self.payload), kind, has_extra, timestamp: now }
    }

    /// Returns what few messages have.
    #[inline(never)]
    pub(super) fn extra(&self) -> Extra {
        match self.beside {
            Beside::Headers(headers) => Extra::new(self.content_type, headers.clone()),
            Beside::Extra(extra) => extra.clone(),
        }
    }
}

impl Kind {
    #[inline]
    pub(super) fn of(content_type: &ContentType) -> Self {
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

/// Where the parts of a message lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Index of the segment with key and payload.
    pub(super) segment: u32,
    /// Where the payload starts there; the key ends here.
    pub(super) start: u32,
    /// Index of the extra, if it has one; else that of the next one that somebody has.
    pub(super) extra: u32,
}

/// A message in a log: where its bytes lie, and the little that is not bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    key: u32,
    payload: u32,
    kind: Kind,
    has_extra: bool,
    timestamp: SystemTime,
}

impl Item {
    /// Returns what is kept of a message without an extra; `base` is where the bytes of its batch begin in the segment.
    #[inline]
    pub(super) fn plain(item: &outgoing::Item, base: u32, place: Place, kind: Kind, now: SystemTime) -> Self {
        Self {
            place: Place { start: base.wrapping_add(item.payload), ..place },
            key: if item.has_key { item.payload - item.start } else { ABSENT },
            payload: if item.has_payload { item.end - item.payload } else { ABSENT },
            kind,
            has_extra: false,
            timestamp: now,
        }
    }

    /// Returns what is kept of the same message in another place.
    pub(super) fn again(&self, place: Place, has_extra: bool, now: SystemTime) -> Self {
        Self { place, has_extra, timestamp: now, ..*self }
    }

    /// Returns whether there is an extra.
    pub(super) fn has_extra(&self) -> bool {
        self.has_extra
    }

    fn payload_range(&self) -> Option<Range<usize>> {
        let start = self.place.start as usize;
        (self.payload != ABSENT).then(|| start..start + self.payload as usize)
    }

    fn key_range(&self) -> Option<Range<usize>> {
        let end = self.place.start as usize;
        (self.key != ABSENT).then(|| end - self.key as usize..end)
    }

    /// Returns the payload within the item's segment.
    pub(super) fn payload<'a>(&self, segment: &'a Bytes) -> Option<&'a [u8]> {
        self.payload_range().map(|range| &segment[range])
    }

    /// Returns the key within the item's segment.
    pub(super) fn key<'a>(&self, segment: &'a Bytes) -> Option<&'a [u8]> {
        self.key_range().map(|range| &segment[range])
    }

    /// Returns the payload as a share of the item's segment.
    pub(super) fn payload_bytes(&self, segment: &Bytes) -> Option<Bytes> {
        self.payload_range().map(|range| segment.slice(range))
    }

    /// Returns the key as a share of the item's segment.
    pub(super) fn key_bytes(&self, segment: &Bytes) -> Option<Bytes> {
        self.key_range().map(|range| segment.slice(range))
    }

    /// Returns the content type; `extra` is the item's own.
    #[inline]
    pub(super) fn content_type<'a>(&self, extra: impl FnOnce() -> Option<&'a Extra>) -> Option<ContentType> {
        match self.kind {
            Kind::Json => Some(ContentType::JSON),
            Kind::Text => Some(ContentType::TEXT),
            Kind::Bytes => Some(ContentType::BYTES),
            Kind::Absent => None,
            Kind::Other => extra()?.content_type().cloned(),
        }
    }

    /// Returns when it was appended.
    pub(super) fn timestamp(&self) -> SystemTime {
        self.timestamp
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn item(record: &Record<'_>) -> Item {
        let start = record.key.map_or(0, <[u8]>::len) as u32;
        record.item(Place { segment: 0, start, extra: 0 }, UNIX_EPOCH)
    }

    #[test]
    fn what_is_absent_differs_from_what_is_empty() {
        let segment = Bytes::from_static(b"kp");
        let beside = Beside::Headers(&NO_HEADERS);
        let item = |key, payload| item(&Record { payload, key, content_type: None, beside });
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
        let headers = Headers::new().with("n", 1);
        for text in ["application/json", "text/plain", "application/octet-stream", "application/xml"] {
            let content_type = ContentType::parse(text);
            let beside = Beside::Headers(&headers);
            let record = Record { payload: None, key: None, content_type: Some(&content_type), beside };
            let (item, extra) = (item(&record), record.extra());
            assert_eq!(item.content_type(|| Some(&extra)), Some(content_type));
            assert_eq!(item.timestamp(), UNIX_EPOCH);
        }
        let without = Record { payload: None, key: None, content_type: None, beside: Beside::Headers(&headers) };
        assert_eq!(item(&without).content_type(|| None), None);
    }
}
