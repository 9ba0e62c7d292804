//! Receipts of sends without an allocation for each.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::task::AtomicWaker;

use crate::{Error, ErrorKind};

const PENDING: u8 = 0;
const DONE: u8 = 1;
const ABANDONED: u8 = 2;

const CHUNKS: usize = 24;
const FIRST_CHUNK: usize = 256;

/// Names the place of a receipt; a number, so that it fits into what a client library gives back with a confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u32);

impl Slot {
    /// Packs the slot and a message's index within its batch into one word.
    pub fn pack(self, index: u32) -> u64 {
        (u64::from(self.0) << 32) | u64::from(index)
    }

    /// Undoes [`pack`](Self::pack).
    pub fn unpack(word: u64) -> (Self, u32) {
        let index = word & u64::from(u32::MAX);
        (Self((word >> 32) as u32), index as u32)
    }
}

/// The sends of a producer that are not confirmed yet, bounded by a window.
///
/// The window counts messages without an answer. A receipt that has its answer and is not awaited yet keeps its slot but no room, so a task
/// that holds many receipts never waits for itself.
pub struct Receipts {
    window: usize,
    in_flight: AtomicUsize,
    /// Room that was asked for last and not there; 1 if nothing was refused since.
    refused: AtomicUsize,
    waiting: AtomicBool,
    waiters: Mutex<Vec<Waker>>,
    free: Mutex<Free>,
    chunks: [OnceLock<Box<[Entry]>>; CHUNKS],
}

#[derive(Default)]
struct Free {
    slots: Vec<u32>,
    next: u32,
}

