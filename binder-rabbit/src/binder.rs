//! The binder: two connections, and what is opened over them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use binder_core::binder::{
    Binder, BinderContext, BinderFactory, BinderHealth, Capability, Consumer, ConsumerBinding, DeadLetterPass,
    DeadLetterStore, Delay, DelaySink, Producer, ProducerBinding, Purpose, Seek, SharedBinder, Transactions,
};
use binder_core::config::{HeaderMode, ProducerProperties, Start};
use binder_core::{Error, ErrorKind, Result};

use crate::config::{RabbitConsumerProperties, RabbitProducerProperties, RabbitProperties};
use crate::consumer::RabbitConsumer;
use crate::delay::Delays;
use crate::link::Link;
use crate::producer::RabbitProducer;
use crate::queues::{self, QueueSettings};
use crate::store::Pass;
use crate::stream::ContainerType;
use crate::topology::{ProducerPlan, QueuePlan, consumer_queues};
use crate::{names, patience};

/// Makes RabbitMQ binders, for the application's builder.
pub fn factory() -> impl BinderFactory {
    |context: &BinderContext| RabbitBinder::new(context).map(SharedBinder::new)
}

/// Connects channels to RabbitMQ. Opens its two connections when the first binding needs them.
pub struct RabbitBinder {
    name: Arc<str>,
    publish: Arc<Link>,
    consume: Arc<Link>,
}

impl RabbitBinder {
    /// Makes a binder from its configuration, without connecting.
    pub fn new(context: &BinderContext) -> Result<Self> {
        let settings: RabbitProperties = context.section.read()?;
        let checked = settings.check();
        #[cfg(feature = "tls")]
        let checked = checked.and_then(|()| crate::tls::connector(&settings).map(drop));
        checked.map_err(|error| error.with_context("binder", context.name.as_str()))?;
        let settings = Arc::new(settings);
        let name: Arc<str> = context.name.as_str().into();
        let link = |role| Arc::new(Link::new(Arc::clone(&name), role, Arc::clone(&settings)));
        Ok(Self { publish: link("publish"), consume: link("consume"), name })
    }

    fn check_input(&self, binding: &ConsumerBinding, settings: &RabbitConsumerProperties) -> Result<()> {
        check_input(binding, settings)?;
        let queue = QueueSettings::from(settings);
        queues::check(binding, &queue)?;
        if settings.container_type == ContainerType::Stream {
            queue.check_stream()?;
        }
        settings.dlq_quorum.check_dead_letters(binding.has_dead_letters())?;
        patience::check(&binding.properties, self.consume.settings().consumer_timeout)
    }

    /// Returns what this binder supports.
    pub fn supports() -> Capability {
        let mut capability = Capability::default();
        capability.partitions = true;
        capability.unroutable = true;
        capability.durable = true;
        capability.delay = true;
        capability.dead_letter_store = true;
        capability
    }
}

#[async_trait]
impl Binder for RabbitBinder {
    fn capability(&self) -> Capability {
        Self::supports().with_traits_of(self)
    }

    fn check_consumer(&self, binding: &ConsumerBinding) -> Result<()> {
        let settings: RabbitConsumerProperties = binding.section.read()?;
        self.check_input(binding, &settings)?;
        let queues = consumer_queues(binding, &settings).len();
        if let Some(text) = queues::idle_handlers(&binding.properties, queues) {
            tracing::warn!(binder = %self.name, channel = %binding.channel, "{text}");
        }
        Ok(())
    }

    fn check_producer(&self, binding: &ProducerBinding) -> Result<()> {
        let settings: RabbitProducerProperties = binding.section.read()?;
        check_output(&binding.properties)?;
        binding.properties.required_groups.iter().try_for_each(|group| names::check("group", group))?;
        names::check("destination", &binding.destination)?;
        if binding.properties.partition_count > 1 {
            names::check_key(&names::partition(&binding.destination, binding.properties.partition_count - 1))?;
        }
        let queue = QueueSettings::from(&settings);
        queue.check()?;
        queue.check_limit(settings.dead_letters)?;
        settings.dlq_quorum.check_dead_letters(settings.dead_letters)?;
        ProducerPlan::new(binding, &settings).check()
    }

