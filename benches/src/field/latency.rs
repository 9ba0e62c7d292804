//! Latency at a rate that waits for nobody: a message is due when its turn is, whatever became of those before it.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::event::Event;

/// Microseconds that so many messages took at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Micros {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Micros {
    /// Of what each message took; `None` without any.
    pub fn of(mut took: Vec<Duration>) -> Option<Self> {
        took.sort_unstable();
        let max = took.last()?.as_nanos() as f64 / 1e3;
        // the smallest that so many are not above
        let share = |share: f64| {
            let rank = (share * took.len() as f64).ceil() as usize;
            took[rank.saturating_sub(1)].as_nanos() as f64 / 1e3
        };
        Some(Self { p50: share(0.5), p99: share(0.99), p999: share(0.999), max })
    }
}

/// When messages are due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: Instant,
    rate: f64,
}

impl Schedule {
    pub fn new(start: Instant, rate: f64) -> Self {
        Self { start, rate }
    }

    pub fn due(&self, number: usize) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// Gives the number of each message when it is due. The timer of the runtime is too coarse for that, so a thread sleeps.
    pub fn pace(self, count: usize) -> UnboundedReceiver<usize> {
        let (to, due) = unbounded_channel();
        std::thread::spawn(move || {
            for number in 0..count {
                std::thread::sleep(self.due(number).saturating_duration_since(Instant::now()));
                if to.send(number).is_err() {
                    return;
                }
            }
        });
        due
    }
}

/// What each message took.
#[derive(Debug)]
pub struct Record {
    schedule: OnceLock<Schedule>,
    took: Mutex<Vec<Duration>>,
}

impl Record {
    pub fn new(count: usize) -> Self {
        Self { schedule: OnceLock::new(), took: Mutex::new(Vec::with_capacity(count)) }
    }

    /// What is noted from now on counts.
    pub fn begin(&self, schedule: Schedule) {
        self.schedule.get_or_init(|| schedule);
    }

    /// Notes that a message was handled.
    pub fn note(&self, event: &Event) {
        let (Some(schedule), Some(number)) = (self.schedule.get(), event.number()) else { return };
        let took = Instant::now().saturating_duration_since(schedule.due(number));
        self.took.lock().expect("nobody panics with it").push(took);
    }

    pub fn micros(&self) -> Option<Micros> {
        Micros::of(std::mem::take(&mut *self.took.lock().expect("nobody panics with it")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_smallest_figure_that_so_many_are_not_above() {
        let took = (1..=1000).rev().map(Duration::from_micros).collect();
        assert_eq!(Micros::of(took), Some(Micros { p50: 500.0, p99: 990.0, p999: 999.0, max: 1000.0 }));
        let one = Micros::of(vec![Duration::from_nanos(1500)]);
        assert_eq!(one, Some(Micros { p50: 1.5, p99: 1.5, p999: 1.5, max: 1.5 }));
        assert_eq!(Micros::of(vec![]), None);
    }

    #[test]
    fn a_message_is_due_at_its_turn_whatever_became_of_others() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 500.0);
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(1000), start + Duration::from_secs(2));
    }

    #[test]
    fn a_message_that_is_late_counts_from_when_it_was_due() {
        let record = Record::new(2);
        let event = Event::new(10, 130).expect("it can be");
        record.note(&event);
        let ago = Instant::now() - Duration::from_secs(5);
        record.begin(Schedule::new(ago, 10.0));
        record.note(&event);
        let micros = record.micros().expect("one counted");
        assert!(micros.p50 == micros.max && micros.max >= 4e6 && micros.max < 5e6, "{micros:?}");
    }
}
