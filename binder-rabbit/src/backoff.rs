//! Waits between attempts to connect.

use std::time::Duration;

use crate::config::Reconnect;

/// Grows from attempt to attempt; a third of each wait is random, so that many clients do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(settings: &Reconnect) -> Self {
        let initial = settings.initial.max(Duration::from_millis(1));
        Self { initial, max: settings.max.max(initial), next: initial }
    }

    /// Starts again with the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.next = self.initial;
    }

    /// Returns the wait before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait.mul_f64(2.0 / 3.0 + fastrand::f64() / 3.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling_and_start_again() {
        let settings = Reconnect { initial: Duration::from_millis(100), max: Duration::from_millis(350) };
        let mut backoff = Backoff::new(&settings);
        for nominal in [100, 200, 350, 350] {
            let wait = backoff.wait();
            let nominal = Duration::from_millis(nominal);
            assert!(wait <= nominal && wait >= nominal.mul_f64(0.66), "{wait:?} of {nominal:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }

    #[test]
    fn clients_do_not_come_back_at_once() {
        let settings = Reconnect { initial: Duration::from_secs(9), max: Duration::from_secs(9) };
        let waits: Vec<_> = (0..1000).map(|_| Backoff::new(&settings).wait().as_secs_f64()).collect();
        assert!(waits.iter().any(|wait| *wait < 6.5) && waits.iter().any(|wait| *wait > 8.5), "{waits:?}");
    }
}
