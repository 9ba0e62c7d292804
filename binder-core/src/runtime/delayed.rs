//! Failed messages that wait on the broker: `retry: delayed`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::binder::{ConsumerBinding, DelaySink};
use crate::config::Backoff;

/// Where the failed messages of an input wait, and how long.
#[derive(Clone)]
pub(crate) struct Delayed {
    sink: Arc<dyn DelaySink>,
    backoff: Backoff,
    rungs: Arc<[Duration]>,
}

impl Delayed {
    pub(crate) fn new(sink: Arc<dyn DelaySink>, binding: &ConsumerBinding) -> Self {
        Self { sink, backoff: binding.properties.backoff, rungs: binding.rungs().into() }
    }

    pub(crate) fn sink(&self) -> Arc<dyn DelaySink> {
        Arc::clone(&self.sink)
    }

    /// Returns how long a message waits after so many failed attempts: as long as the error asks, rounded up to a rung, else as the backoff
    /// says; above the last rung it is the last.
    pub(crate) fn wait(&self, error: &Error, failed: u32) -> Duration {
        let wanted = error.retry_after().unwrap_or_else(|| self.backoff.nominal(failed));
        let rung = self.rungs.iter().find(|rung| **rung >= wanted).or(self.rungs.last());
        rung.copied().unwrap_or(wanted)
    }
}

impl fmt::Debug for Delayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delayed").field("rungs", &self.rungs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::binder::Parcel;
    use crate::config::{ConsumerProperties, RetryMode};
    use crate::{ErrorKind, Result};

    #[derive(Debug)]
    struct Nowhere;

    #[async_trait]
    impl DelaySink for Nowhere {
        async fn send(&self, _: &Parcel, _: u32, _: Duration) -> Result<()> {
            Ok(())
        }
    }

    fn delayed(backoff: Backoff, max_attempts: u32) -> Delayed {
        let mut binding = ConsumerBinding::new("orders");
        binding.properties =
            ConsumerProperties::default().retry(RetryMode::Delayed).backoff(backoff).max_attempts(max_attempts);
        Delayed::new(Arc::new(Nowhere), &binding)
    }

    fn failed() -> Error {
        Error::new(ErrorKind::Handler, "no").retryable()
    }

    #[test]
    fn each_different_wait_is_a_rung() {
        let seconds = |delayed: &Delayed| delayed.rungs.iter().map(Duration::as_secs).collect::<Vec<_>>();
        assert_eq!(seconds(&delayed(Backoff::default(), 4)), [1, 2, 4]);
        assert_eq!(seconds(&delayed(Backoff::default(), 1000)), [1, 2, 4, 8, 10]);
        assert_eq!(seconds(&delayed(Backoff::default().multiplier(1.0), 9)), [1]);
        assert_eq!(seconds(&delayed(Backoff::default(), 1)), [0_u64; 0]);
        let odd = delayed(Backoff::default().initial(Duration::from_micros(1500)), 2);
        assert_eq!(odd.rungs[..], [Duration::from_millis(2)], "no wait is shorter than asked for");
    }

    #[test]
    fn an_attempt_waits_as_the_backoff_says_without_jitter() {
        let delayed = delayed(Backoff::default().jitter(1.0), 7);
        let waits: Vec<_> = (1..7).map(|attempt| delayed.wait(&failed(), attempt).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_wait_that_the_error_asks_for_is_rounded_up_to_a_rung() {
        let delayed = delayed(Backoff::default(), 4);
        let wait = |millis| delayed.wait(&failed().with_retry_after(Duration::from_millis(millis)), 1).as_secs();
        assert_eq!([wait(0), wait(1000), wait(1001), wait(4000), wait(60_000)], [1, 1, 2, 4, 4]);
    }
}
