//! A dead letter in memory.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use binder_core::binder::{ATTEMPTS, DeadLetterEntry, REDRIVE_COUNT};
use binder_core::{Error, ErrorKind, Result};
use bytes::{BufMut, Bytes, BytesMut};
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
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
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
        let (mut headers, mut unreadable) = (Vec::new(), None);
        if let Some(found) = message.headers() {
            headers.reserve(Headers::count(found));
            // the client panics on a name that is no UTF-8
            let read = catch_unwind(AssertUnwindSafe(|| {
                headers.extend(found.iter().map(|header| (keep(header.key.as_bytes()), header.value.map(&mut keep))));
            }));
            if read.is_err() {
                headers.clear();
                unreadable = Some(found.detach());
            }
        }
        let (partition, offset) = (message.partition(), message.offset());
        Self { partition, offset, bytes: bytes.freeze(), key, payload, headers, unreadable }
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
    pub(crate) fn entry(&self, source: &Arc<str>, group: &Arc<str>) -> DeadLetterEntry {
        let mut entry = DeadLetterEntry::new(Arc::clone(source), Arc::clone(group));
        entry.key = self.key.clone().map(|range| self.bytes.slice(range));
        entry.payload = self.payload.clone().map(|range| self.bytes.slice(range));
        let told = Told::by(self);
        entry.attempts = told.attempts;
        entry.reason = told.reason.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        entry.redriven = told.redriven;
        if let Some(first) = told.first() {
            entry.partition = u32::try_from(first.partition).ok();
            entry.offset = u64::try_from(first.offset).ok();
            let millis = first.timestamp.to_millis().and_then(|millis| u64::try_from(millis).ok());
            entry.timestamp =
                millis.and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
        }
        let all = headers::all(self).into_iter();
        entry.headers = all.filter(|(name, _)| !is_of_failure(name)).collect();
        entry
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
        let told = Told::by(self);
        let written = self.written(|name| !is_of_failure(name) && name != REDRIVE_COUNT);
        let count = (u64::from(told.redriven) + 1).to_string();
        let mut written = headers::insert(written, REDRIVE_COUNT, Some(count.as_bytes()));
        let first = told.first();
        if let Some(first) = first.filter(|_| !to_all_groups) {
            written = first.write(written);
        }
        Ok((first.map(|first| first.partition), written))
    }

    fn written(&self, keeps: impl Fn(&str) -> bool) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.headers.len() + 2);
        let kept = (0..self.count()).map(|index| self.get(index)).filter(|(name, _)| keeps(name));
        kept.fold(empty, |written, (name, value)| headers::insert(written, name, value))
    }
}

impl Wire for Letter {
    fn count(&self) -> usize {
        self.headers.len()
    }

    fn get(&self, index: usize) -> (&str, Option<&[u8]>) {
        let (name, value) = self.headers[index].clone();
        let name = std::str::from_utf8(&self.bytes[name]).unwrap_or_default();
        (name, value.map(|range| &self.bytes[range]))
    }
}

fn is_of_failure(name: &str) -> bool {
    FAILURE.contains(&name)
}

/// What the headers of a letter tell, as Spring writes them.
#[derive(Default)]
struct Told<'a> {
    attempts: Option<u32>,
    reason: Option<&'a [u8]>,
    redriven: u32,
    partition: Option<i32>,
    offset: Option<i64>,
    millis: Option<i64>,
    kind: Option<&'a str>,
}

impl<'a> Told<'a> {
    /// Reads them once; of two of one name the last counts.
    fn by(letter: &'a Letter) -> Self {
        let mut told = Self::default();
        for (name, value) in (0..letter.count()).map(|index| letter.get(index)) {
            let text = || value.and_then(|bytes| std::str::from_utf8(bytes).ok());
            let number = || text().and_then(|text| text.parse().ok());
            match name {
                ATTEMPTS => told.attempts = number(),
                REDRIVE_COUNT => told.redriven = number().unwrap_or(0),
                "x-exception-message" => told.reason = value,
                "x-original-partition" => told.partition = value.and_then(four),
                "x-original-offset" => told.offset = value.and_then(eight),
                "x-original-timestamp" => told.millis = value.and_then(eight),
                "x-original-timestamp-type" => told.kind = text(),
                _ => {}
            }
        }
        told
    }

    /// Returns where the letter was received.
    fn first(&self) -> Option<First> {
        let timestamp = returned::timestamp(self.millis.unwrap_or(-1), self.kind.unwrap_or_default());
        Some(First { partition: self.partition?, offset: self.offset?, timestamp })
    }
}

fn four(bytes: &[u8]) -> Option<i32> {
    bytes.try_into().ok().map(i32::from_be_bytes)
}

fn eight(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}
