//! Deliveries that are still in the client's memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use binder_core::binder::{BatchView, LaneId, Metadata, Native, Parcel, Token};
use binder_core::message::{ContentType, HeaderValue, Headers, names};
use bytes::{Bytes, BytesMut};
use rdkafka::Timestamp;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Message as _};

use crate::embedded::{Frame, MARK};
use crate::headers::{self, Raw};
use crate::returned::{self, First, Return};

/// A batch that borrows the client's messages.
pub(crate) struct KafkaView<'a> {
    pub(crate) messages: Vec<(BorrowedMessage<'a>, LaneId)>,
    pub(crate) topics: &'a [Arc<str>],
    pub(crate) returns: &'a [Return],
    pub(crate) reads_headers: bool,
    pub(crate) reads_embedded: bool,
}

/// What a dead letter needs beside the parcel.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) headers: Raw,
    pub(crate) timestamp: Timestamp,
}

impl KafkaView<'_> {
    fn message(&self, index: usize) -> &BorrowedMessage<'_> {
        &self.messages[index].0
    }

    /// Reads headers. The client panics on a header name that is no UTF-8: such a message counts as one without headers.
    fn read<R>(&self, index: usize, read: impl FnOnce(&BorrowedHeaders) -> R) -> Option<R> {
        if !self.reads_headers {
            return None;
        }
        let found = self.message(index).headers()?;
        catch_unwind(AssertUnwindSafe(|| read(found))).ok()
    }
}

impl KafkaView<'_> {
    /// Returns the payload of a record with what stands in front of it, if that is looked for.
    fn frame(&self, index: usize) -> Option<Frame<'_>> {
        let message = self.message(index);
        match message.payload() {
            Some(value @ [MARK, ..]) if self.reads_embedded && !self.says_content_type(message) => Frame::parse(value),
            _ => None,
        }
    }

    /// Whether a record has a content type of its own.
    fn says_content_type(&self, message: &BorrowedMessage<'_>) -> bool {
        let Some(found) = message.headers() else { return false };
        let says = || headers::last(found, names::CONTENT_TYPE).is_some();
        catch_unwind(AssertUnwindSafe(says)).unwrap_or(true)
    }

    /// Returns how a record comes back to the group, if it does.
    fn returned(&self, index: usize) -> Option<&Return> {
        let topic = self.message(index).topic();
        if self.topics.iter().any(|known| known.as_ref() == topic) {
            return None;
        }
        self.returns.iter().find(|known| known.topic.as_ref() == topic)
    }

    /// Reads what the headers of a record say that comes back, whatever the application reads.
    fn read_ours<R>(&self, index: usize, read: impl FnOnce(&BorrowedHeaders) -> R) -> Option<R> {
        let found = self.message(index).headers()?;
        catch_unwind(AssertUnwindSafe(|| read(found))).ok()
    }
}

impl BatchView for KafkaView<'_> {
    fn len(&self) -> usize {
        self.messages.len()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        match self.message(index).payload() {
            value @ Some([MARK, ..]) => self.frame(index).map(|frame| frame.payload).or(value),
            value => value,
        }
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.message(index).key()
    }

    fn token(&self, index: usize) -> Token {
        let (message, lane) = &self.messages[index];
        Token { lane: *lane, sequence: message.offset().unsigned_abs() }
    }

    fn content_type(&self, index: usize) -> Option<ContentType> {
        if let Some(frame) = self.frame(index) {
            return frame.content_type();
        }
        self.read(index, headers::content_type)?
    }

    fn run_end(&self, index: usize) -> usize {
        let lane = self.messages[index].1;
        let run = self.messages[index..].iter().take_while(|(_, other)| *other == lane);
        index + run.count()
    }

    fn header(&self, index: usize, name: &str) -> Option<HeaderValue> {
        let own = self.read(index, |found| headers::find(found, name)).flatten();
        own.or_else(|| self.frame(index)?.find(name))
    }

    fn headers(&self, index: usize) -> Headers {
        let own = self.read(index, headers::all).unwrap_or_default();
        match self.frame(index) {
            Some(frame) => frame.all().into_iter().chain(own).collect(),
            None => own,
        }
    }

    fn metadata(&self, index: usize) -> Metadata {
        let message = self.message(index);
        let topic = message.topic();
        let known = self.topics.iter().find(|known| known.as_ref() == topic);
        let back = if known.is_some() { None } else { self.returned(index) };
        let known = known.or(back.map(|back| &back.source));
        let first = back.and_then(|_| self.read_ours(index, First::read)).flatten();
        let (partition, offset, timestamp) = match first {
            Some(first) => (first.partition, first.offset, first.timestamp),
            None => (message.partition(), message.offset(), message.timestamp()),
        };
        let mut metadata = Metadata::new(known.map_or_else(|| topic.into(), Arc::clone));
        metadata.partition = u32::try_from(partition).ok();
        metadata.offset = u64::try_from(offset).ok();
        metadata.timestamp = timestamp.to_millis().and_then(time);
        metadata
    }

    fn attempt(&self, index: usize) -> u32 {
        let attempt = self.returned(index).and_then(|_| self.read_ours(index, returned::attempt));
        attempt.unwrap_or(1)
    }

    fn detach(&self, index: usize, arena: &mut BytesMut) -> Parcel {
        let mut parcel = Parcel::copy(self, index, arena);
        let keep = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        // also where headers are not read: a dead letter carries them all the same
        let found = self.message(index).headers();
        let raw = found.and_then(|found| catch_unwind(AssertUnwindSafe(|| headers::raw(found, keep))).ok());
        let mut origin = Origin { headers: raw.unwrap_or_default(), timestamp: self.message(index).timestamp() };
        if let Some(frame) = self.frame(index) {
            // the parcel's payload has nothing in front any more: elsewhere the headers are the record's own
            let written = headers::write_some(frame.content_type().as_ref(), &parcel.headers);
            origin.headers = headers::raw(&written, keep);
        }
        if self.returned(index).is_some() {
            origin.headers.retain(|(name, _)| !returned::is_ours(name));
            let first = self.read_ours(index, First::read).flatten();
            origin.timestamp = first.map_or(origin.timestamp, |first| first.timestamp);
        }
        parcel.metadata.native = Some(Native::new(origin));
        parcel
    }
}

fn time(millis: i64) -> Option<SystemTime> {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    if millis < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) }
}
