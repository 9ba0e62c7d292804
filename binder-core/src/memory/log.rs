//! The log of one partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::batch::Batch;
use super::chunk::{CHUNK, Chunk};
use super::extra::{Extra, Told};
use super::item::{Item, Kind, Record};
use super::mailbox::Mailbox;
use super::stamp;
use crate::binder::{OutgoingBatch, SeekTo};
use crate::config::Start;

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
#[derive(Debug)]
pub(super) struct Log {
    retention: usize,
    /// Offset of the oldest message that is kept.
    first: u64,
    /// Offset of the next message.
    end: u64,
    /// Offset of the first message of the oldest chunk.
    base: u64,
    full: VecDeque<Chunk>,
    current: Chunk,
    /// An empty one that was in use before.
    spare: Chunk,
    /// Where the bytes of the current chunk's newest messages lie.
    tail: BytesMut,
    /// Below, every group has settled; may lag behind.
    settled: u64,
    cursors: Vec<Cursor>,
    /// How much room was refused since somebody got what they waited for; at least 1.
    demand: usize,
    writers: Vec<Waker>,
}

impl Log {
    pub(super) fn new(retention: usize) -> Self {
        Self {
            retention,
            first: 0,
            end: 0,
            base: 0,
            full: VecDeque::new(),
            current: Chunk::default(),
            spare: Chunk::default(),
            tail: BytesMut::new(),
            settled: 0,
            cursors: Vec::new(),
            demand: 1,
            writers: Vec::new(),
        }
    }

    /// Returns the offset of the oldest message that is kept: those above the retention that every group has settled are not.
    pub(super) fn first(&mut self) -> u64 {
        let most = self.end.saturating_sub(self.retention as u64);
        self.first = most.min(self.settled).max(self.first);
        self.first
    }

    /// Returns the offset of the next message.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Returns whether so many messages can be appended without dropping one that a group has not settled. A batch above the retention has room
    /// when everything is settled.
    #[inline]
    fn has_room(&mut self, count: usize) -> bool {
        self.fits(count) || self.fits_after_all(count)
    }

    /// Returns whether there is room; if not, those who wait for room wait for so much.
    #[inline]
    pub(super) fn claim_room(&mut self, count: usize) -> bool {
        let has_room = self.has_room(count);
        if !has_room {
            self.demand = self.demand.max(count);
        }
        has_room
    }

    fn fits(&self, count: usize) -> bool {
        (self.end - self.settled) as usize + count <= self.retention
    }

    #[inline(never)]
    fn fits_after_all(&mut self, count: usize) -> bool {
        let lowest = self.cursors.iter().map(|cursor| cursor.committed).min();
        self.settled = lowest.unwrap_or(self.end);
        self.settled == self.end || self.fits(count)
    }

    /// Appends a message; the caller has [claimed](Self::claim_room) room, and [trims](Self::trim) afterwards.
    #[inline(always)]
    pub(super) fn append(&mut self, record: Record<'_>, now: SystemTime) {
        if self.current.len() == CHUNK {
            self.begin_chunk();
        }
        self.current.push(record, &mut self.tail, now);
        self.end += 1;
    }

    /// Appends a message of another log, as [`append`](Self::append) does; `extra` takes the place of what it had there.
    pub(super) fn append_again(&mut self, message: (&Item, &Bytes), extra: Option<Extra>, now: SystemTime) {
        if self.current.len() == CHUNK {
            self.begin_chunk();
        }
        self.current.push_again(message, extra, &mut self.tail, now);
        self.end += 1;
    }

    /// Appends a batch without extras, as [`append`](Self::append) does each of its messages.
    pub(super) fn append_batch(&mut self, batch: &OutgoingBatch, with_headers: bool, now: SystemTime) {
        let kind = if with_headers { Kind::of(batch.content_type()) } else { Kind::Absent };
        let mut next = 0;
        while next < batch.len() {
            if self.current.len() == CHUNK {
                self.begin_chunk();
            }
            let end = batch.len().min(next + CHUNK - self.current.len());
            self.current.push_run(batch, next..end, kind, &mut self.tail, now);
            next = end;
        }
        self.end += batch.len() as u64;
    }

    #[inline(never)]
    fn begin_chunk(&mut self) {
        self.current.seal(CHUNK, &mut self.tail);
        let next = std::mem::take(&mut self.spare);
        self.full.push_back(std::mem::replace(&mut self.current, next));
    }

    /// Drops the oldest messages above the retention that every group has settled, if they are a chunk or more.
    #[inline(always)]
    pub(super) fn trim(&mut self) {
        if self.end - self.base >= (self.retention + CHUNK) as u64 {
            self.drop_chunks();
        }
    }

