//! A dead letter in memory.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use binder_core::binder::{ATTEMPTS, DeadLetterDetails, DeadLetterEntry, DeadLetterSource, REDRIVE_COUNT};
use binder_core::{Error, ErrorKind, Result};
use bytes::{BufMut, Bytes, BytesMut};
use rdkafka::Timestamp;
use rdkafka::message::{BorrowedMessage, Headers, Message as _, OwnedHeaders};

use crate::dead_letters::FAILURE;
use crate::headers::{self, Wire};
use crate::returned::{self, First};

/// A record of the dead letters, copied out of the client's memory to one buffer.
pub(crate) struct Letter {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    bytes: Bytes,
    key: Option<Range<usize>>,
    payload: Option<Range<usize>>,
    headers: Vec<Header>,
    told: Told,
    /// The headers of a letter of which one has a name that is no UTF-8: they can be passed on, not read.
    unreadable: Option<OwnedHeaders>,
}

impl Letter {
    /// Copies a record; `headers_size` is a guess, the better the less is copied twice.
    pub(crate) fn copy(message: &BorrowedMessage<'_>, headers_size: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(message.payload_len() + message.key_len() + headers_size);
        let mut keep = |part: &[u8]| {
            let start = bytes.len();
            bytes.put_slice(part);
            start..bytes.len()
        };
        let (key, payload) = (message.key().map(&mut keep), message.payload().map(&mut keep));
        let (mut headers, mut told, mut unreadable) = (Vec::new(), Told::default(), None);
        if let Some(found) = message.headers() {
            headers.reserve(Headers::count(found));
            // the client panics on a name that is no UTF-8
            let read = catch_unwind(AssertUnwindSafe(|| {
                headers.extend(found.iter().map(|header| Header {
                    tells: told.read(header.key, header.value),
                    name: keep(header.key.as_bytes()),
                    value: header.value.map(&mut keep),
                }));
            }));
            if read.is_err() {
                headers.clear();
                told = Told::default();
                unreadable = Some(found.detach());
            }
        }
        let (partition, offset) = (message.partition(), message.offset());
        Self { partition, offset, bytes: bytes.freeze(), key, payload, headers, told, unreadable }
    }

    /// Returns how many bytes it has.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns how many bytes the headers have.
    pub(crate) fn headers_size(&self) -> usize {
        let body = self.key.as_ref().map_or(0, Range::len) + self.payload.as_ref().map_or(0, Range::len);
        self.bytes.len() - body
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.clone().map(|range| &self.bytes[range])
    }

    pub(crate) fn payload(&self) -> Option<&[u8]> {
        self.payload.clone().map(|range| &self.bytes[range])
    }

    /// Tells people of the letter.
    pub(crate) fn entry(self: &Arc<Self>, source: &DeadLetterSource) -> DeadLetterEntry {
        let mut entry = DeadLetterEntry::new(source.clone());
        entry.key = self.key.clone().map(|range| self.bytes.slice(range));
        entry.payload = self.payload.clone().map(|range| self.bytes.slice(range));
        entry.attempts = self.told.attempts;
        entry.redriven = self.told.redriven;
        if let Some(first) = self.told.first() {
            entry.partition = u32::try_from(first.partition).ok();
            entry.offset = u64::try_from(first.offset).ok();
            let millis = first.timestamp.to_millis().and_then(|millis| u64::try_from(millis).ok());
            entry.timestamp =
                millis.and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
        }
        entry.with_details(Arc::clone(self) as _)
    }

    /// Returns headers with which it stays.
    pub(crate) fn staying(&self) -> OwnedHeaders {
        self.unreadable.clone().unwrap_or_else(|| self.written(|_| true))
    }

    /// Returns partition and headers with which it goes back; with the place that it comes from, if only the failed group reads it.
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) if its headers can't be read.
    pub(crate) fn returning(&self, to_all_groups: bool) -> Result<(Option<i32>, OwnedHeaders)> {
        if self.unreadable.is_some() {
            return Err(Error::new(ErrorKind::Refused, "a header has a name that is no UTF-8"));
        }
        let told = &self.told;
        let written = self.written(|tells| tells == Tells::Nothing);
        let count = (u64::from(told.redriven) + 1).to_string();
        let mut written = headers::insert(written, REDRIVE_COUNT, Some(count.as_bytes()));
        let first = told.first();
        if let Some(first) = first.filter(|_| !to_all_groups) {
            written = first.write(written);
        }
        Ok((first.map(|first| first.partition), written))
    }

    fn written(&self, keeps: impl Fn(Tells) -> bool) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.headers.len() + 2);
        let kept = (0..self.count()).filter(|index| keeps(self.headers[*index].tells)).map(|index| self.get(index));
        kept.fold(empty, |written, (name, value)| headers::insert(written, name, value))
    }
}

impl DeadLetterDetails for Letter {
    fn reason(&self) -> Option<String> {
        headers::last(self, "x-exception-message").flatten().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn headers(&self) -> binder_core::message::Headers {
        headers::all(self).into_iter().filter(|(name, _)| !FAILURE.contains(&name.as_ref())).collect()
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Wire for Letter {
    fn count(&self) -> usize {
        self.headers.len()
    }

    fn get(&self, index: usize) -> (&str, Option<&[u8]>) {
        let Header { name, value, .. } = &self.headers[index];
        let name = std::str::from_utf8(&self.bytes[name.clone()]).unwrap_or_default();
        (name, value.clone().map(|range| &self.bytes[range]))
    }
}

/// A header of a letter: where it lies, and whether it tells of the letter.
struct Header {
    name: Range<usize>,
    value: Option<Range<usize>>,
    tells: Tells,
}

/// What a header tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tells {
    /// The message's own.
    Nothing,
    Failure,
    Redrives,
}

/// What the headers of a letter tell, as Spring writes them.
#[derive(Debug, Default)]
struct Told {
    attempts: Option<u32>,
    redriven: u32,
    partition: Option<i32>,
    offset: Option<i64>,
    millis: Option<i64>,
    timestamp: Option<Timestamp>,
}

impl Told {
    /// Reads one of them; of two of one name the last counts.
    fn read(&mut self, name: &str, value: Option<&[u8]>) -> Tells {
        let text = || value.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let number = || text().and_then(|text| text.parse().ok());
        match name {
            REDRIVE_COUNT => {
                self.redriven = number().unwrap_or(0);
                return Tells::Redrives;
            }
            ATTEMPTS => self.attempts = number(),
            "x-original-partition" => self.partition = value.and_then(four),
            "x-original-offset" => self.offset = value.and_then(eight),
            "x-original-timestamp" => self.millis = value.and_then(eight),
            "x-original-timestamp-type" => self.timestamp = text().map(|kind| returned::timestamp(0, kind)),
            _ if FAILURE.contains(&name) => {}
            _ => return Tells::Nothing,
        }
        Tells::Failure
    }

    /// Returns where the letter was received.
    fn first(&self) -> Option<First> {
        let millis = self.millis.unwrap_or(-1);
        let timestamp = match self.timestamp {
            Some(Timestamp::CreateTime(_)) => Timestamp::CreateTime(millis),
            Some(Timestamp::LogAppendTime(_)) => Timestamp::LogAppendTime(millis),
            _ => Timestamp::NotAvailable,
        };
        Some(First { partition: self.partition?, offset: self.offset?, timestamp })
    }
}

fn four(bytes: &[u8]) -> Option<i32> {
    bytes.try_into().ok().map(i32::from_be_bytes)
}

fn eight(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}
