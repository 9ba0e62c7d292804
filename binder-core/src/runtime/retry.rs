//! Whether a failed message is tried again, and when.

use std::sync::Arc;
use std::time::Duration;

use super::backoff;
use crate::Error;
use crate::config::{Backoff, ConsumerProperties};

/// What an input does with a failure.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
    permanent: Arc<[String]>,
    retryable: Arc<[String]>,
}

impl RetryPolicy {
    pub(crate) fn new(properties: &ConsumerProperties) -> Self {
        Self {
            max_attempts: properties.max_attempts,
            backoff: properties.backoff,
            permanent: properties.permanent_errors.as_slice().into(),
            retryable: properties.retryable_errors.as_slice().into(),
        }
    }

    /// Returns whether a message whose attempt has failed is tried again.
    pub(crate) fn is_worth_another(&self, error: &Error, attempt: u32) -> bool {
        attempt < self.max_attempts && error.is_retryable() && self.is_worth_it(error)
    }

    /// Returns how long it waits for that where it is.
    pub(crate) fn wait(&self, error: &Error, attempt: u32, random: &mut fastrand::Rng) -> Duration {
        error.retry_after().unwrap_or_else(|| backoff::wait(&self.backoff, attempt, random))
    }

    /// What the configuration says of an error on which the handler said nothing.
    fn is_worth_it(&self, error: &Error) -> bool {
        let Some(name) = error.returned_type() else { return true };
        let among = |names: &[String]| names.iter().any(|wanted| is_called(name, wanted));
        !among(&self.permanent) && (self.retryable.is_empty() || among(&self.retryable))
    }
}

/// Whether `wanted` is a type's name, or its end from some `::` on. Type parameters do not count.
fn is_called(name: &str, wanted: &str) -> bool {
    let path = name.split('<').next().unwrap_or(name);
    path.strip_suffix(wanted).is_some_and(|front| front.is_empty() || front.ends_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::handler::HandlerError;

    fn wait(policy: &RetryPolicy, error: HandlerError) -> bool {
        let error = error.into_error().expect("a failure");
        policy.is_worth_another(&error, 1)
    }

    fn policy(change: impl FnOnce(ConsumerProperties) -> ConsumerProperties) -> RetryPolicy {
        RetryPolicy::new(&change(ConsumerProperties::default()))
    }

    fn io() -> HandlerError {
        std::io::Error::other("down").into()
    }

    fn format() -> HandlerError {
        std::fmt::Error.into()
    }

    #[test]
    fn a_type_is_called_by_its_name_or_the_end_of_its_path() {
        assert!(is_called("shop::price::PriceError", "PriceError"));
        assert!(is_called("shop::price::PriceError", "price::PriceError"));
        assert!(is_called("shop::price::PriceError<u8>", "shop::price::PriceError"));
        assert!(!is_called("shop::MyPriceError", "PriceError"));
        assert!(!is_called("shop::PriceError", ""));
    }

    #[test]
    fn a_permanent_error_is_not_tried_again() {
        let policy = policy(|properties| properties.permanent_errors(vec!["io::error::Error".to_owned()]));
        assert!(!wait(&policy, io()));
        assert!(wait(&policy, format()));
    }

    #[test]
    fn only_a_retryable_error_is_tried_again_if_there_are_any() {
        let policy = policy(|properties| properties.retryable_errors(vec!["std::io::error::Error".to_owned()]));
        assert!(wait(&policy, io()));
        assert!(!wait(&policy, format()));
    }

    #[test]
    fn what_the_handler_says_itself_goes_before() {
        let policy = policy(|properties| properties.permanent_errors(vec!["io::error::Error".to_owned()]));
        assert!(wait(&policy, HandlerError::transient(std::io::Error::other("down"))));
        assert!(!wait(&policy, HandlerError::permanent(std::fmt::Error)));
        assert!(wait(&policy, crate::Error::new(ErrorKind::Connection, "down").retryable().into()));
    }
}
