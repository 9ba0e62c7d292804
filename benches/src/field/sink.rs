//! Where messages end: counts them, measures, and says when all are there.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::event::Event;
use super::latency::{Micros, Record, Schedule};
use super::progress;
use crate::measure::{Cost, Meter};

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
    is_warm: Notify,
    all: Notify,
}

impl Sink {
    fn new(warm: usize, count: usize, at_once: bool, record: Option<Record>) -> Self {
        let (meter, cost) = (OnceLock::new(), OnceLock::new());
        let (is_warm, all) = (Notify::new(), Notify::new());
        let handled = AtomicUsize::new(0);
        Self(Arc::new(Counted { warm, wanted: warm + count, at_once, handled, meter, cost, record, is_warm, all }))
    }

    /// Measures from the first message on, which does not count.
    pub fn from_first(count: usize) -> Self {
        Self::new(1, count - 1, true, None)
    }

    /// Measures `count` messages after `warm` ones, from [`begin`](Self::begin) on.
    pub fn after(warm: usize, count: usize) -> Self {
        Self::new(warm, count, false, None)
    }

    /// The same, and notes the latency of each.
    pub fn recording(warm: usize, count: usize) -> Self {
        Self::new(warm, count, false, Some(Record::new(count)))
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

    pub fn micros(&self) -> Option<Micros> {
        self.0.record.as_ref().and_then(Record::micros)
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

    #[tokio::test]
    async fn a_consumer_is_measured_from_its_first_message() {
        let sink = Sink::from_first(2);
        assert_eq!([sink.take(event()), sink.take(event())], [false, true]);
        sink.cost().await;
        assert_eq!(sink.micros(), None);
    }
}
