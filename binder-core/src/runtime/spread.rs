//! Handlers that need the processor: they run in tasks of their own, so that several cores work for one input.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::handler::{HandlerError, Verdict};

/// A call that keeps a core for so long is worth a task, which takes about 3 µs of CPU: on two cores that is a gain already.
const LONG: Duration = Duration::from_micros(10);

/// Calls that are handled in place are timed together, so many in a row; of those that come one by one, one in so many is.
const TOGETHER: usize = 16;

/// Whether calls get tasks of their own: if they compute for long.
pub(super) struct Spread {
    /// Calls since one was timed.
    untimed: usize,
    /// How long a call keeps its core before its first wait; later ones count more.
    average: Duration,
}

impl Spread {
    /// Returns none if nobody else could do the work: one call at a time, or one core.
    pub(super) fn new(limit: usize) -> Option<Self> {
        let workers = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        (limit > 1 && workers > 1).then(Self::begin)
    }

    fn begin() -> Self {
        Self { untimed: TOGETHER, average: Duration::ZERO }
    }

    /// Returns how many calls may be handled in place before that is asked again; one until it is known how long they take.
    pub(super) fn together(&self) -> usize {
        if self.average.is_zero() { 1 } else { TOGETHER }
    }

    /// Returns whether the next call gets a task of its own.
    pub(super) fn is_away(&self) -> bool {
        self.average > LONG
    }

    /// Returns the time if the next calls, so many, are to be timed.
    pub(super) fn clock(&mut self, calls: usize) -> Option<Instant> {
        self.untimed = self.untimed.saturating_add(calls);
        if self.untimed <= TOGETHER && calls < TOGETHER {
            return None;
        }
        self.untimed = 0;
        Some(Instant::now())
    }

    /// Notes how long so many calls kept their core.
    pub(super) fn note(&mut self, took: Duration, calls: usize) {
        let each = took / u32::try_from(calls.max(1)).unwrap_or(u32::MAX);
        self.average = (self.average * 3 + each) / 4;
    }
}

/// A call in a task of its own.
pub(super) struct Away<F> {
    call: Arc<Shared<F>>,
    task: JoinHandle<Option<Verdict>>,
}

/// The call, until it is done or dropped. Who polls it holds the lock.
struct Shared<F> {
    future: Mutex<Pin<Box<Option<F>>>>,
    /// When it was polled first.
    began: OnceLock<Instant>,
    /// How long it kept its core before its first wait.
    took: OnceLock<Duration>,
    /// Whether it is dropped when it waits next.
    ends: AtomicBool,
}

/// What became of a call that may be late.
#[derive(Debug, PartialEq)]
pub(super) enum Late {
    /// It was dropped.
    Dropped,
    /// It is not late yet, or computes just now, or is done already: look again then.
    Again(Instant),
}

/// How soon is looked again at a call that computes.
const GLANCE: Duration = Duration::from_millis(10);

impl<F: Future<Output = Verdict> + Send + 'static> Away<F> {
    pub(super) fn start(future: Pin<Box<Option<F>>>) -> Self {
        let call = Arc::new(Shared {
            future: Mutex::new(future),
            began: OnceLock::new(),
            took: OnceLock::new(),
            ends: AtomicBool::new(false),
        });
        let task = tokio::spawn(Call(Arc::clone(&call)));
        Self { call, task }
    }

    /// Ready with the verdict, none if the call was late, and with how long it kept its core before its first wait.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Option<Verdict>, Duration)> {
        let verdict = match ready!(Pin::new(&mut self.task).poll(context)) {
            Ok(verdict) => verdict,
            Err(error) if error.is_panic() => Some(Err(HandlerError::from_panic(error.into_panic().as_ref()))),
            // the runtime ends; nobody hears of it any more
            Err(_) => return Poll::Pending,
        };
        Poll::Ready((verdict, self.call.took.get().copied().unwrap_or_default()))
    }

    /// Drops a call that has been running for longer than `patience`, once it waits: one that computes may still be done, and then it counts. The
    /// time in which it waited for a core does not count.
    pub(super) fn end_late(&self, now: Instant, patience: Duration) -> Late {
        let Some(began) = self.call.began.get() else { return Late::Again(now + patience) };
        let due = *began + patience;
        if due > now {
            return Late::Again(due);
        }
        let Some(mut future) = self.call.try_lock() else {
            self.call.ends.store(true, SeqCst);
            return Late::Again(now + GLANCE);
        };
        if future.is_none() {
            // its verdict is on its way
            return Late::Again(now + GLANCE);
        }
        future.as_mut().set(None);
        self.task.abort();
        Late::Dropped
    }
}

