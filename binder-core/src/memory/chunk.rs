//! A piece of a log.

use std::ops::Range;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::batch::Batch;
use super::extra::{Extra, Told};
use super::item::{Item, Kind, Place, Record};
use crate::binder::OutgoingBatch;

/// Messages of a chunk, so that a log finds one by dividing, and forgets them without looking at each.
pub(super) const CHUNK: usize = 256;

/// Size of the buffer that messages are copied to, one behind the other.
const SEGMENT: usize = 64 * 1024;

/// Messages that follow each other, their bytes, and what few of them have.
///
/// The bytes of the newest lie in a tail that the chunks of a log use one after the other. Somebody reads them: then the tail so far is
/// *sealed*, that is, split off as a segment that is shared and never copied.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    items: Vec<Item>,
    segments: Vec<Bytes>,
    extras: Vec<Extra>,
}

impl Chunk {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns when its messages were sent.
    pub(super) fn timestamps(&self) -> impl Iterator<Item = SystemTime> {
        self.items.iter().map(Item::timestamp)
    }

    /// Forgets everything and keeps the memory of the lists.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.segments.clear();
        self.extras.clear();
    }

    /// Appends a message, whose bytes go to `tail`.
    #[inline(always)]
    pub(super) fn push(&mut self, record: Record<'_>, tail: &mut BytesMut, now: SystemTime) {
        let (key, payload) = (record.key.unwrap_or_default(), record.payload.unwrap_or_default());
        let wanted = key.len() + payload.len();
        if tail.capacity() - tail.len() < wanted {
            self.renew(tail, wanted);
        }
        if !key.is_empty() {
            tail.extend_from_slice(key);
        }
        let place =
            Place { segment: self.segments.len() as u32, start: tail.len() as u32, extra: self.extras.len() as u32 };
        tail.extend_from_slice(payload);
        let item = record.item(place, now);
        self.items.push(item);
        if item.has_extra() {
            self.extras.push(record.extra());
        }
    }

    /// Appends a message of another chunk, whose segment is shared, and kept as long as the message is; `extra` takes the place of
    /// what it had there.
    pub(super) fn push_again(
        &mut self,
        (item, segment): (&Item, &Bytes),
        extra: Option<Extra>,
        tail: &mut BytesMut,
        now: SystemTime,
    ) {
        self.seal(self.len(), tail);
        if !self.segments.last().is_some_and(|last| last.as_ptr() == segment.as_ptr() && last.len() == segment.len()) {
            self.segments.push(segment.clone());
        }
        let place =
            Place { segment: self.segments.len() as u32 - 1, start: item.place.start, extra: self.extras.len() as u32 };
        self.items.push(item.again(place, extra.is_some(), now));
        self.extras.extend(extra);
    }

    /// Appends messages of a batch that have no extras, copying their bytes at once.
    pub(super) fn push_run(
        &mut self,
        batch: &OutgoingBatch,
        run: Range<usize>,
        kind: Kind,
        tail: &mut BytesMut,
        now: SystemTime,
    ) {
        let items = &batch.items()[run];
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return };
        let bytes = &batch.bytes()[first.start as usize..last.end as usize];
        if tail.capacity() - tail.len() < bytes.len() {
            self.renew(tail, bytes.len());
        }
        let place = Place { segment: self.segments.len() as u32, start: 0, extra: self.extras.len() as u32 };
        // may wrap: what comes out of it lies in the segment again
        let base = (tail.len() as u32).wrapping_sub(first.start);
        tail.extend_from_slice(bytes);
        self.items.extend(items.iter().map(|item| Item::plain(item, base, place, kind, now)));
    }

    #[inline(never)]
    fn renew(&mut self, tail: &mut BytesMut, wanted: usize) {
        self.seal(self.len(), tail);
        *tail = BytesMut::with_capacity(wanted.max(SEGMENT));
    }

    /// Seals the tail if one of the first `count` messages has its bytes there.
    pub(super) fn seal(&mut self, count: usize, tail: &mut BytesMut) {
        let last = count.checked_sub(1).map(|last| self.items[last].place.segment);
        if last == Some(self.segments.len() as u32) {
            self.segments.push(tail.split().freeze());
        }
    }

    /// Reads what dead letters say.
    pub(super) fn told(&self, start: usize, end: usize, told: &mut Vec<Told>) {
        let extra = |item: &Item| item.has_extra().then(|| &self.extras[item.place.extra as usize]);
        told.extend(self.items[start..end].iter().map(|item| extra(item).map_or_else(Told::default, Extra::told)));
    }

    /// Copies sealed messages to a batch, and shares with it what they need.
    pub(super) fn read(&self, start: usize, end: usize, batch: &mut Batch) {
        let items = &self.items[start..end];
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return };
        let segments = first.place.segment as usize..=last.place.segment as usize;
        let extras = first.place.extra as usize..last.place.extra as usize + usize::from(last.has_extra());
        batch.extend(items, &self.segments[segments], &self.extras[extras]);
    }
}
