//! What all clones of an output share: the binding, and the producer once it is there.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::key_source::KeySource;
use super::partition::partition_of;
use crate::binder::{OutgoingBatch, Producer, ProducerBinding, SharedBinder};
use crate::codec::Encode;
use crate::message::ContentType;
use crate::runtime::{BindingState, Common, StateCell, bind_waits, connect};
use crate::{Error, ErrorKind, Result};

/// An output without its type.
pub(crate) struct OutputCore {
    pub(crate) binding: ProducerBinding,
    pub(crate) binder_name: Arc<str>,
    pub(crate) common: Common,
    pub(crate) state: StateCell,
    /// By what partitions are chosen, if it is not the broker's client that does.
    pub(crate) partition_key: Option<KeySource>,
    binder: SharedBinder,
    producer: OnceLock<Arc<dyn Producer>>,
    started: AtomicBool,
    closed: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
    dynamic: Mutex<HashMap<String, Arc<OutputCore>>>,
    spare: Mutex<Option<OutgoingBatch>>,
}

/// Where payload and key are encoded to before a client copies them.
#[derive(Default)]
struct Buffers {
    payload: Vec<u8>,
    key: Vec<u8>,
}

thread_local! {
    /// In a box, so that lending moves one word.
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// A buffer above this size is given back to the allocator after use.
const KEPT: usize = 1 << 20;

/// Lends this thread's buffers for payload and key, both empty.
#[inline(always)]
pub(crate) fn with_buffers<R>(use_them: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> R) -> R {
    let mut buffers = BUFFERS.take().unwrap_or_default();
    buffers.payload.clear();
    buffers.key.clear();
    let result = use_them(&mut buffers.payload, &mut buffers.key);
    if buffers.payload.capacity() <= KEPT && buffers.key.capacity() <= KEPT {
        BUFFERS.set(Some(buffers));
    }
    result
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OutputCore {
    pub(crate) fn new(binding: ProducerBinding, binder_name: Arc<str>, binder: SharedBinder, common: Common) -> Self {
        Self {
            state: StateCell::new(Arc::clone(&binding.channel), binding.status.clone(), common.hooks.clone()),
            partition_key: binding.properties.partition_key.as_deref().and_then(KeySource::parse),
            binding,
            binder_name,
            common,
            binder,
            producer: OnceLock::new(),
            started: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            task: Mutex::new(None),
            dynamic: Mutex::default(),
            spare: Mutex::new(None),
        }
    }

    /// Begins to connect, in a task of its own; a second call does nothing.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.started.swap(true, SeqCst) {
            return;
        }
        // here, not in the task: who asks before it runs must not hear that all is well
        if self.state.begin(false) {
            self.state.show();
        }
        let core = Arc::clone(self);
        let task = tokio::spawn(async move { core.connect().await });
        *lock(&self.task) = Some(task.abort_handle());
    }

    async fn connect(&self) {
        if let Err(error) = self.binder.check_producer(&self.binding) {
            return self.state.stop(&self.in_context(error));
        }
        let bind = || self.binder.bind_producer(&self.binding);
        let bound = connect(&self.state, bind_waits(), |error| self.in_context(error), bind).await;
        match bound {
            Ok(producer) => {
                let _ = self.producer.set(producer);
                self.state.set(BindingState::Running);
            }
            Err(error) => {
                let error = self.in_context(error);
                tracing::error!(channel = %self.binding.channel, "the output stopped: {error:?}");
                self.state.stop(&error);
            }
        }
    }

    /// Returns the producer, at once if there is one.
    #[inline]
    pub(crate) fn bound(&self) -> Option<&dyn Producer> {
        let producer = self.producer.get()?;
        (!self.closed.load(SeqCst)).then_some(producer.as_ref())
    }

    /// Waits for the producer, at most until the deadline of a send.
    #[cold]
    pub(crate) async fn wait_bound(self: &Arc<Self>, deadline: Instant) -> Result<&dyn Producer> {
        if let Some(producer) = self.bound() {
            return Ok(producer);
        }
        if self.closed.load(SeqCst) {
            return Err(self.in_context(Error::new(ErrorKind::Closed, "the application is closed")));
        }
        self.start();
        let ready = tokio::time::timeout_at(deadline, self.state.ready()).await;
        match (ready, self.bound()) {
            (Ok(Err(stopped)), _) => Err(self.in_context(stopped)),
            (_, Some(producer)) => Ok(producer),
            _ => Err(self.in_context(timed_out(&format!("no connection: {}", self.state.get())))),
        }
    }

    /// Waits for room in the producer's window, at most until the deadline of a send.
    pub(crate) async fn wait_room(&self, producer: &dyn Producer, deadline: Instant) -> Result<()> {
        let room = poll_fn(|context| producer.poll_ready(context));
        let waited = tokio::time::timeout_at(deadline, room).await;
        waited.unwrap_or_else(|_| Err(timed_out("the window of unconfirmed messages stayed full")))
    }

    /// Appends the bytes of a payload; answers whether there is one.
    #[inline]
    pub(crate) fn write<T: Encode>(
        &self,
        payload: Option<&T>,
        content_type: &ContentType,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let Some(payload) = payload else { return Ok(false) };
        payload.encode(&self.common.codecs, content_type, out).map(|()| true)
    }

    /// Returns the partition of a hash code.
    #[cold]
    pub(crate) fn partition_of(&self, producer: &dyn Producer, hash: i32) -> Result<u32> {
        let count = producer.partitions().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the binder has no partitions, but the message has a partition key")
        })?;
        Ok(partition_of(hash, count))
    }

    pub(crate) fn binder(&self) -> &SharedBinder {
        &self.binder
    }

    /// Returns whether the binder can publish in a transaction.
    pub(crate) fn has_transactions(&self) -> bool {
        self.binder.transactions().is_some()
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.binding.properties.send_timeout
    }

    /// Says of an error where it happened.
    #[cold]
    pub(crate) fn in_context(&self, error: Error) -> Error {
        let error = error.with_context("operation", "send").with_context("binding", &*self.binding.channel);
        error.with_context("destination", &*self.binding.destination).with_context("binder", &*self.binder_name)
    }

    /// Returns the output of another destination with the same settings; made once and kept.
    pub(crate) fn to(self: &Arc<Self>, destination: &str) -> Arc<Self> {
        let mut dynamic = lock(&self.dynamic);
        if let Some(known) = dynamic.get(destination) {
            return Arc::clone(known);
        }
        let mut binding = self.binding.clone();
        binding.destination = destination.to_owned();
        binding.status = crate::binder::Status::new();
        let core = Self::new(binding, Arc::clone(&self.binder_name), self.binder.clone(), self.common.clone());
        let core = Arc::new(core);
        dynamic.insert(destination.to_owned(), Arc::clone(&core));
        core
    }

    /// Returns an empty batch, used before if possible.
    pub(crate) fn take_batch(&self) -> OutgoingBatch {
        let spare = lock(&self.spare).take();
        spare.unwrap_or_else(|| OutgoingBatch::new(self.binding.content_type.clone()))
    }

    /// Gives a batch back for the next use.
    pub(crate) fn keep_batch(&self, mut batch: OutgoingBatch) {
        batch.clear();
        *lock(&self.spare) = Some(batch);
    }

    /// Waits until everything is confirmed, at most so long, and closes; the dynamic destinations too.
    pub(crate) async fn close(&self, patience: Duration) {
        let dynamic: Vec<_> = lock(&self.dynamic).values().map(Arc::clone).collect();
        let others = join_all(dynamic.iter().map(|core| core.close_own(patience)));
        futures::join!(others, self.close_own(patience));
    }

    async fn close_own(&self, patience: Duration) {
        if let Some(producer) = self.producer.get() {
            match tokio::time::timeout(patience, producer.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(channel = %self.binding.channel, "closing the output: {error:?}"),
                Err(_) => {
                    tracing::warn!(channel = %self.binding.channel, "messages are unconfirmed at the end of the shutdown")
                }
            }
        }
        self.abort();
    }

    /// Ends at once; later sends fail as closed.
    pub(crate) fn abort(&self) {
        self.closed.store(true, SeqCst);
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        self.state.set(BindingState::Idle);
        lock(&self.dynamic).values().for_each(|core| core.abort());
    }
}

#[cold]
fn timed_out(what: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("not sent within `send-timeout`: {what}")).retryable()
}

impl fmt::Debug for OutputCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputCore").field("binding", &self.binding).finish_non_exhaustive()
    }
}