#[derive(Default)]
struct Entry {
    state: AtomicU8,
    left: AtomicU32,
    waker: AtomicWaker,
    failed: AtomicBool,
    failures: Mutex<Vec<(u32, Error)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receipts {
    /// Creates an empty window for so many messages, at least one.
    pub fn new(window: u32) -> Self {
        Self {
            window: window.max(1) as usize,
            in_flight: AtomicUsize::new(0),
            refused: AtomicUsize::new(1),
            waiting: AtomicBool::new(false),
            waiters: Mutex::new(Vec::new()),
            free: Mutex::default(),
            chunks: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// Takes room for `count` messages that are confirmed together; `None` if there is not enough. A batch larger than the window gets its
    /// room when nothing else is in flight.
    pub fn reserve(&self, count: u32) -> Option<Slot> {
        let wanted = count as usize;
        let take = |used: usize| (used == 0 || used + wanted <= self.window).then_some(used + wanted);
        if self.in_flight.fetch_update(SeqCst, SeqCst, take).is_err() {
            self.refused.store(wanted, SeqCst);
            return None;
        }
        let slot = self.free_slot();
        let entry = self.entry(slot);
        entry.left.store(count, SeqCst);
        entry.state.store(PENDING, SeqCst);
        Some(Slot(slot))
    }

    /// Returns the future of a slot; once for each [`reserve`](Self::reserve).
    pub fn receipt(&self, slot: Slot) -> Receipt<'_> {
        Receipt(State::Waiting { receipts: self, slot: slot.0 })
    }

    /// Gives back a slot of which nothing was sent.
    pub fn cancel(&self, slot: Slot, count: u32) {
        self.leave(count as usize);
        lock(&self.free).slots.push(slot.0);
    }

    /// Notes the broker's answer for message `index` of a slot.
    pub fn complete(&self, slot: Slot, index: u32, answer: Result<(), Error>) {
        let entry = self.entry(slot.0);
        if let Err(error) = answer {
            lock(&entry.failures).push((index, error));
            entry.failed.store(true, SeqCst);
        }
        self.leave(1);
        if entry.left.fetch_sub(1, SeqCst) == 1 {
            match entry.state.compare_exchange(PENDING, DONE, SeqCst, SeqCst) {
                Ok(_) => entry.waker.wake(),
                Err(_) => self.recycle(slot.0),
            }
        }
    }

    /// Returns how many messages have no answer yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Ready when there is room for what was refused last, or the window is idle: who was refused a batch would else ask again and again.
    /// Those who wait are woken when half of the window is free, and with each answer after that.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let wanted = self.refused.load(SeqCst).clamp(1, self.window);
        let room = self.poll_below(context, self.window - wanted + 1);
        if room.is_ready() {
            self.refused.store(1, SeqCst);
        }
        room
    }

    /// Ready when every message has its answer.
    pub fn poll_idle(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_below(context, 1)
    }

    fn poll_below(&self, context: &mut Context<'_>, limit: usize) -> Poll<()> {
        if self.in_flight() < limit {
            return Poll::Ready(());
        }
        let mut waiters = lock(&self.waiters);
        if !waiters.iter().any(|waker| waker.will_wake(context.waker())) {
            waiters.push(context.waker().clone());
        }
        self.waiting.store(true, SeqCst);
        drop(waiters);
        if self.in_flight() < limit { Poll::Ready(()) } else { Poll::Pending }
    }

    fn leave(&self, count: usize) {
        let left = self.in_flight.fetch_sub(count, SeqCst) - count;
        if left <= self.window / 2 && self.waiting.load(SeqCst) {
            self.wake_waiters();
        }
    }

    #[cold]
    fn wake_waiters(&self) {
        let woken = {
            let mut waiters = lock(&self.waiters);
            self.waiting.store(false, SeqCst);
            std::mem::take(&mut *waiters)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn free_slot(&self) -> u32 {
        let mut free = lock(&self.free);
        free.slots.pop().unwrap_or_else(|| {
            let slot = free.next;
            free.next += 1;
            slot
        })
    }

    #[cold]
    fn abandon(&self, slot: u32) {
        if self.entry(slot).state.compare_exchange(PENDING, ABANDONED, SeqCst, SeqCst).is_err() {
            self.recycle(slot);
        }
    }

    fn recycle(&self, slot: u32) {
        let entry = self.entry(slot);
        if entry.failed.swap(false, SeqCst) {
            lock(&entry.failures).clear();
        }
        lock(&self.free).slots.push(slot);
    }

    fn entry(&self, slot: u32) -> &Entry {
        let block = slot as usize / FIRST_CHUNK + 1;
        let chunk = block.ilog2() as usize;
        let first = ((1 << chunk) - 1) * FIRST_CHUNK;
        let size = FIRST_CHUNK << chunk;
        let entries = self.chunks[chunk].get_or_init(|| (0..size).map(|_| Entry::default()).collect());
        &entries[slot as usize - first]
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("window", &self.window).field("in_flight", &self.in_flight()).finish()
    }
}

/// The messages of a batch that were not taken, each with its index, in the order of the answers; at least one.
#[derive(Debug)]
pub struct BatchFailures(Vec<(u32, Error)>);

impl BatchFailures {
    /// Returns the failures.
    pub fn into_vec(self) -> Vec<(u32, Error)> {
        self.0
    }

    /// Returns the first failure.
    pub fn into_first(self) -> Error {
        let first = self.0.into_iter().next();
        first.map_or_else(|| Error::new(ErrorKind::Unexpected, "a send failed without a reason"), |(_, error)| error)
    }
}

impl From<Error> for BatchFailures {
    fn from(error: Error) -> Self {
        Self(vec![(0, error)])
    }
}

/// The broker's answer to a send, to be awaited. Dropping it forgets the answer, not the message.
#[must_use = "the send may still fail"]
pub struct Receipt<'a>(State<'a>);

enum State<'a> {
    Confirmed,
    Waiting { receipts: &'a Receipts, slot: u32 },
    Taken,
}

impl Receipt<'_> {
    /// Creates the receipt of what is confirmed already.
    #[inline]
    pub fn confirmed() -> Self {
        Self(State::Confirmed)
    }

    /// Returns whether awaiting it would be ready at once, with success.
    #[inline]
    pub(crate) fn is_confirmed(&self) -> bool {
        matches!(self.0, State::Confirmed)
    }
}

impl Future for Receipt<'_> {
    type Output = Result<(), BatchFailures>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Waiting { receipts, slot } = self.0 {
            let entry = receipts.entry(slot);
            if entry.state.load(SeqCst) != DONE {
                entry.waker.register(context.waker());
                if entry.state.load(SeqCst) != DONE {
                    return Poll::Pending;
                }
            }
            self.0 = State::Taken;
            let failed = entry.failed.swap(false, SeqCst);
            let failures = if failed { std::mem::take(&mut *lock(&entry.failures)) } else { Vec::new() };
            receipts.recycle(slot);
            let answer = if failures.is_empty() { Ok(()) } else { Err(BatchFailures(failures)) };
            return Poll::Ready(answer);
        }
        match std::mem::replace(&mut self.0, State::Taken) {
            State::Confirmed => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Receipt<'_> {
    #[inline]
    fn drop(&mut self) {
        if let State::Waiting { receipts, slot } = self.0 {
            receipts.abandon(slot);
        }
    }
}

impl fmt::Debug for Receipt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            State::Waiting { .. } => "waiting",
            State::Confirmed => "confirmed",
            State::Taken => "taken",
        };
        f.debug_tuple("Receipt").field(&state).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_confirm_resolves_its_receipt() {
        let receipts = Receipts::new(2);
        let slot = receipts.reserve(1).expect("room");
        let mut receipt = receipts.receipt(slot);
        assert!((&mut receipt).now_or_never().is_none());
        receipts.complete(slot, 0, Ok(()));
        assert!(receipt.now_or_never().expect("answered").is_ok());
        assert_eq!(receipts.in_flight(), 0);
    }

    #[test]
    fn a_batch_reports_the_index_of_each_failure() {
        let receipts = Receipts::new(10);
        let slot = receipts.reserve(3).expect("room");
        for index in 0..3 {
            let refused = Error::new(ErrorKind::Refused, "no");
            receipts.complete(slot, index, if index == 1 { Err(refused) } else { Ok(()) });
        }
        let failures = receipts.receipt(slot).now_or_never().expect("answered").expect_err("one failed").into_vec();
        assert_eq!(failures.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn an_answered_receipt_that_nobody_awaits_takes_no_room() {
        let receipts = Receipts::new(1);
        let held: Vec<_> = (0..1000)
            .map(|_| {
                let slot = receipts.reserve(1).expect("room");
                receipts.complete(slot, 0, Ok(()));
                receipts.receipt(slot)
            })
            .collect();
        assert_eq!(held.len(), 1000);
    }

    #[test]
    fn a_dropped_receipt_gives_its_slot_back_after_the_answer() {
        let receipts = Receipts::new(1);
        let slot = receipts.reserve(1).expect("room");
        drop(receipts.receipt(slot));
        assert!(receipts.reserve(1).is_none(), "the message is still in flight");
        receipts.complete(slot, 0, Err(Error::new(ErrorKind::Refused, "no")));
        let again = receipts.reserve(1).expect("room");
        assert_eq!(again, slot);
        receipts.complete(again, 0, Ok(()));
        assert!(receipts.receipt(again).now_or_never().expect("answered").is_ok(), "the old failure is forgotten");
    }

    #[test]
    fn a_batch_above_the_window_waits_for_an_idle_one() {
        let receipts = Receipts::new(2);
        let small = receipts.reserve(1).expect("room");
        assert!(receipts.reserve(5).is_none());
        receipts.complete(small, 0, Ok(()));
        assert!(receipts.reserve(5).is_some());
    }

    #[test]
    fn who_was_refused_a_batch_waits_for_room_for_all_of_it() {
        let receipts = Receipts::new(4);
        let slots: Vec<_> = (0..3).map(|_| receipts.reserve(1).expect("room")).collect();
        assert!(receipts.reserve(3).is_none());
        let room = || poll_fn(|context| receipts.poll_room(context)).now_or_never().is_some();
        assert!(!room(), "there is room for one only");
        receipts.complete(slots[0], 0, Ok(()));
        assert!(!room(), "there is room for two only");
        receipts.complete(slots[1], 0, Ok(()));
        assert!(room());
        assert!(receipts.reserve(2).is_some());
        assert!(room(), "who comes next did not ask for as much");
        assert!(receipts.reserve(1).is_some());
        assert!(!room());
    }

    /// Notes that it was woken.
    #[derive(Debug, Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    impl Woken {
        fn take(&self) -> bool {
            self.0.swap(false, SeqCst)
        }
    }

    #[test]
    fn who_waits_for_room_is_woken_when_half_of_the_window_is_free() {
        let receipts = Receipts::new(8);
        let slots: Vec<_> = (0..8).map(|_| receipts.reserve(1).expect("room")).collect();
        let woken = std::sync::Arc::new(Woken::default());
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(receipts.poll_room(&mut context).is_pending());
        for slot in &slots[..3] {
            receipts.complete(*slot, 0, Ok(()));
            assert!(!woken.take());
        }
        receipts.complete(slots[3], 0, Ok(()));
        assert!(woken.take());
        assert!(receipts.poll_room(&mut context).is_ready());
        assert!(receipts.poll_idle(&mut context).is_pending());
        for slot in &slots[4..] {
            receipts.complete(*slot, 0, Ok(()));
        }
        assert!(woken.take());
        assert!(receipts.poll_idle(&mut context).is_ready());
    }

    #[test]
    fn the_last_answer_of_a_batch_wakes_its_receipt() {
        let receipts = Receipts::new(2);
        let slot = receipts.reserve(2).expect("room");
        let mut receipt = std::pin::pin!(receipts.receipt(slot));
        let woken = std::sync::Arc::new(Woken::default());
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(receipt.as_mut().poll(&mut context).is_pending());
        receipts.complete(slot, 0, Ok(()));
        assert!(!woken.take());
        receipts.complete(slot, 1, Ok(()));
        assert!(woken.take());
        assert!(receipt.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test]
    async fn senders_wait_for_room_over_threads() {
        let receipts = std::sync::Arc::new(Receipts::new(4));
        let (sender, mut slots) = tokio::sync::mpsc::unbounded_channel();
        let confirming = std::thread::spawn({
            let receipts = std::sync::Arc::clone(&receipts);
            move || {
                while let Some(slot) = slots.blocking_recv() {
                    receipts.complete(slot, 0, Ok(()));
                }
            }
        });
        for _ in 0..20_000 {
            let slot = loop {
                match receipts.reserve(1) {
                    Some(slot) => break slot,
                    None => poll_fn(|context| receipts.poll_room(context)).await,
                }
            };
            drop(receipts.receipt(slot));
            sender.send(slot).expect("the thread runs");
        }
        poll_fn(|context| receipts.poll_idle(context)).await;
        drop(sender);
        confirming.join().expect("no panic");
        assert_eq!(receipts.in_flight(), 0);
    }
}