    #[inline(never)]
    fn drop_chunks(&mut self) {
        let first = self.first();
        while first - self.base >= CHUNK as u64 {
            let Some(mut oldest) = self.full.pop_front() else { return };
            oldest.clear();
            self.spare = oldest;
            self.base += CHUNK as u64;
        }
    }

    /// Copies at most `max` messages from `position` on to a batch, and shares their bytes with it; returns how many.
    pub(super) fn read(&mut self, position: u64, max: usize, batch: &mut Batch) -> usize {
        let Self { full, current, tail, .. } = self;
        each_chunk(self.base, self.end, position, max, |place, start, end| {
            if place == full.len() {
                current.seal(end, tail);
            }
            full.get(place).unwrap_or(current).read(start, end, batch);
        })
    }

    /// Reads what at most `max` dead letters from `position` on say.
    pub(super) fn told(&self, position: u64, max: usize, told: &mut Vec<Told>) {
        each_chunk(self.base, self.end, position, max, |place, start, end| {
            self.full.get(place).unwrap_or(&self.current).told(start, end, told);
        });
    }

    /// Adds a group: at the oldest message that is kept, or at what comes from now on.
    pub(super) fn add_group(&mut self, group: GroupId, start: Start) {
        let committed = if start == Start::Earliest { self.first() } else { self.end };
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
        let end = self.end;
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

    /// Sends a group to another position, forward or back; only its reader may. None if there is no such reader.
    pub(super) fn seek(&mut self, group: GroupId, reader: &Arc<Mailbox>, to: SeekTo) -> Option<Settled> {
        let (first, end) = (self.first(), self.end);
        let target = match to {
            SeekTo::Beginning => first,
            SeekTo::End => end,
            SeekTo::Offset(offset) => offset.clamp(first, end),
            SeekTo::Timestamp(time) => self.sent_since(time).max(first),
        };
        let is_its = |cursor: &&mut Cursor| {
            cursor.group == group && cursor.reader.as_ref().is_some_and(|known| Arc::ptr_eq(known, reader))
        };
        self.cursors.iter_mut().find(is_its)?.committed = target;
        self.settled = self.settled.min(target);
        let settled = Settled { wakers: self.writers_with_room(), drained: target == end };
        Some(settled)
    }

    /// Returns the offset of the first message that may have been sent at `time` or later, else the end.
    fn sent_since(&self, time: SystemTime) -> u64 {
        let chunks = self.full.iter().chain([&self.current]);
        let found = chunks.flat_map(Chunk::timestamps).position(|sent| stamp::may_be_since(sent, time));
        found.map_or(self.end, |place| self.base + place as u64)
    }

    fn writers_with_room(&mut self) -> Vec<Waker> {
        if self.writers.is_empty() || !self.has_room(self.demand) { Vec::new() } else { self.take_writers() }
    }

    /// Takes the senders that wait, for they have to look again.
    pub(super) fn take_writers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.writers)
    }

    /// Returns whether there is the room that was refused last; if not, notes who waits for it.
    pub(super) fn has_room_or_wakes(&mut self, waker: &Waker) -> bool {
        if self.has_room(self.demand) {
            self.demand = 1;
            return true;
        }
        if !self.writers.iter().any(|known| known.will_wake(waker)) {
            self.writers.push(waker.clone());
        }
        false
    }

    /// Returns whether a reader sleeps.
    pub(super) fn has_sleepers(&self) -> bool {
        self.readers().any(Mailbox::is_asleep)
    }

    /// Returns what wakes the readers that sleep; allocates only if there is more than one.
    pub(super) fn sleepers(&self) -> (Option<Waker>, Vec<Waker>) {
        let mut wakers = self.readers().filter_map(Mailbox::take_waker);
        (wakers.next(), wakers.collect())
    }

    fn readers(&self) -> impl Iterator<Item = &Mailbox> {
        self.cursors.iter().filter_map(|cursor| cursor.reader.as_deref())
    }
}

/// Visits the chunks with at most `max` messages from `position` on: each with its place, and where its messages start and end. Returns how
/// many messages there are.
#[inline(always)]
fn each_chunk(base: u64, end: u64, position: u64, max: usize, mut visit: impl FnMut(usize, usize, usize)) -> usize {
    let count = max.min((end - position) as usize);
    let (mut next, stop) = ((position - base) as usize, (position - base) as usize + count);
    while next < stop {
        let (place, start) = (next / CHUNK, next % CHUNK);
        let end = CHUNK.min(start + stop - next);
        visit(place, start, end);
        next += end - start;
    }
    count
}
