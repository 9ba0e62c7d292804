//! Running handlers: a fixed number of reusable places for futures, polled in one task. Those that compute for long are
//! [spread](super::spread) over several.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;

use super::spread::{Away, Late};
use crate::handler::{HandlerError, Verdict};

/// Index of a place.
pub(crate) type SlotIndex = usize;

/// What became of a future that was just started.
pub(crate) enum Started {
    Done(Verdict),
    Running(SlotIndex),
}

/// A future that is done.
pub(crate) struct Done {
    pub(crate) slot: SlotIndex,
    /// None if it was dropped because it was late.
    pub(crate) verdict: Option<Verdict>,
    /// How long it kept its core before its first wait, if it had a task of its own.
    pub(crate) away: Option<Duration>,
}

/// Places for futures of one type. Starting one allocates nothing once its place exists; only those that were woken are polled.
///
/// A future is first polled in the `next` place. Most are ready there; one that is not moves, with its box, to where its waker points.
pub(crate) struct Slots<F> {
    next: Place<F>,
    running: Vec<Option<Place<F>>>,
    spare: Vec<Place<F>>,
    made: usize,
    limit: usize,
    ready: Arc<Ready>,
}

/// A box for one future at a time, and what wakes it.
struct Place<F> {
    future: Pin<Box<Option<F>>>,
    /// A call in a task of its own, instead of the future.
    away: Option<Away<F>>,
    waker: Waker,
    index: SlotIndex,
}

impl<F> Place<F> {
    fn new(ready: &Arc<Ready>, index: SlotIndex) -> Self {
        let waker = Arc::new(SlotWaker { ready: Arc::clone(ready), index }).into();
        Self { future: Box::pin(None), away: None, waker, index }
    }
}

/// Which places were woken, one bit each.
struct Ready {
    words: Box<[AtomicU64]>,
    task: AtomicWaker,
}

struct SlotWaker {
    ready: Arc<Ready>,
    index: SlotIndex,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.words[self.index / 64].fetch_or(1 << (self.index % 64), SeqCst);
        self.ready.task.wake();
    }
}

impl<F: Future<Output = Verdict> + Send + 'static> Slots<F> {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        let words = (0..=limit / 64).map(|_| AtomicU64::new(0)).collect();
        let ready = Arc::new(Ready { words, task: AtomicWaker::new() });
        Self { next: Place::new(&ready, 0), running: vec![], spare: vec![], made: 1, limit, ready }
    }

    /// Returns how many futures run.
    #[inline]
    pub(crate) fn running(&self) -> usize {
        self.made - 1 - self.spare.len()
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.running() == self.limit
    }

    /// Polls a future once, and keeps it if it is not ready. The caller made sure that there is room; after a panic it calls
    /// [`clear_next`](Self::clear_next).
    #[inline]
    pub(crate) fn start(&mut self, future: F) -> Started {
        self.next.future.as_mut().set(Some(future));
        let Some(future) = self.next.future.as_mut().as_pin_mut() else { unreachable!("it was just put there") };
        match future.poll(&mut Context::from_waker(&self.next.waker)) {
            Poll::Ready(verdict) => {
                self.next.future.as_mut().set(None);
                Started::Done(verdict)
            }
            Poll::Pending => Started::Running(self.keep_next()),
        }
    }

    /// As [`start`](Self::start), but gives the future to a task of its own.
    pub(crate) fn start_away(&mut self, future: F) -> Started {
        self.next.future.as_mut().set(Some(future));
        let index = self.keep_next();
        if let Some(place) = self.running[index].as_mut() {
            place.away = Some(Away::start(std::mem::replace(&mut place.future, Box::pin(None))));
            // to be polled for the first time
            place.waker.wake_by_ref();
        }
        Started::Running(index)
    }

    /// Drops a future whose first poll has panicked.
    #[cold]
    pub(crate) fn clear_next(&mut self) {
        self.next.future.as_mut().set(None);
    }

    #[cold]
    fn keep_next(&mut self) -> SlotIndex {
        let fresh = self.spare.pop().unwrap_or_else(|| {
            self.made += 1;
            Place::new(&self.ready, self.made - 1)
        });
        let kept = std::mem::replace(&mut self.next, fresh);
        let index = kept.index;
        if self.running.len() <= index {
            self.running.resize_with(index + 1, || None);
        }
        self.running[index] = Some(kept);
        index
    }

    /// Polls those that were woken; returns one that is done.
    pub(crate) fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        self.ready.task.register(context.waker());
        for word in 0..self.ready.words.len() {
            let mut bits = self.ready.words[word].swap(0, SeqCst);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let slot = word * 64 + bit;
                if let Poll::Ready((verdict, away)) = self.poll_running(slot) {
                    self.ready.words[word].fetch_or(bits, SeqCst);
                    return Poll::Ready(Done { slot, verdict, away });
                }
            }
        }
        Poll::Pending
    }

    /// Drops the future of a place.
    pub(crate) fn cancel(&mut self, index: SlotIndex) {
        if let Some(mut place) = self.running.get_mut(index).and_then(Option::take) {
            place.future.as_mut().set(None);
            place.away = None;
            self.spare.push(place);
        }
    }

    /// Drops a future that has been running for longer than `patience`, unless it has a task and is not late there.
    pub(crate) fn end_late(&mut self, index: SlotIndex, now: Instant, patience: Duration) -> Late {
        let away = self.running.get(index).and_then(Option::as_ref).and_then(|place| place.away.as_ref());
        let late = away.map_or(Late::Dropped, |away| away.end_late(now, patience));
        if late == Late::Dropped {
            self.cancel(index);
        }
        late
    }

    fn poll_running(&mut self, index: SlotIndex) -> Poll<(Option<Verdict>, Option<Duration>)> {
        let Some(slot) = self.running.get_mut(index) else { return Poll::Pending };
        let Some(place) = slot else { return Poll::Pending };
        let polled = poll(place);
        if polled.is_ready() {
            self.spare.extend(slot.take());
        }
        polled
    }
}

