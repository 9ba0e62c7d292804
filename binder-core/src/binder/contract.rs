//! What a binder is.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;

use super::{BinderHealth, Consumer, DeadLetterStore, Delay, Producer, Status, Transactions};
use crate::Result;
use crate::config::{ConsumerProperties, ProducerProperties, Provision, Section};
use crate::message::ContentType;

/// What a binder can do; what it can't is refused at bind, never ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capability {
    /// Messages have a key of their own on the broker.
    pub native_keys: bool,
    /// Destinations have partitions.
    pub partitions: bool,
    /// A group has a position that can be moved: [`Binder::seek`].
    pub seek: bool,
    /// The broker redelivers later: [`Binder::delay`].
    pub delay: bool,
    /// Dead letters can be listed and sent back: [`Binder::dead_letter_store`].
    pub dead_letter_store: bool,
    /// Messages can be published together or not at all: [`Binder::transactions`].
    pub transactions: bool,
    /// A message that nobody takes is reported.
    pub unroutable: bool,
    /// A message outlives the process that holds the binder.
    pub durable: bool,
}

impl Capability {
    /// Says of what is a trait of its own whether the binder has it.
    #[must_use]
    pub fn with_traits_of(mut self, binder: &dyn Binder) -> Self {
        self.seek = binder.seek().is_some();
        self.delay = binder.delay().is_some();
        self.dead_letter_store = binder.dead_letter_store().is_some();
        self.transactions = binder.transactions().is_some();
        self
    }
}

/// Which instance of the service this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// From 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

/// All that a binder needs to know of an input.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerBinding {
    /// The channel's name.
    pub channel: Arc<str>,
    /// The destinations, at least one.
    pub destinations: Vec<String>,
    /// The group; `None` is an anonymous subscription.
    pub group: Option<String>,
    /// The content type of messages that say none.
    pub content_type: ContentType,
    /// What may be created.
    pub provision: Provision,
    /// The settings that every binder knows.
    pub properties: ConsumerProperties,
    /// The settings of this kind of broker: `consumer.<type>.*`.
    pub section: Section,
    /// Which instance this is.
    pub instance: Instance,
    /// Whether the consumer tells what it is [assigned](super::Received::Assigned); somebody wants to hear it.
    pub tells_assignments: bool,
    /// Where the binder reports.
    pub status: Status,
}

impl ConsumerBinding {
    /// Creates a binding with default settings, of which the channel is also the only destination.
    pub fn new(channel: impl Into<Arc<str>>) -> Self {
        let channel = channel.into();
        Self {
            destinations: vec![channel.as_ref().to_owned()],
            channel,
            group: None,
            content_type: ContentType::JSON,
            provision: Provision::Create,
            properties: ConsumerProperties::default(),
            section: Section::default(),
            instance: Instance { index: 0, count: 1 },
            tells_assignments: false,
            status: Status::new(),
        }
    }

    /// Returns whether exhausted messages of this binding become dead letters.
    pub fn has_dead_letters(&self) -> bool {
        self.group.is_some() && self.properties.dead_letters.unwrap_or(true)
    }

    /// Returns how many partitions a destination gets that is created for this binding: enough for all handlers of all instances where
    /// the order of partitions is kept, as Spring Cloud Stream does, else one.
    pub fn wanted_partitions(&self) -> u32 {
        match self.properties.ordering {
            crate::config::Ordering::Partition => (self.instance.count * self.properties.concurrency).max(1),
            _ => 1,
        }
    }
}

/// All that a binder needs to know of an output.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProducerBinding {
    /// The channel's name.
    pub channel: Arc<str>,
    /// The destination.
    pub destination: String,
    /// What may be created.
    pub provision: Provision,
    /// The content type of what is sent, unless the message has its own.
    pub content_type: ContentType,
    /// The settings that every binder knows.
    pub properties: ProducerProperties,
    /// The settings of this kind of broker: `producer.<type>.*`.
    pub section: Section,
    /// Where the binder reports.
    pub status: Status,
}

impl ProducerBinding {
    /// Creates a binding with default settings, of which the channel is also the destination.
    pub fn new(channel: impl Into<Arc<str>>) -> Self {
        let channel = channel.into();
        Self {
            destination: channel.as_ref().to_owned(),
            channel,
            provision: Provision::Create,
            content_type: ContentType::JSON,
            properties: ProducerProperties::default(),
            section: Section::default(),
            status: Status::new(),
        }
    }
}

/// Connects channels to one kind of broker.
///
/// # Contract
/// `check_*` look at names and settings without a connection and refuse what can never work. `bind_*` connect, provision and return a
/// working half; if the broker is not reached they fail with a retryable error and core tries again, so they keep nothing from a failed
/// call. A half that works says so by [`Status::up`], or its binding counts as connecting. What [`capability`](Self::capability) denies fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
#[async_trait]
pub trait Binder: fmt::Debug + Send + Sync + 'static {
    /// Reports what this binder supports; the conformance suite reads it.
    fn capability(&self) -> Capability;

    /// Checks an input without connecting: forbidden names, settings that contradict each other.
    fn check_consumer(&self, binding: &ConsumerBinding) -> Result<()>;

    /// Checks an output without connecting.
    fn check_producer(&self, binding: &ProducerBinding) -> Result<()>;

    /// Opens the receiving half of a channel.
    async fn bind_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>>;

    /// Opens the sending half of a channel.
    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>>;

    /// Returns whether there is a connection; never waits.
    fn health(&self) -> BinderHealth;

    /// Closes the connections; halves that are still open fail afterwards.
    async fn close(&self) -> Result<()>;

    /// Returns redelivery by the broker after a delay.
    fn delay(&self) -> Option<&dyn Delay>;

    /// Returns whether groups have positions that can be moved: `Some` if consumers do [`Consumer::seek`].
    fn seek(&self) -> Option<&dyn Seek>;

    /// Returns the store of dead letters.
    fn dead_letter_store(&self) -> Option<&dyn DeadLetterStore>;

    /// Returns transactions.
    fn transactions(&self) -> Option<&dyn Transactions>;
}

/// Moving a group's position. It has no methods: a consumer is owned by one task, which alone can stop the intake and move it, so the work
/// is [`Consumer::seek`]. That a binder returns one says that its consumers can.
pub trait Seek: Send + Sync {}

/// A binder that several applications and bindings share.
///
/// A type of its own rather than an alias: a generic async fn over a bare `Arc<dyn Binder>` can't be spawned (rust-lang/rust#102870).
#[derive(Clone, Debug)]
pub struct SharedBinder(Arc<dyn Binder>);

impl SharedBinder {
    /// Shares a binder.
    pub fn new(binder: impl Binder) -> Self {
        Self(Arc::new(binder))
    }
}

impl Deref for SharedBinder {
    type Target = dyn Binder;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}

/// What a factory is given.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BinderContext {
    /// Name of the entry of `binders`.
    pub name: String,
    /// The entry without `type` and `default`.
    pub section: Section,
}

impl BinderContext {
    /// Creates a context.
    pub fn new(name: impl Into<String>, section: Section) -> Self {
        Self { name: name.into(), section }
    }
}

/// Makes binders of one type; registered with the application's builder under a type name.
pub trait BinderFactory: Send + Sync + 'static {
    /// Makes a binder from its configuration. Checks it, but opens no connection.
    fn create(&self, context: &BinderContext) -> Result<SharedBinder>;
}

impl<F> BinderFactory for F
where
    F: Fn(&BinderContext) -> Result<SharedBinder> + Send + Sync + 'static,
{
    fn create(&self, context: &BinderContext) -> Result<SharedBinder> {
        self(context)
    }
}
