//! How long to wait before the next attempt.

use std::time::Duration;

use crate::config::Backoff;

/// Returns the wait after so many failed attempts (from 1), with jitter.
pub(crate) fn wait(backoff: &Backoff, failed: u32, random: &mut fastrand::Rng) -> Duration {
    let spread = 1.0 + backoff.jitter.clamp(0.0, 1.0) * (random.f64() * 2.0 - 1.0);
    let wait = backoff.nominal(failed).as_secs_f64() * spread;
    Duration::try_from_secs_f64(wait).unwrap_or(backoff.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling() {
        let backoff = Backoff::default().jitter(0.0);
        let mut random = fastrand::Rng::with_seed(1);
        let seconds: Vec<_> = (1..=6).map(|failed| wait(&backoff, failed, &mut random).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn jitter_fills_its_share() {
        let backoff = Backoff::default().jitter(0.2);
        let mut random = fastrand::Rng::with_seed(1);
        let waits: Vec<_> = (0..1000).map(|_| wait(&backoff, 1, &mut random).as_secs_f64()).collect();
        assert!(waits.iter().all(|wait| (0.8..=1.2).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait < 0.85) && waits.iter().any(|wait| *wait > 1.15), "all of it is used");
    }

    #[test]
    fn a_huge_count_of_attempts_does_not_overflow() {
        let mut random = fastrand::Rng::with_seed(1);
        assert!(wait(&Backoff::default(), u32::MAX, &mut random) <= Duration::from_secs(12));
    }
}
