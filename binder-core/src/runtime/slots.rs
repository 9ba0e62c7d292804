//! Running handlers: a fixed number of reusable places for futures, polled in one task.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

use crate::handler::{HandlerError, Verdict};

/// Index of a place.
pub(crate) type SlotIndex = usize;

/// What became of a future that was just started.
pub(crate) enum Started {
    Done(Verdict),
    Running(SlotIndex),
}

/// Places for futures of one type. Starting one allocates nothing once its place exists; only those that were woken are polled.
pub(crate) struct Slots<F> {
    futures: Vec<Pin<Box<Option<F>>>>,
    wakers: Vec<Waker>,
    free: Vec<SlotIndex>,
    limit: usize,
    ready: Arc<Ready>,
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

impl<F: Future<Output = Verdict>> Slots<F> {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        let words = (0..limit.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let ready = Arc::new(Ready { words, task: AtomicWaker::new() });
        Self { futures: Vec::new(), wakers: Vec::new(), free: Vec::new(), limit, ready }
    }

    /// Returns how many futures run.
    pub(crate) fn running(&self) -> usize {
        self.futures.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.running() == self.limit
    }

    /// Puts a future into a free place and polls it once. The caller made sure that there is one.
    pub(crate) fn start(&mut self, future: F) -> Started {
        let index = self.free.pop().unwrap_or_else(|| self.add_place());
        self.futures[index].as_mut().set(Some(future));
        match self.poll_slot(index) {
            Poll::Ready(verdict) => Started::Done(verdict),
            Poll::Pending => Started::Running(index),
        }
    }

    /// Polls those that were woken; returns one that is done.
    pub(crate) fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<(SlotIndex, Verdict)> {
        self.ready.task.register(context.waker());
        for word in 0..self.ready.words.len() {
            let mut bits = self.ready.words[word].swap(0, SeqCst);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let index = word * 64 + bit;
                if let Poll::Ready(verdict) = self.poll_slot(index) {
                    self.ready.words[word].fetch_or(bits, SeqCst);
                    return Poll::Ready((index, verdict));
                }
            }
        }
        Poll::Pending
    }

    /// Drops the future of a place.
    pub(crate) fn cancel(&mut self, index: SlotIndex) {
        if self.futures[index].is_some() {
            self.futures[index].as_mut().set(None);
            self.free.push(index);
        }
    }

    fn add_place(&mut self) -> SlotIndex {
        let index = self.futures.len();
        self.futures.push(Box::pin(None));
        self.wakers.push(Arc::new(SlotWaker { ready: Arc::clone(&self.ready), index }).into());
        index
    }

    fn poll_slot(&mut self, index: SlotIndex) -> Poll<Verdict> {
        let Some(future) = self.futures[index].as_mut().as_pin_mut() else { return Poll::Pending };
        let mut context = Context::from_waker(&self.wakers[index]);
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut context)));
        let verdict = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(verdict)) => verdict,
            Err(panic) => Err(HandlerError::from_panic(panic.as_ref())),
        };
        self.futures[index].as_mut().set(None);
        self.free.push(index);
        Poll::Ready(verdict)
    }
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
            assert_eq!(poll_fn(|context| slots.poll_done(context)).await.0, index);
        }
        assert!(poll_fn(|context| slots.poll_done(context)).now_or_never().is_none());
    }

    #[test]
    fn a_panic_is_the_failure_of_its_message() {
        let mut slots = Slots::new(1);
        let Started::Done(Err(error)) = slots.start(async { panic!("no stock") }) else { panic!("it failed") };
        assert!(error.to_string().contains("no stock"));
    }
}
