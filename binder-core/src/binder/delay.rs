//! Redelivery by the broker after a delay: `retry: delayed`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{ConsumerBinding, Parcel};
use crate::Result;
use crate::config::RetryMode;

/// Header of a message that waits for its next attempt: which attempt that is. A binder writes and reads it; the application never sees it.
pub const RETRY_ATTEMPT: &str = "x-retry-attempt";

/// Redelivery by the broker after a delay.
///
/// # Contract
/// [`Binder::bind_consumer`](super::Binder::bind_consumer) provisions a place for each of the binding's
/// [waits](ConsumerBinding::rungs), as `provision` allows, and its consumer receives what comes back from there. Such a delivery is the
/// original: payload, key, headers and [metadata](super::BatchView::metadata) are those of the first attempt; only
/// [`BatchView::attempt`](super::BatchView::attempt) tells.
pub trait Delay: Send + Sync {
    /// Returns where failed deliveries of an input are handed back; connects when the first one comes.
    fn sink(&self, binding: &ConsumerBinding) -> Result<Arc<dyn DelaySink>>;
}

/// Hands failed deliveries back to the broker.
#[async_trait]
pub trait DelaySink: fmt::Debug + Send + Sync + 'static {
    /// Hands a delivery over and waits until the broker has confirmed it. It comes back to the same group, and to no other, as attempt
    /// `attempt`, not before `wait` has passed; `wait` is one of the binding's [waits](ConsumerBinding::rungs).
    async fn send(&self, delivery: &Parcel, attempt: u32, wait: Duration) -> Result<()>;
}

impl ConsumerBinding {
    /// Returns the waits that `retry: delayed` needs, shortest first, each once, in whole milliseconds; none without it.
    pub fn rungs(&self) -> Vec<Duration> {
        match self.properties.retry {
            RetryMode::Delayed => self.properties.backoff.rungs(self.properties.max_attempts),
            _ => Vec::new(),
        }
    }
}
