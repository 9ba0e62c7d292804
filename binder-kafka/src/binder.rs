//! The binder: checks, binds, closes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use binder_core::binder::{
    Binder, BinderContext, BinderFactory, BinderHealth, Capability, Consumer, ConsumerBinding, DeadLetterPass,
    DeadLetterStore, Delay, DelaySink, Producer, ProducerBinding, Purpose, Seek, SeekTo, SharedBinder, Status,
    Transactions, Transactor,
};
use binder_core::config::{HeaderMode, Provision, Start};
use binder_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use uuid::Uuid;

use crate::commit::looks;
use crate::config::{
    GroupProtocol, KafkaConsumerProperties, KafkaProducerProperties, KafkaProperties, Settings, TopicProperties,
};
use crate::consumer::{Client, KafkaConsumer};
use crate::dead_letters::KafkaDeadLetters;
use crate::delay::KafkaDelays;
use crate::full::Full;
use crate::lanes::Lanes;
use crate::link::{Access, Link, Shared, lock};
use crate::pair::{Pair, SECOND, second_group};
use crate::partitions::Partitions;
use crate::producer::KafkaProducer;
use crate::provision::{Provisioner, Wanted, check_name, dead_letter_topic};
use crate::rebalance::Group;
use crate::returned::{self, Return};
use crate::sender::Sender;
use crate::store::Pass;
use crate::transaction::KafkaTransactor;
use crate::{embedded, error, membership, settings, transaction};

/// How long a dead letter may take.
const DEAD_LETTER_PATIENCE: Duration = Duration::from_secs(30);
const DEAD_LETTER_WINDOW: u32 = 1000;

/// Connects channels to Kafka.
#[derive(Debug)]
pub struct KafkaBinder {
    name: String,
    properties: KafkaProperties,
    shared: Arc<Shared>,
}

/// Returns the factory to register under a type name, usually `kafka`.
pub fn factory() -> impl BinderFactory {
    |context: &BinderContext| KafkaBinder::new(context).map(SharedBinder::new)
}

impl KafkaBinder {
    /// What this binder supports.
    pub fn supports() -> Capability {
        let mut capability = Capability::default();
        capability.native_keys = true;
        capability.partitions = true;
        capability.durable = true;
        capability.delay = true;
        capability.dead_letter_store = true;
        capability.seek = true;
        capability.transactions = true;
        capability
    }

    /// Creates a binder from its configuration; opens no connection.
    pub fn new(context: &BinderContext) -> Result<Self> {
        let properties: KafkaProperties = context.section.read()?;
        settings::check(&properties, &properties.configuration, &context.section)?;
        let checked = properties.check();
        #[cfg(feature = "tls")]
        let checked = checked.and_then(|()| properties.tls.as_ref().map_or(Ok(()), crate::tls::check));
        checked.map_err(|error| error.with_context("binder", context.name.as_str()))?;
        settings::verify(&settings::common(&properties, &Settings::default()))
            .map_err(|error| error.with_context("binder", context.name.as_str()))?;
        let access =
            Access { user: properties.sasl.as_ref().map(|sasl| sasl.username.clone()), tls: properties.tls.clone() };
        Ok(Self { name: context.name.clone(), properties, shared: Arc::new(Shared::new(access)) })
    }

    fn link(&self, channel: &Arc<str>, status: &Status) -> Link {
        Link::new(&self.name, Arc::clone(channel), &self.shared, Some(status.clone()))
    }

    fn provisioner(&self, own: &Settings, link: Link) -> Result<Provisioner> {
        Provisioner::new(settings::common(&self.properties, own), link)
    }

    fn wanted<'a>(&self, topic: &'a str, partitions: u32, properties: &'a TopicProperties) -> Wanted<'a> {
        let partitions = partitions.max(self.properties.min_partition_count).max(1);
        Wanted { topic, partitions, properties, replication_factor: self.properties.replication_factor }
    }

