//! Suppliers: streams and timers that feed an output.

use std::fmt;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::watch;

use super::application::{Application, Supplying, lock};
use crate::Result;
use crate::channel::Output;
use crate::codec::Encode;
use crate::message::Message;

/// Messages of a supplier that are sent together, if they are there.
const CHUNK: usize = 128;

/// Makes a stream that calls `make` once at the start and then at every period. Calls that were missed because sending took longer are
/// left out.
///
/// ```
/// use std::time::Duration;
/// use binder_core::prelude::*;
///
/// # async fn run(app: Application, output: Output<String>) -> binder_core::Result<()> {
/// app.supply(output, every(Duration::from_secs(1), || "tick".to_owned())).await
/// # }
/// ```
pub fn every<T, F>(period: Duration, make: F) -> impl Stream<Item = T> + Send
where
    F: FnMut() -> T + Send,
    T: Send,
{
    futures::stream::unfold((None, make), move |(interval, mut make)| async move {
        let mut interval: tokio::time::Interval = interval.unwrap_or_else(|| {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            interval
        });
        interval.tick().await;
        let item = make();
        Some((item, (Some(interval), make)))
    })
}

/// A supplier's way to end.
#[derive(Clone)]
pub(super) struct SupplierStop(watch::Sender<bool>);

impl SupplierStop {
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl fmt::Debug for SupplierStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SupplierStop")
    }
}

impl Application {
    /// Sends what a stream yields, payloads or [`Message`]s, in order. Starts with the application, after its inputs; ends with the
    /// stream or at shutdown, after what was taken from the stream is sent.
    ///
    /// A message that can't be sent now is tried again until it is; one that can never be sent is logged at ERROR and left out.
    #[allow(clippy::unused_async, reason = "spawns tasks, so it belongs into a runtime")]
    pub async fn supply<U, S>(&self, output: Output<U>, supplier: S) -> Result<()>
    where
        U: Encode + Send,
        S: Stream<Item: Into<Message<U>>> + Send + 'static,
    {
        let (sender, stop) = watch::channel(false);
        let start = Box::new(move || tokio::spawn(feed(output, supplier, stop)));
        let mut supplying = Supplying { start: Some(start), task: None, stop: SupplierStop(sender) };
        if self.is_started() {
            supplying.begin();
        }
        lock(&self.0.registry).suppliers.push(supplying);
        Ok(())
    }
}

async fn feed<U, S>(output: Output<U>, supplier: S, mut stop: watch::Receiver<bool>)
where
    U: Encode + Send,
    S: Stream<Item: Into<Message<U>>> + Send,
{
    let mut chunks = std::pin::pin!(supplier.map(Into::into).ready_chunks(CHUNK));
    loop {
        let chunk = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            chunk = chunks.next() => chunk,
        };
        match chunk {
            Some(messages) => send_all(&output, messages).await,
            None => return,
        }
    }
}

/// Sends messages until the broker has each, or it is certain that it never will.
async fn send_all<U: Encode + Send>(output: &Output<U>, mut messages: Vec<Message<U>>) {
    while let Err(error) = output.send_all_borrowed(&messages).await {
        let mut again = vec![false; messages.len()];
        for (index, failure) in error.failures() {
            if failure.is_retryable() {
                again[*index] = true;
            } else {
                tracing::error!(
                    channel = output.name(),
                    "a supplied message can't be sent and is left out: {failure:?}"
                );
            }
        }
        let mut keep = again.into_iter();
        messages.retain(|_| keep.next().unwrap_or(false));
        if messages.is_empty() {
            return;
        }
        tracing::warn!(
            channel = output.name(),
            count = messages.len(),
            "supplied messages were not sent, trying again: {error}"
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
