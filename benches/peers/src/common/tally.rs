//! What was handled, and when everything was.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use super::change::Change;
use super::meter::{Cost, Meter};

/// Counts what was handled, and measures until the last message.
#[derive(Clone)]
pub struct Tally(Arc<Counted>);

struct Counted {
    handled: AtomicUsize,
    /// So many come before what is measured.
    warm: usize,
    last: usize,
    /// Whether the measurement begins without [`Tally::begin`].
    begins: bool,
    meter: OnceLock<Meter>,
    cost: OnceLock<Cost>,
    news: Notify,
    all: Notify,
    latencies: Option<Latencies>,
    is_open: AtomicBool,
    gate: Semaphore,
}

/// When messages were handled, against when they were due.
struct Latencies {
    start: OnceLock<Instant>,
    rate: f64,
    /// Nanoseconds and one; 0 is not yet handled.
    nanos: Box<[AtomicU64]>,
}

impl Tally {
    fn new(warm: usize, count: usize, begins: bool, latencies: Option<Latencies>) -> Self {
        Self(Arc::new(Counted {
            handled: AtomicUsize::new(0),
            warm,
            last: warm + count,
            begins,
            meter: OnceLock::new(),
            cost: OnceLock::new(),
            news: Notify::new(),
            all: Notify::new(),
            latencies,
            is_open: AtomicBool::new(true),
            gate: Semaphore::new(0),
        }))
    }

    /// Measures from when the first of so many is handled, which does not count.
    pub fn draining(count: usize) -> Self {
        Self::new(1, count - 1, true, None)
    }

    /// Measures so many from [`Self::begin`]; others come before.
    pub fn beginning(warm: usize, count: usize) -> Self {
        Self::new(warm, count, false, None)
    }

    /// As [`Self::beginning`], with the latency of each message.
    pub fn timing(warm: usize, count: usize, rate: f64) -> Self {
        let nanos = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self::new(warm, count, false, Some(Latencies { start: OnceLock::new(), rate, nanos }))
    }

    /// Lets nothing be handled until [`Self::open`].
    pub fn close(&self) {
        self.0.is_open.store(false, Relaxed);
    }

    pub fn open(&self) {
        self.0.is_open.store(true, Relaxed);
        self.0.gate.close();
    }

    pub fn is_open(&self) -> bool {
        self.0.is_open.load(Relaxed)
    }

    /// Waits until something may be handled; for brokers in memory, whose messages are only there when somebody listens.
    pub async fn gate(&self) {
        if !self.is_open() {
            let _: Result<_, _> = self.0.gate.acquire().await;
        }
    }

    /// Begins the measurement; returns when the first message is due.
    pub fn begin(&self) -> Instant {
        self.0.meter.get_or_init(Meter::start);
        let start = Instant::now();
        if let Some(latencies) = &self.0.latencies {
            latencies.start.get_or_init(|| start);
        }
        start
    }

    /// Takes a message as a handler does.
    pub fn take(&self, change: &Change) {
        let counted = &*self.0;
        std::hint::black_box(change);
        if let Some(latencies) = &counted.latencies {
            latencies.note(change, Instant::now());
        }
        let handled = counted.handled.fetch_add(1, Relaxed) + 1;
        if handled == counted.warm {
            if counted.begins {
                counted.meter.get_or_init(Meter::start);
            }
            counted.news.notify_one();
        }
        if handled == counted.last {
            counted.cost.get_or_init(|| counted.meter.get().expect("it began before the last").cost());
            counted.all.notify_one();
        }
    }

    pub fn handled(&self) -> usize {
        self.0.handled.load(Relaxed)
    }

    /// Whether everything is handled; a loop ends then, with all of it settled.
    pub fn is_done(&self) -> bool {
        self.handled() >= self.0.last
    }

    /// Waits for what comes before.
    pub async fn warm(&self) {
        self.0.news.notified().await;
    }

    /// Waits for the last message.
    pub async fn cost(&self) -> Cost {
        self.0.all.notified().await;
        *self.0.cost.get().expect("set by the last")
    }

    /// The latencies.
    pub fn nanos(&self) -> Vec<u64> {
        let nanos = self.0.latencies.iter().flat_map(|latencies| &latencies.nanos);
        nanos.map(|nanos| nanos.load(Relaxed).saturating_sub(1)).collect()
    }
}

impl Latencies {
    fn note(&self, change: &Change, now: Instant) {
        // What comes before the start is no part of it.
        let (Some(start), Some(number)) = (self.start.get(), change.number()) else { return };
        let Some(nanos) = self.nanos.get(number) else { return };
        let late = now.saturating_duration_since(due(*start, number, self.rate)).as_nanos();
        let late = u64::try_from(late).unwrap_or(u64::MAX - 1) + 1;
        // Only the first time that it is handled.
        let _: Result<_, _> = nanos.compare_exchange(0, late, Relaxed, Relaxed);
    }
}

/// When a message is due, whatever happened before.
pub fn due(start: Instant, number: usize, rate: f64) -> Instant {
    start + Duration::from_secs_f64(number as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::change::Changes;

    #[tokio::test]
    async fn a_drain_is_measured_from_the_first_to_the_last() {
        let (tally, changes) = (Tally::draining(2), Changes::new(130));
        std::thread::sleep(Duration::from_millis(50));
        tally.take(&changes.numbered(0));
        tally.warm().await;
        tally.take(&changes.numbered(1));
        assert!(tally.cost().await.time < Duration::from_millis(40));
    }

    #[tokio::test]
    async fn what_comes_before_is_not_measured() {
        let (tally, change) = (Tally::beginning(2, 1), Changes::new(130).numbered(0));
        tally.take(&change);
        tally.take(&change);
        tally.warm().await;
        std::thread::sleep(Duration::from_millis(50));
        tally.begin();
        tally.take(&change);
        assert!(tally.cost().await.time < Duration::from_millis(40));
    }

    #[tokio::test]
    async fn latency_is_counted_from_when_a_message_was_due() {
        let (tally, changes) = (Tally::timing(1, 3, 1e6), Changes::new(130));
        tally.take(&changes.numbered(2));
        tally.begin();
        std::thread::sleep(Duration::from_millis(20));
        tally.take(&changes.numbered(0));
        tally.take(&changes.numbered(0));
        std::thread::sleep(Duration::from_millis(20));
        tally.take(&changes.numbered(1));
        let millis: Vec<u64> = tally.nanos().into_iter().map(|nanos| nanos / 1_000_000).collect();
        assert!((20..40).contains(&millis[0]) && millis[1] >= 39 && millis[2] == 0, "{millis:?}");
    }

    #[test]
    fn messages_are_due_at_an_even_rate() {
        let start = Instant::now();
        assert_eq!(due(start, 500, 1000.0) - start, Duration::from_millis(500));
    }
}