    /// Makes sure of the topics of an input and of its dead letters.
    async fn provision(&self, binding: &ConsumerBinding, own: &KafkaConsumerProperties) -> Result<Topics> {
        let provisioner = self.provisioner(&own.configuration, self.link(&binding.channel, &binding.status))?;
        let mut topics = Topics::default();
        for topic in &binding.destinations {
            let wanted = self.wanted(topic, binding.wanted_partitions(), &own.topic);
            let partitions = provisioner.ensure(wanted, binding.provision).await?;
            if starts_here(binding) {
                let ends = provisioner.ends(topic, partitions.unwrap_or(0)).await?;
                let name: Arc<str> = topic.as_str().into();
                topics.starts.extend((0..).zip(ends).map(|(partition, end)| (Arc::clone(&name), partition, end)));
            }
            if let Some(group) = binding.group.as_ref().filter(|_| binding.has_dead_letters()) {
                let target = dead_letter_topic(topic, group);
                let wanted = self.wanted(&target, partitions.unwrap_or(1), &own.topic);
                let found = provisioner.ensure(wanted, binding.provision).await?;
                topics.dead_letters.insert(topic.clone(), (target, found));
                let back = self.redrive_topic(&provisioner, binding, &own.topic, topic).await?;
                topics.returns.extend(back);
            }
            let group = binding.group.as_deref().unwrap_or_default();
            for wait in binding.rungs() {
                let rung = returned::rung_topic(topic, group, wait);
                provisioner.ensure(self.wanted(&rung, partitions.unwrap_or(1), &own.topic), binding.provision).await?;
                let (topic, source) = (rung.into(), topic.as_str().into());
                topics.returns.push(Return { topic, source, wait: Some(wait) });
            }
        }
        provisioner.finish().await?;
        Ok(topics)
    }

    /// Makes sure of the topic to which dead letters are sent back. Where nothing may be provisioned, it is read if it is there.
    async fn redrive_topic(
        &self,
        provisioner: &Provisioner,
        binding: &ConsumerBinding,
        properties: &TopicProperties,
        topic: &str,
    ) -> Result<Option<Return>> {
        let back = returned::redrive_topic(topic, binding.group.as_deref().unwrap_or_default());
        // one partition, however many the topic has: the group's members share the partitions of both together
        let wanted = Wanted { partitions: 1, ..self.wanted(&back, 1, properties) };
        let found = match provisioner.ensure(wanted, binding.provision).await {
            Err(error) if binding.provision == Provision::None && error.kind() == ErrorKind::Refused => None,
            found => found?,
        };
        Ok(found.map(|_| Return { topic: back.as_str().into(), source: topic.into(), wait: None }))
    }