/// Polls the future of a place, which is empty afterwards if the future is ready.
#[inline]
fn poll<F: Future<Output = Verdict> + Send + 'static>(
    place: &mut Place<F>,
) -> Poll<(Option<Verdict>, Option<Duration>)> {
    let mut context = Context::from_waker(&place.waker);
    if let Some(away) = &mut place.away {
        let (verdict, took) = ready!(away.poll(&mut context));
        place.away = None;
        return Poll::Ready((verdict, Some(took)));
    }
    let Some(future) = place.future.as_mut().as_pin_mut() else { return Poll::Pending };
    let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut context)));
    let verdict = match polled {
        Ok(Poll::Pending) => return Poll::Pending,
        Ok(Poll::Ready(verdict)) => verdict,
        Err(panic) => Err(HandlerError::from_panic(panic.as_ref())),
    };
    place.future.as_mut().set(None);
    Poll::Ready((Some(verdict), None))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt;
    use futures::channel::oneshot;
    use futures::future::BoxFuture;

    use super::*;

    fn waiting() -> (oneshot::Sender<()>, BoxFuture<'static, Verdict>) {
        let (sender, receiver) = oneshot::channel::<()>();
        (sender, receiver.map(|_| Ok(())).boxed())
    }

    #[test]
    fn a_future_that_is_ready_at_once_holds_no_place() {
        let mut slots = Slots::new(1);
        assert!(matches!(slots.start(std::future::ready(Ok(()))), Started::Done(Ok(()))));
        assert_eq!(slots.running(), 0);
    }

    #[tokio::test]
    async fn only_the_one_that_was_woken_is_done() {
        let mut slots = Slots::new(100);
        let waiting: Vec<_> =
            (0..100).map(|_| waiting()).map(|(sender, future)| (sender, slots.start(future))).collect();
        assert!(slots.is_full());
        let mut expected = Vec::new();
        for (number, (sender, started)) in waiting.into_iter().enumerate() {
            let Started::Running(index) = started else { panic!("it waits") };
            if number % 9 == 0 {
                sender.send(()).expect("it listens");
                expected.push(index);
            } else {
                std::mem::forget(sender);
            }
        }
        for index in expected {
            assert_eq!(poll_fn(|context| slots.poll_done(context)).await.slot, index);
        }
        assert!(poll_fn(|context| slots.poll_done(context)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_panic_is_the_failure_of_its_message() {
        let mut slots = Slots::new(1);
        let (sender, waiting) = waiting();
        let started = slots.start(async {
            let _ = waiting.await;
            panic!("no stock")
        });
        assert!(matches!(started, Started::Running(_)));
        sender.send(()).expect("it listens");
        let Done { verdict, .. } = poll_fn(|context| slots.poll_done(context)).await;
        let verdict = verdict.expect("it was not late");
        assert!(verdict.expect_err("it failed").to_string().contains("no stock"));
    }

    #[test]
    fn a_place_whose_future_panicked_is_used_again() {
        let mut slots: Slots<BoxFuture<'static, Verdict>> = Slots::new(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| slots.start(async { panic!("no stock") }.boxed())));
        assert!(panicked.is_err());
        slots.clear_next();
        assert!(matches!(slots.start(async { Ok(()) }.boxed()), Started::Done(Ok(()))));
    }
}
