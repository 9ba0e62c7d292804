//! What the handlers of a case saw.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::world::lock;
use crate::handler::{Delivery, HandlerError, State};
use crate::message::Message;

/// Deliveries of one message above which a case fails: it is delivered without end.
const FLOOD: usize = 60;

/// A message at a handler.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The payload read as a number.
    pub(super) id: Option<u64>,
    pub(super) message: Message<Bytes>,
    pub(super) delivery: Delivery,
    pub(super) at: tokio::time::Instant,
    /// Its place among all deliveries of all handlers.
    place: u64,
}

impl Seen {
    pub(super) fn key(&self) -> Option<&str> {
        self.message.key_str()
    }
}

/// What a handler does after it has noted its message.
pub(super) type Act = Arc<dyn Fn(Seen) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync>;

pub(super) fn act<F, Fut>(action: F) -> Act
where
    F: Fn(Seen) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    Arc::new(move |seen| Box::pin(action(seen)))
}

/// What handlers saw. Clones are the same.
#[derive(Clone)]
pub(super) struct Log(Arc<Inner>);

struct Inner {
    seen: Mutex<Vec<Seen>>,
    done: Mutex<Vec<u64>>,
    running: AtomicUsize,
    most: AtomicUsize,
    changed: watch::Sender<usize>,
    act: Act,
}

/// A handler that runs.
struct Running<'a>(&'a Inner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
        self.0.changed.send_modify(|count| *count += 1);
    }
}

/// The handler of every input.
pub(super) async fn record(
    message: Message<Bytes>,
    delivery: Delivery,
    State(log): State<Log>,
) -> Result<(), HandlerError> {
    log.handle(message, delivery).await
}

impl Log {
    pub(super) fn new(act: Act) -> Self {
        let (seen, done, running, most) = Default::default();
        Self(Arc::new(Inner { seen, done, running, most, changed: watch::Sender::new(0), act }))
    }

    async fn handle(&self, message: Message<Bytes>, delivery: Delivery) -> Result<(), HandlerError> {
        let id = message.payload().and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok());
        static PLACE: AtomicU64 = AtomicU64::new(0);
        let place = PLACE.fetch_add(1, SeqCst);
        let seen = Seen { id, message, delivery, at: tokio::time::Instant::now(), place };
        let now = self.0.running.fetch_add(1, SeqCst) + 1;
        self.0.most.fetch_max(now, SeqCst);
        let running = Running(&self.0);
        lock(&self.0.seen).push(seen.clone());
        self.0.changed.send_modify(|count| *count += 1);
        if self.is_flooded() {
            return std::future::pending().await;
        }
        let result = (self.0.act)(seen).await;
        if let (Some(id), Ok(())) = (id, &result) {
            lock(&self.0.done).push(id);
        }
        drop(running);
        result
    }

    fn is_flooded(&self) -> bool {
        let seen = lock(&self.0.seen);
        let Some(last) = seen.last() else { return false };
        let same = |other: &&Seen| other.id == last.id && other.delivery.attempt == last.delivery.attempt;
        seen.len() > FLOOD && last.id.is_some() && seen.iter().filter(same).count() > FLOOD
    }

    /// Fails if a message was delivered far too often.
    pub(super) fn check(&self) {
        assert!(!self.is_flooded(), "a message is delivered without end; {}", self.summary());
    }

    /// Waits until something holds, or a message is delivered without end. Looks after every delivery, and for what is no delivery every
    /// 10 ms.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool + Send + Sync) {
        let mut changed = self.0.changed.subscribe();
        while !holds(self) && !self.is_flooded() {
            let _ = tokio::time::timeout(Duration::from_millis(10), changed.changed()).await;
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.0.seen).clone()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.0.seen).len()
    }

    /// Returns all ids in the order of their deliveries.
    pub(super) fn ids(&self) -> Vec<u64> {
        lock(&self.0.seen).iter().filter_map(|seen| seen.id).collect()
    }

    /// Returns the ids of handlers that succeeded.
    pub(super) fn done(&self) -> BTreeSet<u64> {
        lock(&self.0.done).iter().copied().collect()
    }

    /// Returns the first delivery of each id.
    pub(super) fn firsts(&self) -> Vec<Seen> {
        firsts([self])
    }

    /// Returns how many handlers run.
    pub(super) fn running(&self) -> usize {
        self.0.running.load(SeqCst)
    }

    /// Returns how many handlers ran at once at most.
    pub(super) fn most(&self) -> usize {
        self.0.most.load(SeqCst)
    }

    /// Returns how many deliveries of handled messages were too many.
    pub(super) fn duplicates(&self) -> usize {
        let ids = self.ids();
        ids.len() - ids.iter().collect::<BTreeSet<_>>().len()
    }

    /// Returns whether all these were handled with success.
    pub(super) fn has_done(&self, ids: Range<u64>) -> bool {
        let done = self.done();
        ids.into_iter().all(|id| done.contains(&id))
    }

    pub(super) fn summary(&self) -> String {
        let ids = self.ids();
        let kinds: BTreeSet<_> = ids.iter().collect();
        let last = ids.iter().rev().take(5).collect::<Vec<_>>();
        format!(
            "{} deliveries of {} messages, {} handled, {} running; the last: {last:?}",
            self.len(),
            kinds.len(),
            self.done().len(),
            self.running()
        )
    }
}

/// Returns the first delivery of each id among all logs, in their order.
pub(super) fn firsts<'a>(logs: impl IntoIterator<Item = &'a Log>) -> Vec<Seen> {
    let mut seen: Vec<_> = logs.into_iter().flat_map(Log::seen).collect();
    seen.sort_by_key(|seen| seen.place);
    let mut known = BTreeSet::new();
    seen.retain(|seen| seen.id.is_none_or(|id| known.insert(id)));
    seen
}

/// Fails unless the first deliveries of each key are in ascending order.
pub(super) fn assert_order_of_keys(firsts: &[Seen]) {
    let mut last = BTreeMap::new();
    for seen in firsts {
        let (key, id) = (seen.message.key().map(<[u8]>::to_vec), seen.id.expect("a number"));
        if let Some(before) = last.insert(key, id) {
            assert!(before < id, "{:?}: {id} came after {before}", seen.key());
        }
    }
}