    async fn open_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        let own: KafkaConsumerProperties = binding.section.read()?;
        let topics = self.provision(binding, &own).await?;
        let group = binding.group.clone().unwrap_or_else(|| format!("anonymous.{}", Uuid::new_v4()));
        let link = self.link(&binding.channel, &binding.status);
        let dead_letters = self.dead_letters(binding, &own, topics.dead_letters)?;
        let config = settings::consumer(&self.properties, &own, binding, &group);
        let transactor = match binding.properties.transactional {
            true => {
                let what = format!("{}.{group}.{}", self.name, binding.channel);
                Some(self.open_transactor(&own.configuration, &what, link.clone()).await?)
            }
            false => None,
        };
        let consumer = |client, returns, dead_letters, transactor| KafkaConsumer {
            client: Client::new(client, &link, &config),
            shared: Arc::clone(&self.shared),
            topics: binding.destinations.iter().map(|topic| Arc::from(topic.as_str())).collect(),
            returns,
            held: Mutex::default(),
            full: Full::default(),
            reads_headers: binding.properties.header_mode != HeaderMode::None,
            reads_embedded: reads_embedded(binding),
            commit_count: own.commit_count,
            dead_letters,
            transactor,
            looks: looks(own.commit_interval),
        };
        let mut lanes = Lanes::starting_at(topics.starts);
        if binding.tells_assignments {
            lanes.told = binding.destinations.iter().map(|topic| Arc::from(topic.as_str())).collect();
        }
        lanes.returns = topics.returns.iter().map(|back| Arc::clone(&back.topic)).collect();
        let destinations = binding.destinations.iter().map(String::as_str);
        let returns = topics.returns.iter().map(|back| back.topic.as_ref());
        let opened: Box<dyn Consumer> = if needs_second(binding, &own) && !topics.returns.is_empty() {
            let mut second = config.clone();
            second.set("group.id", second_group(&group)).set("auto.offset.reset", "earliest");
            let second = subscribed(&second, &link, Lanes::beginning_at(SECOND), &returns.collect::<Vec<_>>())?;
            let first = subscribed(&config, &link, lanes, &destinations.collect::<Vec<_>>())?;
            let first = consumer(first, Vec::new(), dead_letters, transactor);
            Box::new(Pair::new(first, consumer(second, topics.returns, None, None)))
        } else {
            let client = subscribed(&config, &link, lanes, &destinations.chain(returns).collect::<Vec<_>>())?;
            Box::new(consumer(client, topics.returns, dead_letters, transactor))
        };
        if config.get("statistics.interval.ms") != Some("0") {
            link.tells(membership::patience(&config));
        }
        link.up();
        Ok(opened)
    }

    fn dead_letters(
        &self,
        binding: &ConsumerBinding,
        own: &KafkaConsumerProperties,
        targets: HashMap<String, (String, Option<u32>)>,
    ) -> Result<Option<Arc<KafkaDeadLetters>>> {
        let Some(group) = binding.group.as_ref().filter(|_| binding.has_dead_letters()) else { return Ok(None) };
        let config = settings::sender(&self.properties, &own.configuration, DEAD_LETTER_PATIENCE);
        let sender = Sender::new(&config, DEAD_LETTER_WINDOW, self.link(&binding.channel, &binding.status))?;
        Ok(Some(Arc::new(KafkaDeadLetters::new(sender, group, targets))))
    }

    async fn open_producer(&self, binding: &ProducerBinding) -> Result<KafkaProducer> {
        let own: KafkaProducerProperties = binding.section.read()?;
        let provisioner = self.provisioner(&own.configuration, self.link(&binding.channel, &binding.status))?;
        let wanted = self.wanted(&binding.destination, binding.properties.partition_count, &own.topic);
        let found = provisioner.ensure(wanted, binding.provision).await?;
        provisioner.finish().await?;
        let link = self.link(&binding.channel, &binding.status);
        let config = settings::producer(&self.properties, &own, binding);
        let sender = Sender::new(&config, binding.properties.window, link.clone())?;
        link.up();
        let count = found.unwrap_or(binding.properties.partition_count);
        let partitions = Partitions::new(&binding.destination, count, &config);
        Ok(KafkaProducer::new(sender, Arc::clone(&self.shared), binding, partitions))
    }

    /// Opens a client with transactions. Its id is its own: see `docs/adr/0015-transactions-hold-what-is-ready.md`.
    async fn open_transactor(&self, own: &Settings, what: &str, link: Link) -> Result<KafkaTransactor> {
        let mut config = settings::sender(&self.properties, own, DEAD_LETTER_PATIENCE);
        let prefix = &self.properties.transactional_id_prefix;
        transaction::set(&mut config, &format!("{prefix}.{what}.{}", Uuid::new_v4().simple()));
        KafkaTransactor::open(config, link, Arc::clone(&self.shared)).await
    }

    fn check_open(&self) -> Result<()> {
        if self.shared.is_closed() {
            return Err(
                Error::new(ErrorKind::Closed, "the binder is closed").with_context("binder", self.name.as_str())
            );
        }
        Ok(())
    }

    fn failed(&self, error: Error, channel: &str) -> Error {
        self.shared.failed(&error);
        error.with_context("binder", self.name.as_str()).with_context("binding", channel)
    }
}

/// What an input found or made.
#[derive(Default)]
struct Topics {
    starts: Vec<(Arc<str>, i32, i64)>,
    dead_letters: HashMap<String, (String, Option<u32>)>,
    returns: Vec<Return>,
}

/// Opens a client that reads topics.
fn subscribed(config: &ClientConfig, link: &Link, lanes: Lanes, topics: &[&str]) -> Result<StreamConsumer<Group>> {
    let start = if config.get("auto.offset.reset") == Some("latest") { SeekTo::End } else { SeekTo::Beginning };
    let context = Group::new(link.clone(), config.get("enable.auto.commit") == Some("true"), start);
    *lock(&context.lanes) = lanes;
    let client: StreamConsumer<Group> =
        StreamConsumer::from_config_and_context(config, context).map_err(|cause| error::from_kafka(cause, None))?;
    client.subscribe(topics).map_err(|cause| link.fail(cause))?;
    Ok(client)
}

/// What comes back gets a client of its own where it is more than a partition, or starts elsewhere than the destination; and where partitions
/// should stay evenly shared: an assignor counts them over all topics, and may give one member what comes back and the other the destination.
fn needs_second(binding: &ConsumerBinding, own: &KafkaConsumerProperties) -> bool {
    let starts_elsewhere = binding.properties.start == Some(Start::Latest);
    let shared_evenly = own.group_protocol == GroupProtocol::Consumer || own.group_instance_id.is_some();
    starts_elsewhere || shared_evenly || !binding.rungs().is_empty()
}

