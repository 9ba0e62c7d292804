//! The breaker of an input: a handler that mostly fails is left alone for a while.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::BreakerProperties;

/// Counts calls, and says whether more may be started.
///
/// Closed, it counts the last `calls` calls. If at least so many were made and the share that failed reaches `failure-rate`, it opens: no
/// call is started for `open`. Then it probes: one call; if that succeeds it closes, else it opens again.
#[derive(Debug)]
pub(crate) struct Breaker {
    failure_rate: f64,
    open_for: Duration,
    recent: Recent,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// `running`: the one call is on its way.
    Probing {
        running: bool,
    },
}

impl Breaker {
    /// Returns the breaker of these settings; none if it is off.
    pub(crate) fn new(properties: &BreakerProperties) -> Option<Self> {
        (properties.failure_rate > 0.0).then(|| Self {
            failure_rate: properties.failure_rate,
            open_for: properties.open,
            recent: Recent::new(properties.calls as usize),
            state: State::Closed,
        })
    }

    /// Returns whether no call may be started.
    pub(crate) fn holds(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Probing { running: true })
    }

    /// Returns whether one call only may be started.
    pub(crate) fn probes(&self) -> bool {
        matches!(self.state, State::Probing { .. })
    }

    /// Returns until when it is open.
    pub(crate) fn open_until(&self) -> Option<Instant> {
        if let State::Open { until } = self.state { Some(until) } else { None }
    }

    /// Begins to probe if it was open long enough.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.open_until().is_some_and(|until| until <= now) {
            self.state = State::Probing { running: false };
        }
    }

    /// Notes that a call was started and is not done.
    pub(crate) fn started(&mut self) {
        if self.probes() {
            self.state = State::Probing { running: true };
        }
    }

    /// Notes that a call was ended and says nothing; if it was the probe, there is another.
    pub(crate) fn cancelled(&mut self) {
        if self.probes() {
            self.state = State::Probing { running: false };
        }
    }

    /// Notes calls that succeeded; answers whether that closed it.
    pub(crate) fn succeeded(&mut self, calls: usize) -> bool {
        match self.state {
            State::Closed => self.recent.add(calls, false),
            State::Probing { .. } => {
                self.state = State::Closed;
                self.recent.clear();
                return true;
            }
            // a call that was started before it opened
            State::Open { .. } => {}
        }
        false
    }

    /// Notes a call that failed; answers whether that opened it, and why.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<String> {
        let why = match self.state {
            State::Closed => {
                self.recent.add(1, true);
                let (failed, calls) = self.recent.counts();
                if calls < self.recent.limit || (failed as f64) < self.failure_rate * calls as f64 {
                    return None;
                }
                format!("{failed} of the last {calls} calls failed")
            }
            State::Probing { .. } => "the probe failed".to_owned(),
            State::Open { .. } => return None,
        };
        self.state = State::Open { until: now + self.open_for };
        Some(format!("the breaker is open for {:?}: {why}", self.open_for))
    }
}

/// Whether each of the last calls failed.
#[derive(Debug)]
struct Recent {
    limit: usize,
    calls: std::collections::VecDeque<bool>,
    failed: usize,
}

impl Recent {
    fn new(limit: usize) -> Self {
        Self { limit, calls: std::collections::VecDeque::with_capacity(limit), failed: 0 }
    }

    fn add(&mut self, calls: usize, failed: bool) {
        for _ in 0..calls.min(self.limit) {
            if self.calls.len() == self.limit && self.calls.pop_front() == Some(true) {
                self.failed -= 1;
            }
            self.calls.push_back(failed);
            self.failed += usize::from(failed);
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.failed, self.calls.len())
    }

    fn clear(&mut self) {
        self.calls.clear();
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        let properties = BreakerProperties::default().failure_rate(0.5).calls(4u32).open(Duration::from_secs(10));
        Breaker::new(&properties).expect("it is on")
    }

    #[test]
    fn it_is_off_by_default() {
        assert!(Breaker::new(&BreakerProperties::default()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_at_its_share_of_its_number_of_calls() {
        let (mut breaker, now) = (breaker(), Instant::now());
        assert_eq!(breaker.failed(now), None);
        breaker.succeeded(1);
        assert_eq!(breaker.failed(now), None, "too few calls to judge");
        breaker.succeeded(1);
        assert!(!breaker.holds(), "it opens by a failure");
        assert!(breaker.failed(now).is_some_and(|why| why.contains("2 of the last 4")));
        assert!(breaker.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn old_calls_are_forgotten() {
        let (mut breaker, now) = (breaker(), Instant::now());
        breaker.failed(now);
        breaker.succeeded(4);
        assert_eq!(breaker.failed(now), None, "one of the last four");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_was_ended_is_followed_by_another() {
        let (mut breaker, now) = (breaker(), Instant::now());
        (0..4).for_each(|_| drop(breaker.failed(now)));
        breaker.tick(now + Duration::from_secs(10));
        breaker.started();
        assert!(breaker.holds(), "one is on its way");
        breaker.cancelled();
        assert!(!breaker.holds() && breaker.probes());
        let mut closed = self::breaker();
        closed.cancelled();
        assert!(!closed.probes());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_decides() {
        let (mut breaker, now) = (breaker(), Instant::now());
        (0..4).for_each(|_| drop(breaker.failed(now)));
        let later = now + Duration::from_secs(10);
        breaker.tick(later - Duration::from_millis(1));
        assert!(breaker.holds());
        breaker.tick(later);
        assert!(!breaker.holds() && breaker.probes());
        breaker.started();
        assert!(breaker.holds(), "one probe at a time");
        assert!(breaker.failed(later).is_some());
        assert_eq!(breaker.open_until(), Some(later + Duration::from_secs(10)));
        breaker.tick(later + Duration::from_secs(10));
        breaker.started();
        assert!(breaker.succeeded(1));
        assert!(!breaker.holds() && !breaker.probes());
        assert_eq!(breaker.failed(later), None, "it starts anew");
    }
}
