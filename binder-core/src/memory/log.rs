//! The log of one partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use super::batch::Batch;
use super::item::{Item, Record, Stamp};
use super::mailbox::Mailbox;
use crate::config::Start;

/// Size of the buffer that messages are copied to, one behind the other.
const SEGMENT: usize = 64 * 1024;

/// Names a group within its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupId(pub(super) u64);

/// How far a group has come in a partition, and who reads it.
#[derive(Debug)]
struct Cursor {
    group: GroupId,
    committed: u64,
    reader: Option<Arc<Mailbox>>,
}

/// What a settlement changed.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Senders for which there is room now.
    pub(super) wakers: Vec<Waker>,
    /// Whether the group has nothing left here.
    pub(super) drained: bool,
}

/// Messages in the order in which they came.
///
/// Their bytes lie in `tail` until somebody reads them: then the tail so far is sealed, that is, split off as a segment that is shared and
/// never copied. An item says in which segment its bytes are, and where.
#[derive(Debug)]
pub(super) struct Log {
    retention: usize,
    first: u64,
    items: VecDeque<Item>,
    first_segment: u32,
    segments: VecDeque<Bytes>,
    tail: BytesMut,
    /// Below, every group has settled; may lag behind.
    settled: u64,
    cursors: Vec<Cursor>,
    writers: Vec<Waker>,
}

impl Log {
    pub(super) fn new(retention: usize) -> Self {
        Self {
            retention,
            first: 0,
            items: VecDeque::new(),
            first_segment: 0,
            segments: VecDeque::new(),
            tail: BytesMut::new(),
            settled: 0,
            cursors: Vec::new(),
            writers: Vec::new(),
        }
    }

    /// Returns the offset of the oldest message that is kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the offset of the next message.
    pub(super) fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// Returns whether so many messages can be appended without dropping one that a group has not settled. A batch above the retention has room
    /// when everything is settled.
    pub(super) fn has_room(&mut self, count: usize) -> bool {
        self.fits(count) || {
            let lowest = self.cursors.iter().map(|cursor| cursor.committed).min();
            self.settled = lowest.unwrap_or_else(|| self.end());
            self.settled == self.end() || self.fits(count)
        }
    }

    fn fits(&self, count: usize) -> bool {
        (self.end() - self.settled) as usize + count <= self.retention
    }

    /// Appends a message; the caller has asked for [room](Self::has_room).
    pub(super) fn append(&mut self, record: Record<'_>, now: Stamp) {
        let wanted = record.bytes();
        if self.tail.capacity() - self.tail.len() < wanted {
            self.open_tail(wanted);
        }
        let offset = self.tail.len();
        self.tail.extend_from_slice(record.key.unwrap_or_default());
        self.tail.extend_from_slice(record.payload.unwrap_or_default());
        while self.items.len() >= self.retention && self.first < self.settled {
            self.drop_oldest();
        }
        let segment = self.tail_segment();
        self.items.push_back(record.into_item(segment, offset, now));
    }

    /// Returns the number that the tail gets when it is sealed.
    fn tail_segment(&self) -> u32 {
        self.first_segment.wrapping_add(self.segments.len() as u32)
    }

    #[cold]
    fn open_tail(&mut self, wanted: usize) {
        if !self.tail.is_empty() {
            self.seal();
        }
        self.tail = BytesMut::with_capacity(wanted.max(SEGMENT));
    }

    fn seal(&mut self) {
        self.segments.push_back(self.tail.split().freeze());
    }

    fn drop_oldest(&mut self) {
        self.items.pop_front();
        self.first += 1;
        let oldest = self.items.front().map_or_else(|| self.tail_segment(), |item| item.segment);
        while self.first_segment != oldest {
            self.segments.pop_front();
            self.first_segment = self.first_segment.wrapping_add(1);
        }
    }

    /// Copies at most `max` items from `position` on to a batch, and shares their segments with it; returns how many.
    pub(super) fn read(&mut self, position: u64, max: usize, batch: &mut Batch) -> usize {
        let start = (position - self.first) as usize;
        let count = max.min(self.items.len() - start);
        if count == 0 {
            return 0;
        }
        let (first, last) = (self.items[start].segment, self.items[start + count - 1].segment);
        if last == self.tail_segment() {
            self.seal();
        }
        let index = |segment: u32| segment.wrapping_sub(self.first_segment) as usize;
        let segments = self.segments.range(index(first)..=index(last)).cloned();
        batch.extend(first, segments, self.items.range(start..start + count));
        count
    }

    /// Adds a group: at the oldest message that is kept, or at what comes from now on.
    pub(super) fn add_group(&mut self, group: GroupId, start: Start) {
        let committed = if start == Start::Earliest { self.first } else { self.end() };
        self.settled = self.settled.min(committed);
        self.cursors.push(Cursor { group, committed, reader: None });
    }

    /// Removes a group and returns the senders for which there is room now.
    pub(super) fn remove_group(&mut self, group: GroupId) -> Vec<Waker> {
        self.cursors.retain(|cursor| cursor.group != group);
        self.writers_with_room()
    }

    /// Returns how far a group has settled.
    pub(super) fn committed(&self, group: GroupId) -> Option<u64> {
        self.cursors.iter().find(|cursor| cursor.group == group).map(|cursor| cursor.committed)
    }

    /// Says who reads for a group.
    pub(super) fn set_reader(&mut self, group: GroupId, reader: Option<Arc<Mailbox>>) {
        let cursor = self.cursors.iter_mut().find(|cursor| cursor.group == group);
        if let Some(cursor) = cursor {
            cursor.reader = reader;
        }
    }

    /// Moves a group's position forward to `next`; only its reader may.
    pub(super) fn settle(&mut self, group: GroupId, reader: &Arc<Mailbox>, next: u64) -> Settled {
        let end = self.end();
        let is_its = |cursor: &&mut Cursor| {
            cursor.group == group && cursor.reader.as_ref().is_some_and(|known| Arc::ptr_eq(known, reader))
        };
        let Some(cursor) = self.cursors.iter_mut().find(is_its).filter(|cursor| cursor.committed < next) else {
            return Settled::default();
        };
        cursor.committed = next.min(end);
        let drained = cursor.committed == end;
        Settled { wakers: self.writers_with_room(), drained }
    }

    fn writers_with_room(&mut self) -> Vec<Waker> {
        if self.writers.is_empty() || !self.has_room(1) { Vec::new() } else { self.take_writers() }
    }

    /// Takes the senders that wait, for they have to look again.
    pub(super) fn take_writers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.writers)
    }

    /// Notes who waits for room.
    pub(super) fn add_writer(&mut self, waker: &Waker) {
        if !self.writers.iter().any(|known| known.will_wake(waker)) {
            self.writers.push(waker.clone());
        }
    }

    /// Returns what wakes the readers that sleep.
    pub(super) fn sleepers(&self) -> impl Iterator<Item = Waker> + '_ {
        self.cursors.iter().filter_map(|cursor| cursor.reader.as_ref()?.take_waker())
    }
}