/// An anonymous subscription gets what is sent after its bind, also before its partitions are assigned.
fn starts_here(binding: &ConsumerBinding) -> bool {
    let latest = !matches!(binding.properties.start, Some(Start::Earliest));
    binding.group.is_none() && latest && binding.provision != Provision::None
}

/// Consumers do the work.
impl Seek for KafkaBinder {}

#[async_trait]
impl Binder for KafkaBinder {
    fn capability(&self) -> Capability {
        Self::supports().with_traits_of(self)
    }

    fn check_consumer(&self, binding: &ConsumerBinding) -> Result<()> {
        let own: KafkaConsumerProperties = binding.section.read()?;
        settings::check(&self.properties, &own.configuration, &binding.section)?;
        for topic in &binding.destinations {
            check_name(topic)?;
            if let Some(group) = binding.group.as_ref().filter(|_| binding.has_dead_letters()) {
                check_name(&dead_letter_topic(topic, group))?;
                check_name(&returned::redrive_topic(topic, group))?;
            }
            let group = binding.group.as_deref().unwrap_or_default();
            binding.rungs().iter().try_for_each(|wait| check_name(&returned::rung_topic(topic, group, *wait)))?;
        }
        if binding.group.as_deref() == Some("") {
            return Err(Error::new(ErrorKind::Config, "`group` is empty"));
        }
        transaction::check(&self.properties.configuration, &own.configuration, binding)?;
        membership::check(&self.properties.configuration, &own, binding)?;
        settings::verify(&settings::consumer(&self.properties, &own, binding, "checked"))
    }

    fn check_producer(&self, binding: &ProducerBinding) -> Result<()> {
        let own: KafkaProducerProperties = binding.section.read()?;
        settings::check(&self.properties, &own.configuration, &binding.section)?;
        check_name(&binding.destination)?;
        settings::verify(&settings::producer(&self.properties, &own, binding))
    }

    async fn bind_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        self.check_open()?;
        self.check_consumer(binding)?;
        let opened = self.open_consumer(binding).await;
        opened.map_err(|error| self.failed(error, &binding.channel))
    }

    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>> {
        self.check_open()?;
        self.check_producer(binding)?;
        let opened = self.open_producer(binding).await;
        let producer = opened.map_err(|error| self.failed(error, &binding.channel))?;
        Ok(Arc::new(producer))
    }

    fn health(&self) -> BinderHealth {
        self.shared.health()
    }

    async fn close(&self) -> Result<()> {
        self.shared.close();
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

/// Returns whether headers in front of payloads are looked for.
fn reads_embedded(binding: &ConsumerBinding) -> bool {
    match binding.properties.header_mode {
        HeaderMode::Embedded => true,
        HeaderMode::Headers => embedded::tells_apart(&binding.content_type),
        _ => false,
    }
}

impl Delay for KafkaBinder {
    fn sink(&self, binding: &ConsumerBinding) -> Result<Arc<dyn DelaySink>> {
        let own: KafkaConsumerProperties = binding.section.read()?;
        let config = settings::sender(&self.properties, &own.configuration, DEAD_LETTER_PATIENCE);
        let sender = Sender::new(&config, DEAD_LETTER_WINDOW, self.link(&binding.channel, &binding.status))?;
        let group = binding.group.clone().unwrap_or_default();
        Ok(Arc::new(KafkaDelays { sender, group }))
    }
}

#[async_trait]
impl Transactions for KafkaBinder {
    async fn open(&self) -> Result<Box<dyn Transactor>> {
        self.check_open()?;
        let link = Link::new(&self.name, "transactions".into(), &self.shared, None);
        let transactor = self.open_transactor(&Settings::default(), &self.name, link).await;
        Ok(Box::new(transactor.map_err(|error| self.failed(error, "transactions"))?))
    }
}

#[async_trait]
impl DeadLetterStore for KafkaBinder {
    async fn open(&self, binding: &ConsumerBinding, purpose: Purpose) -> Result<Box<dyn DeadLetterPass>> {
        self.check_open()?;
        let own: KafkaConsumerProperties = binding.section.read()?;
        let link = Link::new(&self.name, Arc::clone(&binding.channel), &self.shared, None);
        let config = settings::common(&self.properties, &own.configuration);
        let sender = settings::sender(&self.properties, &own.configuration, DEAD_LETTER_PATIENCE);
        Ok(Box::new(Pass::new(config, sender, link, binding, purpose)))
    }
}
