//! How long a delivery may go unsettled, and how long its handling may take.

use std::time::Duration;

use binder_core::config::{Backoff, ConsumerProperties, RetryMode};
use binder_core::{Error, ErrorKind, Result};
use humantime_serde::re::humantime::format_duration;

/// Refuses an input whose handling may take longer than the broker waits for its settlement.
pub(crate) fn check(properties: &ConsumerProperties, limit: Duration) -> Result<()> {
    if limit.is_zero() {
        return Ok(());
    }
    let refuse = |text: String| Err(Error::new(ErrorKind::Config, text));
    let allowed = format_duration(limit);
    let handler = properties.handler_timeout;
    if handler.is_zero() {
        return refuse(format!(
            "with `handler-timeout: 0s` a handler may run for ever, and the broker lets a delivery go unsettled for {allowed} only \
             (the binder's `consumer-timeout`); set a `handler-timeout`, or `consumer-timeout: 0s` if the broker has no such limit"
        ));
    }
    // Between attempts on the broker the delivery is settled.
    let attempts = match properties.retry {
        RetryMode::InPlace => properties.max_attempts.max(1),
        _ => 1,
    };
    let waits = longest_waits(&properties.backoff, attempts - 1);
    let worst = handler.saturating_mul(attempts).saturating_add(waits);
    if worst <= limit {
        return Ok(());
    }
    refuse(format!(
        "handling may take `handler-timeout` × `max-attempts` = {} × {attempts}, and {} of backoff: {} in all, and the broker lets a \
         delivery go unsettled for {allowed} only (the binder's `consumer-timeout`); lower them, or raise the broker's `consumer_timeout` \
         and ours",
        format_duration(handler),
        format_duration(rounded(waits)),
        format_duration(rounded(worst)),
    ))
}

/// For people, so to milliseconds.
fn rounded(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs()) + Duration::from_millis(time.subsec_millis().into())
}

/// The sum of so many waits, each as long as jitter can make it.
fn longest_waits(backoff: &Backoff, waits: u32) -> Duration {
    let (initial, max) = (backoff.initial.as_secs_f64(), backoff.max.as_secs_f64());
    let (factor, waits) = (backoff.multiplier.max(1.0), f64::from(waits));
    // How many waits are below the ceiling.
    let growing = match () {
        () if initial <= 0.0 => waits,
        () if initial >= max => 0.0,
        () if factor > 1.0 => ((max / initial).ln() / factor.ln()).ceil().min(waits),
        () => waits,
    };
    let grown = match () {
        () if growing <= 0.0 || initial <= 0.0 => 0.0,
        () if factor > 1.0 => initial * (factor.powf(growing) - 1.0) / (factor - 1.0),
        () => initial * growing,
    };
    let sum = (grown + (waits - growing) * max) * (1.0 + backoff.jitter.clamp(0.0, 1.0));
    Duration::try_from_secs_f64(sum).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

    fn seconds(backoff: Backoff, waits: u32) -> f64 {
        (longest_waits(&backoff.jitter(0.0), waits).as_secs_f64() * 1000.0).round() / 1000.0
    }

    #[test]
    fn waits_are_summed_as_they_are_waited() {
        let usual = Backoff::default();
        let sums: Vec<_> = (0..=6).map(|waits| seconds(usual, waits)).collect();
        assert_eq!(sums, [0.0, 1.0, 3.0, 7.0, 15.0, 25.0, 35.0]);
        let steady = usual.multiplier(1.0);
        assert_eq!(seconds(steady, 5), 5.0);
        let at_once = usual.initial(Duration::ZERO);
        assert_eq!(seconds(at_once, 5), 0.0);
        let at_the_ceiling = usual.initial(Duration::from_secs(20));
        assert_eq!(seconds(at_the_ceiling, 5), 50.0);
        assert_eq!(longest_waits(&usual, 1), Duration::from_millis(1200), "with its jitter");
        assert!(longest_waits(&usual, u32::MAX) > Duration::from_secs(1 << 32));
    }

    #[test]
    fn the_defaults_fit() {
        check(&ConsumerProperties::default(), HALF_AN_HOUR).expect("15 minutes and a little");
    }

    #[test]
    fn what_may_take_too_long_is_refused_with_the_arithmetic() {
        let properties = ConsumerProperties::default().handler_timeout(Duration::from_secs(600));
        let text = check(&properties, HALF_AN_HOUR).expect_err("3.6 s too long").to_string();
        assert!(text.contains("= 10m × 3, and 3s 600ms of backoff: 30m 3s 600ms in all"), "{text}");
        assert!(text.contains("unsettled for 30m only"), "{text}");
        check(&properties.clone().max_attempts(2_u32), HALF_AN_HOUR).expect("20 minutes");
        check(&properties.clone().backoff(Backoff::default().initial(Duration::ZERO)), HALF_AN_HOUR)
            .expect("exactly as long as allowed");
        check(&properties.clone().retry(RetryMode::Delayed), HALF_AN_HOUR)
            .expect("each attempt is a delivery of its own");
        check(&properties, Duration::ZERO).expect("no limit");
    }

    #[test]
    fn a_handler_without_an_end_needs_a_broker_without_a_limit() {
        let endless = ConsumerProperties::default().handler_timeout(Duration::ZERO);
        let text = check(&endless, HALF_AN_HOUR).expect_err("for ever").to_string();
        assert!(text.contains("for ever") && text.contains("30m"), "{text}");
        check(&endless, Duration::ZERO).expect("no limit");
    }
}