    async fn bind_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        let settings: RabbitConsumerProperties = binding.section.read()?;
        self.check_input(binding, &settings)?;
        let consumer = RabbitConsumer::open(&self.consume, &self.publish, binding, &settings).await?;
        tracing::info!(binder = %self.name, channel = %binding.channel, ?consumer, "consuming");
        Ok(Box::new(consumer))
    }

    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>> {
        self.check_producer(binding)?;
        let settings: RabbitProducerProperties = binding.section.read()?;
        let producer = RabbitProducer::open(Arc::clone(&self.publish), binding, &settings).await?;
        tracing::info!(binder = %self.name, channel = %binding.channel, destination = binding.destination, "publishing");
        Ok(Arc::new(producer))
    }

    fn health(&self) -> BinderHealth {
        let known = [self.publish.health(), self.consume.health()];
        let mut known = known.into_iter().flatten().peekable();
        if known.peek().is_none() {
            return BinderHealth::Connecting("not connected yet".to_owned());
        }
        known.find(|health| *health != BinderHealth::Up).unwrap_or(BinderHealth::Up)
    }

    async fn close(&self) -> Result<()> {
        futures::join!(self.publish.close(), self.consume.close());
        Ok(())
    }

    fn delay(&self) -> Option<&dyn Delay> {
        Some(self)
    }

    fn seek(&self) -> Option<&dyn Seek> {
        None
    }

    fn dead_letter_store(&self) -> Option<&dyn DeadLetterStore> {
        Some(self)
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        None
    }
}

impl Delay for RabbitBinder {
    fn sink(&self, binding: &ConsumerBinding) -> Result<Arc<dyn DelaySink>> {
        let settings: RabbitConsumerProperties = binding.section.read()?;
        Ok(Arc::new(Delays::new(Arc::clone(&self.publish), binding, &settings)))
    }
}

#[async_trait]
impl DeadLetterStore for RabbitBinder {
    async fn open(&self, binding: &ConsumerBinding, purpose: Purpose) -> Result<Box<dyn DeadLetterPass>> {
        let settings: RabbitConsumerProperties = binding.section.read()?;
        Ok(Box::new(Pass::new(&self.consume, &self.publish, binding, &settings, purpose)))
    }
}

impl fmt::Debug for RabbitBinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.publish.settings().url;
        f.debug_struct("RabbitBinder").field("name", &self.name).field("url", url).finish_non_exhaustive()
    }
}

fn refuse(text: impl Into<String>) -> Result<()> {
    Err(Error::new(ErrorKind::Config, text.into()))
}

fn check_input(binding: &ConsumerBinding, settings: &RabbitConsumerProperties) -> Result<()> {
    if binding.destinations.is_empty() {
        return refuse("the input names no destination");
    }
    if let Some(group) = &binding.group {
        names::check("group", group)?;
    }
    for destination in &binding.destinations {
        names::check("destination", destination)?;
    }
    let properties = &binding.properties;
    if properties.prefetch.is_some_and(|prefetch| prefetch == 0 || prefetch > u32::from(u16::MAX)) {
        return refuse(format!("`prefetch` must be 1 to {}", u16::MAX));
    }
    if binding.group.is_some() && properties.start == Some(Start::Latest) {
        let text = "`start: latest` of a named group: a RabbitMQ queue holds what came since it was declared";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    check_mode(properties.header_mode)?;
    let is_stream = settings.container_type == ContainerType::Stream;
    if is_stream && binding.group.is_some() {
        let text = "`rabbit.container-type: stream` with a `group`: AMQP 0.9.1 keeps no position for it; leave out the `group`, or read \
                    a queue";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if binding.group.is_none() && properties.start == Some(Start::Earliest) && !is_stream {
        let text = "`start: earliest` without a group: an anonymous queue holds what came since it was declared; a stream holds more \
                    (`rabbit.container-type: stream`)";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if !properties.partitioned && settings.partitions.is_some() {
        return refuse("`rabbit.partitions` needs `partitioned: true`");
    }
    let queues = consumer_queues(binding, settings);
    if queues.is_empty() {
        return refuse(format!("instance {} has no partition: there are fewer than instances", binding.instance.index));
    }
    queues.iter().try_for_each(QueuePlan::check)
}

fn check_output(properties: &ProducerProperties) -> Result<()> {
    if properties.window == 0 {
        return refuse("`window` must be at least 1");
    }
    if properties.partition_count == 0 {
        return refuse("`partition-count` must be at least 1");
    }
    check_mode(properties.header_mode)
}

fn check_mode(mode: HeaderMode) -> Result<()> {
    if mode == HeaderMode::Embedded {
        let text =
            "`header-mode: embedded`: RabbitMQ carries headers by itself, and nobody looks for them in a body there";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(())
}
