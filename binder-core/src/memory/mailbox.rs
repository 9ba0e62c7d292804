//! What the other threads tell a consumer, and how they wake it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use futures::task::AtomicWaker;

use super::lock;
use super::partition::Partition;

/// A change of the partitions of one of a consumer's seats.
#[derive(Debug)]
pub(super) enum Mail {
    /// The partition is the consumer's from now on.
    Assigned { seat: usize, partition: Arc<Partition> },
    /// The group wants the partition back.
    Revoked { seat: usize, partition: u32 },
}

/// One consumer's mail and its alarm clock.
///
/// A consumer that finds nothing sets the clock, looks once more under the locks, and sleeps. Whoever brings something does so under a lock and
/// looks at the clock afterwards: one of the two sees the other.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    pending: AtomicBool,
    closed: AtomicBool,
    asleep: AtomicBool,
    waker: AtomicWaker,
}

impl Mailbox {
    /// Adds mail; the caller then wakes with [`take_waker`](Self::take_waker), outside of its locks.
    pub(super) fn push(&self, mail: Mail) {
        let mut list = lock(&self.mail);
        list.push(mail);
        self.pending.store(true, Ordering::Release);
    }

    /// Ends the consumer's membership; the first call returns true.
    pub(super) fn close(&self) -> bool {
        let _list = lock(&self.mail);
        self.pending.store(true, Ordering::Release);
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Returns whether the membership has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns whether there is mail, or the end; may miss what comes just now.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Returns whether there is mail, or the end; misses nothing that was pushed before.
    pub(super) fn is_pending_for_sure(&self) -> bool {
        let _list = lock(&self.mail);
        self.is_pending()
    }

    /// Takes the mail, oldest first.
    pub(super) fn take(&self) -> Vec<Mail> {
        let mut list = lock(&self.mail);
        self.pending.store(self.is_closed(), Ordering::Release);
        std::mem::take(&mut *list)
    }

    /// Sets the alarm clock.
    pub(super) fn sleep(&self, waker: &Waker) {
        self.waker.register(waker);
        self.asleep.store(true, Ordering::Release);
    }

    /// Turns the alarm clock off.
    pub(super) fn stay_awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Returns whether the consumer sleeps.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Acquire)
    }

    /// Returns what wakes the consumer, if it sleeps.
    pub(super) fn take_waker(&self) -> Option<Waker> {
        let asleep = self.is_asleep() && self.asleep.swap(false, Ordering::AcqRel);
        if asleep { self.waker.take() } else { None }
    }
}
