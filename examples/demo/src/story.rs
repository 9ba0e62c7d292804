//! Steps with numbers, checks and times.

use std::fmt::{Debug, Display};
use std::time::{Duration, Instant};

use crate::error::Failure;

const POLL: Duration = Duration::from_millis(5);

/// What is told, and how many checks have passed so far.
#[derive(Debug, Default)]
pub(crate) struct Story {
    step: u32,
    checks: u32,
}

impl Story {
    /// Returns how many checks have passed.
    pub(crate) fn checks(&self) -> u32 {
        self.checks
    }

    /// Returns the number of the step that is played.
    pub(crate) fn number(&self) -> u32 {
        self.step
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, title: impl Display) {
        self.step += 1;
        println!("\n{:>2}. {title}", self.step);
    }

    /// Says of a step that it can't exist here; it is not counted.
    pub(crate) fn skip(&mut self, title: impl Display, reason: impl Display) {
        self.step += 1;
        println!("\n{:>2}. {title}\n    skipped: {reason}", self.step);
    }

    /// Tells something that is not checked.
    pub(crate) fn tell(&self, text: impl Display) {
        println!("    {text}");
    }

    /// Checks a claim.
    pub(crate) fn check(&mut self, claim: impl Display, holds: bool) -> Result<(), Failure> {
        self.expect(claim, &true, &holds)
    }

    /// Checks that something is as it should be.
    pub(crate) fn expect<T: PartialEq + Debug + ?Sized>(
        &mut self,
        claim: impl Display,
        expected: &T,
        found: &T,
    ) -> Result<(), Failure> {
        if expected == found {
            self.passed(claim);
            return Ok(());
        }
        Err(self.failed(claim, format!("expected {expected:?}, found {found:?}")))
    }

    /// Checks that something becomes so before a deadline; tells and returns how long it took.
    pub(crate) async fn until<F>(
        &mut self,
        claim: impl Display,
        deadline: Duration,
        look: F,
    ) -> Result<Duration, Failure>
    where
        F: AsyncFnMut() -> Result<(), String>,
    {
        self.until_since(Instant::now(), claim, deadline, look).await
    }

    /// As [`until`](Self::until), with a time that is taken from an earlier moment.
    pub(crate) async fn until_since<F>(
        &mut self,
        start: Instant,
        claim: impl Display,
        deadline: Duration,
        mut look: F,
    ) -> Result<Duration, Failure>
    where
        F: AsyncFnMut() -> Result<(), String>,
    {
        let begun = Instant::now();
        loop {
            let Err(detail) = look().await else { break };
            if begun.elapsed() > deadline {
                return Err(self.failed(claim, format!("not within {deadline:?}: {detail}")));
            }
            tokio::time::sleep(POLL).await;
        }
        let took = start.elapsed();
        self.passed(format_args!("{claim}, after {}", milliseconds(took)));
        Ok(took)
    }

    fn passed(&mut self, claim: impl Display) {
        self.checks += 1;
        println!("    ok: {claim}");
    }

    fn failed(&self, claim: impl Display, detail: String) -> Failure {
        println!("    FAILED: {claim}: {detail}");
        Failure::Check { step: self.step, claim: claim.to_string(), detail }
    }
}

/// Writes a time as a person reads it.
pub(crate) fn milliseconds(time: Duration) -> String {
    if time >= Duration::from_secs(1) {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{:.1} ms", time.as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_checks_are_counted_and_failed_ones_named() {
        let mut story = Story::default();
        story.step("first");
        story.check("sun shines", true).unwrap();
        let failure = story.expect("two is three", &2, &3).unwrap_err();
        assert_eq!(story.checks(), 1);
        assert_eq!(failure.to_string(), "check failed in step 1: two is three (expected 2, found 3)");
    }

    #[test]
    fn skipped_steps_are_not_counted() {
        let mut story = Story::default();
        story.skip("broker restarted", "there is none");
        assert_eq!(story.checks(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_does_not_become_so_is_a_failure() {
        let mut story = Story::default();
        let failure = story.until("it rains", Duration::from_millis(20), async || Err("dry".to_owned())).await;
        assert!(failure.unwrap_err().to_string().contains("dry"));
    }
}
