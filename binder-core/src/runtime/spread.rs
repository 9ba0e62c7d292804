//! Handlers that need the processor: they run in tasks of their own, so that several cores work for one input.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::handler::{HandlerError, Verdict};

/// A call that keeps a core for so long is worth a task, which costs about a microsecond.
const LONG: Duration = Duration::from_micros(10);

/// One run in so many is timed, so that it is known how long calls take; and each that is so long.
const SAMPLE: usize = 16;

/// Whether calls get tasks of their own: if they compute for long.
pub(super) struct Spread {
    runs: usize,
    /// How long a call keeps its core before its first wait; later ones count more.
    average: Duration,
}

impl Spread {
    /// Returns none if nobody else could do the work: one call at a time, or one core.
    pub(super) fn new(limit: usize) -> Option<Self> {
        let workers = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        (limit > 1 && workers > 1).then_some(Self { runs: 0, average: Duration::ZERO })
    }

    /// Says where the next calls begin, of which there are so many in a row.
    pub(super) fn begin(&mut self, calls: usize) -> Where {
        self.runs = self.runs.wrapping_add(1);
        let sampled = self.runs % SAMPLE == 1;
        match (self.average > LONG, sampled || calls >= SAMPLE) {
            (false, timed) => Where::Here(timed.then(Instant::now)),
            (true, _) if sampled => Where::OneHere(Instant::now()),
            (true, _) => Where::Away,
        }
    }

    /// Notes how long so many calls kept their core.
    pub(super) fn note(&mut self, since: Instant, calls: usize) {
        let each = since.elapsed() / u32::try_from(calls.max(1)).unwrap_or(u32::MAX);
        self.average = (self.average * 3 + each) / 4;
    }
}

/// Where calls begin.
#[derive(Clone, Copy)]
pub(super) enum Where {
    /// In place; timed from this moment on, if it is noted.
    Here(Option<Instant>),
    /// One in place, timed, so that it is noticed when calls no longer compute.
    OneHere(Instant),
    /// In tasks of their own.
    Away,
}

/// A call in a task of its own.
pub(super) struct Away<F> {
    future: Arc<Shared<F>>,
    task: JoinHandle<Option<Verdict>>,
}

/// The call, until it is done or cancelled. Who polls it holds the lock.
struct Shared<F>(Mutex<Pin<Box<Option<F>>>>);

impl<F> Shared<F> {
    fn with<R>(&self, act: impl FnOnce(Pin<&mut Option<F>>) -> R) -> R {
        // a panic of the call is caught under the lock
        act(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut())
    }
}

impl<F: Future<Output = Verdict> + Send + 'static> Away<F> {
    pub(super) fn start(future: Pin<Box<Option<F>>>) -> Self {
        let future = Arc::new(Shared(Mutex::new(future)));
        let task = tokio::spawn(Call(Arc::clone(&future)));
        Self { future, task }
    }

    /// Ready with the verdict.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Verdict> {
        match ready!(Pin::new(&mut self.task).poll(context)) {
            Ok(Some(verdict)) => Poll::Ready(verdict),
            // the runtime ends; nobody hears of it any more
            Ok(None) | Err(_) => Poll::Pending,
        }
    }
}

impl<F> Away<F> {
    /// Drops the call. One that computes just now is waited for until its next `.await`, as one in place would be: none runs beside the next
    /// attempt at its message.
    pub(super) fn cancel(&self) {
        self.future.with(|mut future| future.set(None));
        self.task.abort();
    }
}

impl<F> Drop for Away<F> {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The task of a call.
struct Call<F>(Arc<Shared<F>>);

impl<F: Future<Output = Verdict>> Future for Call<F> {
    /// None if the call was cancelled.
    type Output = Option<Verdict>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.with(|mut shared| {
            let Some(future) = shared.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            let polled = catch_unwind(AssertUnwindSafe(|| future.poll(context)));
            let verdict = match polled {
                Ok(polled) => ready!(polled),
                Err(panic) => Err(HandlerError::from_panic(panic.as_ref())),
            };
            shared.set(None);
            Poll::Ready(Some(verdict))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::thread;

    use super::*;

    fn spread() -> Spread {
        Spread { runs: 0, average: Duration::ZERO }
    }

    fn away<F: Future<Output = Verdict> + Send + 'static>(call: F) -> Away<F> {
        Away::start(Box::pin(Some(call)))
    }

    fn long_ago() -> Instant {
        Instant::now().checked_sub(Duration::from_millis(1)).expect("the clock is older")
    }

    #[test]
    fn only_calls_that_compute_for_long_go_away() {
        let mut spread = spread();
        for _ in 0..10 * SAMPLE {
            match spread.begin(1) {
                Where::Here(Some(since)) => spread.note(since, 1),
                Where::Here(None) => {}
                _ => panic!("it takes no time"),
            }
        }
        spread.note(long_ago(), 1);
        let begun: Vec<_> = (0..SAMPLE).map(|_| spread.begin(1)).collect();
        assert_eq!(begun.iter().filter(|place| matches!(place, Where::Away)).count(), SAMPLE - 1);
        assert_eq!(begun.iter().filter(|place| matches!(place, Where::OneHere(_))).count(), 1, "one is timed");
        // and they come back when they compute no more
        for _ in 0..30 {
            spread.note(Instant::now(), 1);
        }
        assert!((0..SAMPLE).all(|_| matches!(spread.begin(1), Where::Here(_))));
    }

    #[test]
    fn each_long_run_is_timed_and_counts_for_its_calls() {
        let mut spread = spread();
        spread.begin(1);
        assert!(matches!(spread.begin(SAMPLE - 1), Where::Here(None)));
        assert!(matches!(spread.begin(SAMPLE), Where::Here(Some(_))));
        // 1 ms for 1,000 calls
        spread.note(long_ago(), 1000);
        assert!(matches!(spread.begin(1), Where::Here(_)));
    }

    #[tokio::test]
    async fn nothing_goes_away_where_nobody_else_could_do_it() {
        assert!(Spread::new(16).is_none(), "one worker");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_call_at_a_time_stays() {
        assert!(Spread::new(1).is_none() && Spread::new(2).is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_cancels_waits_for_the_core() {
        let computes = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&computes);
        let away = away(async move {
            flag.store(true, SeqCst);
            thread::sleep(Duration::from_millis(50));
            flag.store(false, SeqCst);
            std::future::pending().await
        });
        while !computes.load(SeqCst) {
            thread::yield_now();
        }
        away.cancel();
        assert!(!computes.load(SeqCst), "it computes still");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_that_is_dropped_is_polled_no_more() {
        let (polls, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, SeqCst);
            }
        }
        let (count, flag) = (Arc::clone(&polls), Flag(Arc::clone(&dropped)));
        let away = away(async move {
            let _flag = flag;
            loop {
                count.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
            }
        });
        while polls.load(SeqCst) == 0 {
            thread::yield_now();
        }
        drop(away);
        let before = polls.load(SeqCst);
        assert!(dropped.load(SeqCst));
        thread::sleep(Duration::from_millis(5));
        assert_eq!(polls.load(SeqCst), before);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_is_the_failure_of_its_message() {
        let mut away = away(async { panic!("no stock") });
        let verdict = poll_fn(|context| away.poll(context)).await;
        assert!(verdict.expect_err("it failed").to_string().contains("no stock"));
    }
}