impl<F> Shared<F> {
    fn lock(&self) -> MutexGuard<'_, Pin<Box<Option<F>>>> {
        // a panic of the call is caught under the lock
        self.future.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if the call is polled just now.
    fn try_lock(&self) -> Option<MutexGuard<'_, Pin<Box<Option<F>>>>> {
        match self.future.try_lock() {
            Ok(future) => Some(future),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<F> Drop for Away<F> {
    /// Drops the call. One that computes just now is waited for until its next `.await`, as one in place would be: none runs beside the next
    /// attempt at its message.
    fn drop(&mut self) {
        match self.call.try_lock() {
            Some(mut future) => future.as_mut().set(None),
            None => {
                self.call.ends.store(true, SeqCst);
                wait(|| self.call.lock().as_mut().set(None));
            }
        }
        self.task.abort();
    }
}

/// Waits without keeping this worker's other tasks from running: the call may need one of them.
fn wait(act: impl FnOnce()) {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if matches!(flavor, Ok(RuntimeFlavor::MultiThread)) { tokio::task::block_in_place(act) } else { act() }
}

/// The task of a call.
struct Call<F>(Arc<Shared<F>>);

impl<F: Future<Output = Verdict>> Future for Call<F> {
    /// None if the call was dropped.
    type Output = Option<Verdict>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let call = &*self.0;
        let mut place = call.lock();
        let Some(future) = place.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let began = *call.began.get_or_init(Instant::now);
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(context)));
        call.took.get_or_init(|| began.elapsed());
        let ends = call.ends.load(SeqCst);
        if matches!(polled, Ok(Poll::Pending)) && !ends {
            return Poll::Pending;
        }
        let dropped = catch_unwind(AssertUnwindSafe(|| place.as_mut().set(None)));
        Poll::Ready(match (polled, dropped) {
            (Ok(Poll::Pending), _) => None,
            (Ok(Poll::Ready(verdict)), Ok(())) => Some(verdict),
            (Err(panic), _) | (_, Err(panic)) => Some(Err(HandlerError::from_panic(panic.as_ref()))),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    fn away<F: Future<Output = Verdict> + Send + 'static>(call: F) -> Away<F> {
        Away::start(Box::pin(Some(call)))
    }

    #[test]
    fn calls_go_away_while_they_compute_for_long() {
        let mut spread = Spread::begin();
        spread.note(LONG * 3, 1);
        assert!(!spread.is_away(), "one may be an exception");
        spread.note(LONG * 3, 1);
        assert!(spread.is_away());
        for _ in 0..30 {
            spread.note(Duration::from_micros(1), 1);
        }
        assert!(!spread.is_away(), "they compute no more");
        spread.note(Duration::from_millis(1), 1000);
        assert!(!spread.is_away(), "a microsecond each");
    }

    #[test]
    fn the_first_call_is_timed_and_then_those_in_a_row_and_one_of_many() {
        let mut spread = Spread::begin();
        assert!(spread.clock(1).is_some());
        assert!((0..TOGETHER).all(|_| spread.clock(1).is_none()));
        assert!(spread.clock(1).is_some());
        assert!(spread.clock(TOGETHER).is_some() && spread.clock(TOGETHER).is_some());
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
        drop(away);
        assert!(!computes.load(SeqCst), "it computes still");
    }

    /// A call that computes until it is told not to, then returns or waits for ever.
    fn computing(goes_on: &Arc<AtomicBool>, waits: bool) -> Away<impl Future<Output = Verdict> + Send + 'static> {
        let goes_on = Arc::clone(goes_on);
        away(async move {
            while goes_on.load(SeqCst) {
                thread::yield_now();
            }
            if waits {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }

    fn wait_until_it_began<F>(away: &Away<F>) {
        while away.call.began.get().is_none() {
            thread::yield_now();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_that_is_done_has_not_been_late() {
        let goes_on = Arc::new(AtomicBool::new(true));
        let mut away = computing(&goes_on, false);
        wait_until_it_began(&away);
        let now = Instant::now();
        assert_eq!(away.end_late(now, Duration::ZERO), Late::Again(now + GLANCE), "it computes");
        goes_on.store(false, SeqCst);
        let (verdict, _) = poll_fn(|context| away.poll(context)).await;
        assert!(verdict.expect("it was not dropped").is_ok());
        assert_eq!(away.end_late(now, Duration::ZERO), Late::Again(now + GLANCE), "it is done");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_late_call_is_dropped_when_it_waits() {
        let goes_on = Arc::new(AtomicBool::new(true));
        let mut away = computing(&goes_on, true);
        wait_until_it_began(&away);
        assert_ne!(away.end_late(Instant::now(), Duration::ZERO), Late::Dropped, "it computes");
        goes_on.store(false, SeqCst);
        let (verdict, _) = poll_fn(|context| away.poll(context)).await;
        assert!(verdict.is_none());

        let away = computing(&goes_on, true);
        while away.call.took.get().is_none() || away.call.try_lock().is_none() {
            thread::yield_now();
        }
        let now = Instant::now();
        assert!(matches!(away.end_late(now, Duration::from_secs(60)), Late::Again(due) if due > now), "not yet");
        assert_eq!(away.end_late(now, Duration::ZERO), Late::Dropped);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_that_waits_for_a_core_is_not_late() {
        let goes_on = Arc::new(AtomicBool::new(true));
        // the test itself runs on a thread of its own
        let busy = [computing(&goes_on, false), computing(&goes_on, false)];
        busy.iter().for_each(wait_until_it_began);
        let away = computing(&goes_on, false);
        let (now, patience) = (Instant::now(), Duration::from_millis(1));
        assert_eq!(away.end_late(now, patience), Late::Again(now + patience));
        goes_on.store(false, SeqCst);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_of_what_is_dropped_at_the_end_is_a_failure() {
        struct Refuses;
        impl Drop for Refuses {
            fn drop(&mut self) {
                panic!("not closed");
            }
        }
        struct Holds(Refuses);
        impl Future for Holds {
            type Output = Verdict;
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Verdict> {
                Poll::Ready(Ok(()))
            }
        }
        let mut away = away(Holds(Refuses));
        let (verdict, _) = poll_fn(|context| away.poll(context)).await;
        let verdict = verdict.expect("it was not late");
        assert!(verdict.expect_err("it failed").to_string().contains("not closed"));
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
        let (verdict, _) = poll_fn(|context| away.poll(context)).await;
        let verdict = verdict.expect("it was not late");
        assert!(verdict.expect_err("it failed").to_string().contains("no stock"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn how_long_a_call_computes_counts_until_its_first_wait() {
        let mut away = away(async {
            thread::sleep(Duration::from_millis(5));
            tokio::time::sleep(Duration::from_millis(1000)).await;
            Ok(())
        });
        let (_, took) = poll_fn(|context| away.poll(context)).await;
        assert!((5..1000).contains(&took.as_millis()), "{took:?}");
    }
}
