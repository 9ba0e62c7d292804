//! One partition of a destination.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use bytes::Bytes;

use super::extra::Extra;
use super::item::{Item, Record};
use super::lock;
use super::log::Log;
use super::stamp;
use crate::Result;
use crate::binder::OutgoingBatch;

/// A log that several threads share.
#[derive(Debug)]
pub(super) struct Partition {
    index: u32,
    /// The log's end, for a reader that only wants to know whether it should lock.
    end: AtomicU64,
    log: Mutex<Log>,
}

impl Partition {
    pub(super) fn new(index: u32, retention: usize) -> Self {
        Self { index, end: AtomicU64::new(0), log: Mutex::new(Log::new(retention)) }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// Returns whether there are messages from `position` on; may miss one that is appended just now.
    pub(super) fn has_from(&self, position: u64) -> bool {
        self.end.load(Ordering::Acquire) > position
    }

    /// Locks the log for appending.
    pub(super) fn appender(&self) -> Appender<'_> {
        Appender { partition: self, log: self.lock() }
    }

    /// Appends one message if there is room for it.
    #[inline(always)]
    pub(super) fn try_append(&self, record: Record<'_>) -> bool {
        let now = stamp::now();
        let mut appender = self.appender();
        let fits = appender.claim_room(1);
        if fits {
            appender.append(record, now);
            appender.publish();
        }
        fits
    }

    /// Ready when there is room for what was refused, or when `is_open` fails; it is asked last, so that whoever closes and then
    /// [wakes](Self::wake_writers) is not missed.
    pub(super) fn poll_room(&self, context: &Context<'_>, is_open: impl Fn() -> Result<()>) -> Poll<Result<()>> {
        let has_room = self.lock().has_room_or_wakes(context.waker());
        match is_open() {
            Ok(()) if !has_room => Poll::Pending,
            answer => Poll::Ready(answer),
        }
    }

    /// Makes the senders that wait look again.
    pub(super) fn wake_writers(&self) {
        let wakers = self.lock().take_writers();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A locked log; the readers see what was appended when [`publish`](Self::publish) is called.
pub(super) struct Appender<'a> {
    partition: &'a Partition,
    log: MutexGuard<'a, Log>,
}

impl Appender<'_> {
    /// Returns whether there is room for so many messages; if not, those who wait are woken when there is.
    pub(super) fn claim_room(&mut self, count: usize) -> bool {
        self.log.claim_room(count)
    }

    #[inline(always)]
    pub(super) fn append(&mut self, record: Record<'_>, now: SystemTime) {
        self.log.append(record, now);
    }

    /// Appends a message of another log; `extra` takes the place of what it had there.
    pub(super) fn append_again(&mut self, message: (&Item, &Bytes), extra: Option<Extra>, now: SystemTime) {
        self.log.append_again(message, extra, now);
    }

    /// Appends a batch without extras.
    pub(super) fn append_batch(&mut self, batch: &OutgoingBatch, with_headers: bool, now: SystemTime) {
        self.log.append_batch(batch, with_headers, now);
    }

    /// Unlocks the log and wakes its readers.
    #[inline(always)]
    pub(super) fn publish(mut self) {
        self.log.trim();
        self.partition.end.store(self.log.end(), Ordering::Release);
        if self.log.has_sleepers() {
            self.wake();
        }
    }

    #[inline(never)]
    fn wake(self) {
        let (first, others) = self.log.sleepers();
        drop(self.log);
        first.into_iter().chain(others).for_each(Waker::wake);
    }
}
