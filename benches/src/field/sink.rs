//! Where messages end: counts them, measures, and says when all are there.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Notify;

use super::event::Event;
use super::latency::{Micros, Record, Schedule};
use super::progress;
use crate::measure::{Cost, Meter, resident};

/// What a handler has.
#[derive(Clone)]
pub struct Sink(Arc<Counted>);

struct Counted {
    /// Messages that are not measured, at first.
    warm: usize,
    /// All messages.
    wanted: usize,
    /// Whether the measurement begins as soon as it is warm.
    at_once: bool,
    handled: AtomicUsize,
    meter: OnceLock<Meter>,
    cost: OnceLock<Cost>,
    record: Option<Record>,
    /// What the process has kept, looked at with each further tenth.
    looks: Option<Mutex<Vec<u64>>>,
    is_warm: Notify,
    all: Notify,
}

impl Sink {
    fn new(warm: usize, count: usize, at_once: bool, record: Option<Record>, looks: Option<Mutex<Vec<u64>>>) -> Self {
        Self(Arc::new(Counted {
            warm,
            wanted: warm + count,
            at_once,
            handled: AtomicUsize::new(0),
            meter: OnceLock::new(),
            cost: OnceLock::new(),
            record,
            looks,
            is_warm: Notify::new(),
            all: Notify::new(),
        }))
    }

    /// Measures from the first message on, which does not count.
    pub fn from_first(count: usize) -> Self {
        Self::new(1, count - 1, true, None, None)
    }

    /// Measures `count` messages after `warm` ones, from [`begin`](Self::begin) on.
    pub fn after(warm: usize, count: usize) -> Self {
        Self::new(warm, count, false, None, None)
    }

    /// The same, and notes the latency of each.
    pub fn recording(warm: usize, count: usize) -> Self {
        Self::new(warm, count, false, Some(Record::new(count)), None)
    }

    /// As [`from_first`](Self::from_first), and looks what the process keeps, with the first message and then with each further tenth.
    pub fn looking(count: usize) -> Self {
        Self::new(1, count - 1, true, None, Some(Mutex::default()))
    }

    /// Waits for the messages that are not measured.
    pub async fn warm(&self) {
        if self.0.warm > 0 {
            self.0.is_warm.notified().await;
        }
    }

    pub fn begin(&self) {
        self.0.meter.get_or_init(Meter::start);
    }

    /// Begins with latencies by this schedule.
    pub fn begin_by(&self, schedule: Schedule) {
        self.begin();
        if let Some(record) = &self.0.record {
            record.begin(schedule);
        }
    }

    /// Takes a message as a handler does; returns whether it was the last.
    pub fn take(&self, event: Event) -> bool {
        let counted = &*self.0;
        if let Some(record) = &counted.record {
            record.note(&event);
        }
        std::hint::black_box(event);
        let handled = counted.handled.fetch_add(1, Relaxed) + 1;
        progress::note(handled);
        if let Some(looks) = &counted.looks {
            look(looks, handled, counted.wanted);
        }
        if handled == counted.warm {
            if counted.at_once {
                self.begin();
            }
            counted.is_warm.notify_one();
        }
        if handled == counted.wanted {
            counted.cost.get_or_init(|| counted.meter.get().expect("it began before the last").cost());
            counted.all.notify_one();
        }
        handled >= counted.wanted
    }

    /// Waits for the last message.
    pub async fn cost(&self) -> Cost {
        self.0.all.notified().await;
        *self.0.cost.get().expect("set by the last")
    }

    /// What the process has kept, in KiB.
    pub fn resident(&self) -> Vec<u64> {
        self.0.looks.as_ref().map(|looks| looks.lock().expect("nobody panics with it").clone()).unwrap_or_default()
    }

    pub fn micros(&self) -> Option<Micros> {
        self.0.record.as_ref().and_then(Record::micros)
    }
}

fn look(looks: &Mutex<Vec<u64>>, handled: usize, wanted: usize) {
    let mut looks = looks.lock().expect("nobody panics with it");
    // of ten, for the first message counts as none
    if handled == 1 || handled * 10 >= wanted * looks.len() {
        looks.extend(resident());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::new(0, 130).expect("it can be")
    }

    #[tokio::test]
    async fn what_warms_up_is_not_measured() {
        let sink = Sink::after(2, 1);
        assert_eq!([sink.take(event()), sink.take(event())], [false, false]);
        sink.warm().await;
        sink.begin();
        assert!(sink.take(event()));
        sink.cost().await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_looks_sees_the_memory_eleven_times() {
        let sink = Sink::looking(50);
        for _ in 0..50 {
            sink.take(event());
        }
        let resident = sink.resident();
        assert!(resident.len() == 11 && resident.iter().all(|kib| *kib > 100), "{resident:?}");
    }

    #[tokio::test]
    async fn a_consumer_is_measured_from_its_first_message() {
        let sink = Sink::from_first(2);
        assert_eq!([sink.take(event()), sink.take(event())], [false, true]);
        sink.cost().await;
        assert_eq!(sink.micros(), None);
    }
}
