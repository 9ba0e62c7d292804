//! Trying again until the broker is there.

use std::future::Future;
use std::time::Duration;

use super::backoff;
use super::state::{BindingState, StateCell};
use crate::config::Backoff;
use crate::{Error, Result};

/// Waits between attempts to bind: from 250 ms to 5 s.
pub(crate) fn bind_waits() -> Backoff {
    Backoff::default().initial(Duration::from_millis(250)).max(Duration::from_secs(5))
}

/// Calls `bind` until it succeeds or fails with what waiting can't mend; the state says why it waits, and the log also `in_context` of what.
///
/// # Cancel safety
/// Dropping the future drops what `bind` was doing.
pub(crate) async fn connect<T, F, Fut>(
    state: &StateCell,
    waits: Backoff,
    in_context: impl Fn(Error) -> Error + Send,
    bind: F,
) -> Result<T, Error>
where
    F: Fn() -> Fut + Send,
    Fut: Future<Output = Result<T>> + Send,
    T: Send,
{
    let mut random = fastrand::Rng::new();
    let mut failed = 0_u32;
    if state.begin(false) {
        state.show();
    }
    loop {
        let error = match bind().await {
            Ok(bound) => return Ok(bound),
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        failed = failed.saturating_add(1);
        let wait = backoff::wait(&waits, failed, &mut random);
        state.set(BindingState::Connecting(reason(&error)));
        tracing::warn!(?wait, "not connected, will be tried again: {:?}", in_context(error));
        tokio::time::sleep(wait).await;
    }
}

/// Returns what the chain of an error says, on one line.
fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
