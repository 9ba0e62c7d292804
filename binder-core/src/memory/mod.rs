//! A binder inside the process: for tests, for examples, and for a service that needs no broker yet.
//!
//! A destination is a log with partitions, kept as long as a clone of the [`MemoryBinder`] lives. A named group reads it from the oldest message
//! that is kept, even if it comes late; several applications that share one binder behave like processes that share a broker.
//!
//! ```
//! use binder_core::binder::{Binder, BatchView, ConsumerBinding, Received};
//! use binder_core::memory::MemoryBinder;
//! use binder_core::message::Message;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> binder_core::Result<()> {
//! let memory = MemoryBinder::new();
//! memory.publish("orders", Message::new("paid").with_key("order-1"))?;
//!
//! let mut billing = ConsumerBinding::new("orders");
//! billing.group = Some("billing".to_owned());
//! let mut orders = memory.bind_consumer(&billing).await?;
//! let Received::Batch(batch) = orders.recv_many(10).await? else { panic!("nothing was revoked") };
//! assert_eq!(batch.payload(0), Some(&b"paid"[..]));
//!
//! let last = batch.token(0);
//! drop(batch);
//! orders.settle(last.lane, last.sequence)?;
//! memory.idle().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What blocks
//! A partition keeps 65,536 messages (`binders.<name>.retention`). When it is full, the oldest message goes if every group has settled
//! it; if not, producers wait. A named group without a consumer counts too: it comes back for its messages.

mod assignment;
mod batch;
mod chunk;
mod consumer;
mod dead_letters;
mod destination;
mod extra;
mod group;
mod hub;
mod inspect;
mod item;
mod log;
mod mailbox;
mod partition;
mod partitioner;
mod producer;
mod progress;
mod returns;
mod settings;
mod stamp;
mod store;
#[cfg(test)]
mod tests;
mod transaction;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::Result;
use crate::binder::{
    Binder, BinderContext, BinderFactory, BinderHealth, Capability, Consumer, ConsumerBinding, DeadLetterStore, Delay,
    DelaySink, Producer, ProducerBinding, Seek, SharedBinder, Transactions,
};
use consumer::MemoryConsumer;
use hub::{Hub, Session};
use producer::MemoryProducer;
use returns::Returns;
use settings::BinderSettings;

/// The embedded binder.
///
/// Clones are the same connection to the same destinations. [`connect`](Self::connect) opens another connection to them; so does an application
/// that was given the binder as its factory.
#[derive(Clone)]
pub struct MemoryBinder {
    session: Arc<Session>,
}

impl MemoryBinder {
    /// What the binder can do.
    pub const CAPABILITY: Capability = Capability {
        native_keys: true,
        partitions: true,
        seek: true,
        delay: true,
        dead_letter_store: true,
        transactions: true,
        unroutable: false,
        durable: false,
    };

    /// Creates a binder without destinations.
    pub fn new() -> Self {
        Self { session: Arc::new(Session::new(Arc::<Hub>::default())) }
    }

    /// Creates a binder whose partitions keep so many messages, at least one.
    pub fn with_retention(retention: usize) -> Self {
        let hub = Hub::keeping(retention.max(1));
        Self { session: Arc::new(Session::new(Arc::new(hub))) }
    }

    /// Opens another connection to the same destinations, as another process would: closing one leaves the other open.
    #[must_use]
    pub fn connect(&self) -> Self {
        Self { session: Arc::new(Session::new(Arc::clone(&self.session.hub))) }
    }

    fn configured(self, context: &BinderContext) -> Result<SharedBinder> {
        if let Some(retention) = context.section.read::<BinderSettings>()?.retention {
            settings::check_retention(retention)?;
            self.session.hub.set_retention(retention)?;
        }
        Ok(SharedBinder::new(self))
    }
}

impl Default for MemoryBinder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destinations = self.session.hub.all();
        let names = destinations.iter().map(|destination| destination.name());
        f.debug_struct("MemoryBinder").field("destinations", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// Returns a factory that makes a new binder for every entry of `binders`.
pub fn factory() -> impl BinderFactory {
    |context: &BinderContext| MemoryBinder::new().configured(context)
}

/// Shares this binder's destinations with everything that the factory is given to; each gets a connection of its own.
impl BinderFactory for MemoryBinder {
    fn create(&self, context: &BinderContext) -> Result<SharedBinder> {
        self.connect().configured(context)
    }
}

/// Consumers do the work.
impl Seek for MemoryBinder {}

#[async_trait]
impl Binder for MemoryBinder {
    fn capability(&self) -> Capability {
        Self::CAPABILITY.with_traits_of(self)
    }

    fn check_consumer(&self, binding: &ConsumerBinding) -> Result<()> {
        settings::check_consumer(binding)
    }

    fn check_producer(&self, binding: &ProducerBinding) -> Result<()> {
        settings::check_producer(binding)
    }

    async fn bind_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        let consumer = MemoryConsumer::open(&self.session, binding)?;
        // it is in this process
        binding.status.hears(|| Some(Duration::ZERO));
        binding.status.up();
        Ok(Box::new(consumer))
    }

    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>> {
        let producer = MemoryProducer::open(&self.session, binding)?;
        binding.status.up();
        Ok(Arc::new(producer))
    }

    fn health(&self) -> BinderHealth {
        BinderHealth::Up
    }

    async fn close(&self) -> Result<()> {
        self.session.close();
        Ok(())
    }

    fn delay(&self) -> Option<&dyn Delay> {
        Some(self)
    }

    fn seek(&self) -> Option<&dyn Seek> {
        Some(self)
    }

    fn dead_letter_store(&self) -> Option<&dyn DeadLetterStore> {
        Some(self)
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        Some(self)
    }
}

impl Delay for MemoryBinder {
    fn sink(&self, binding: &ConsumerBinding) -> Result<Arc<dyn DelaySink>> {
        Ok(Arc::new(Returns::new(&self.session, binding.group.as_deref().unwrap_or_default())))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
