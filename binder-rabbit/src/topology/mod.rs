//! Exchanges, queues and bindings: what a binding needs, and how it is declared.

mod setup;

use std::sync::Arc;
use std::time::Duration;

use binder_core::Result;
use binder_core::binder::{ConsumerBinding, ProducerBinding};
use binder_core::config::Provision;
use lapin::ExchangeKind;

use crate::config::{ExchangeType, RabbitConsumerProperties, RabbitProducerProperties};
use crate::envelope::Route;
use crate::link::Live;
use crate::queues::{QueueSettings, Quorum};
use crate::stream::ContainerType;
use crate::{names, returned};
use setup::Setup;

impl From<ExchangeType> for ExchangeKind {
    fn from(kind: ExchangeType) -> Self {
        match kind {
            ExchangeType::Topic => Self::Topic,
            ExchangeType::Direct => Self::Direct,
            ExchangeType::Fanout => Self::Fanout,
        }
    }
}

/// An exchange that messages are published to.
#[derive(Clone, Debug)]
pub(crate) struct ExchangePlan {
    pub(crate) name: String,
    kind: ExchangeType,
}

/// Where the dead letters of a queue go.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetterPlan {
    exchange: String,
    queue: String,
    /// Routing keys with which the queue is bound: the group's, and the partition's if there is one.
    keys: Vec<String>,
    settings: QueueSettings,
}

/// A queue, and how it is bound.
#[derive(Clone, Debug)]
pub(crate) struct QueuePlan {
    pub(crate) destination: Arc<str>,
    pub(crate) partition: Option<u32>,
    exchange: ExchangePlan,
    name: QueueName,
    binding_key: String,
    dead_letters: Option<DeadLetterPlan>,
    settings: QueueSettings,
    /// How long failed messages of the queue wait, each time in a queue of its own.
    rungs: Vec<Duration>,
    provision: Provision,
}

#[derive(Clone, Debug)]
enum QueueName {
    Group(String),
    Anonymous { prefix: String },
    Stream(String),
}

/// A queue that is there.
#[derive(Debug)]
pub(crate) struct DeclaredQueue {
    pub(crate) name: String,
    pub(crate) dead_letters: Option<Arc<Route>>,
    /// Whether it is a stream that was not there before.
    pub(crate) is_new_stream: bool,
}

impl DeclaredQueue {
    fn new(name: impl Into<String>, dead_letters: Option<Arc<Route>>) -> Self {
        Self { name: name.into(), dead_letters, is_new_stream: false }
    }
}

/// What one group needs of a destination.
struct GroupPlan<'a> {
    prefix: &'a str,
    destination: &'a str,
    group: Option<&'a str>,
    is_stream: bool,
    exchange_type: ExchangeType,
    binding_key: Option<&'a str>,
    /// The kind of the queue of dead letters, if there is one.
    dead_letters: Option<Quorum>,
    settings: QueueSettings,
    rungs: Vec<Duration>,
    provision: Provision,
}

impl GroupPlan<'_> {
    fn queue(&self, partition: Option<u32>) -> QueuePlan {
        let Self { prefix, destination, .. } = *self;
        let exchange = ExchangePlan { name: format!("{prefix}{destination}"), kind: self.exchange_type };
        let base = self.group.map(|group| names::queue(prefix, destination, group));
        let name = base
            .as_deref()
            .map(|base| partition.map_or_else(|| base.to_owned(), |index| names::partition(base, index)));
        let unpartitioned = match self.exchange_type {
            ExchangeType::Direct => destination,
            _ => "#",
        };
        let binding_key = match partition {
            Some(index) => names::partition(self.binding_key.unwrap_or(destination), index),
            None => self.binding_key.unwrap_or(unpartitioned).to_owned(),
        };
        let named = base.as_deref().zip(name.as_ref());
        let dead_letters = named.zip(self.dead_letters).map(|((base, name), quorum)| {
            let mut keys = vec![name.clone()];
            if base != name {
                keys.push(base.to_owned());
            }
            DeadLetterPlan {
                exchange: names::dead_letter_exchange(prefix),
                queue: names::dead_letter_queue(base),
                keys,
                settings: QueueSettings::of(quorum),
            }
        });
        let name = match name {
            Some(name) => QueueName::Group(name),
            None if self.is_stream => {
                let name = exchange.name.clone();
                QueueName::Stream(partition.map_or_else(|| name.clone(), |index| names::partition(&name, index)))
            }
            None => QueueName::Anonymous { prefix: prefix.to_owned() },
        };
        let destination = Arc::from(destination);
        let Self { settings, rungs, provision, .. } = self;
        let (settings, rungs) = (settings.clone(), rungs.clone());
        QueuePlan {
            destination,
            partition,
            exchange,
            name,
            binding_key,
            dead_letters,
            settings,
            rungs,
            provision: *provision,
        }
    }
}

/// Says which queues an input reads.
pub(crate) fn consumer_queues(binding: &ConsumerBinding, settings: &RabbitConsumerProperties) -> Vec<QueuePlan> {
    let instance = binding.instance;
    let partitions: Vec<Option<u32>> = if binding.properties.partitioned {
        let count = settings.partitions.unwrap_or(instance.count);
        (0..count).filter(|partition| partition % instance.count.max(1) == instance.index).map(Some).collect()
    } else {
        vec![None]
    };
    let plan = |destination| GroupPlan {
        prefix: &settings.prefix,
        destination,
        group: binding.group.as_deref(),
        is_stream: settings.container_type == ContainerType::Stream,
        exchange_type: settings.exchange_type,
        binding_key: settings.binding_routing_key.as_deref(),
        dead_letters: binding.has_dead_letters().then_some(settings.dlq_quorum),
        settings: settings.into(),
        rungs: binding.rungs(),
        provision: binding.provision,
    };
    let queues = |destination| partitions.iter().map(move |partition| plan(destination).queue(*partition));
    binding.destinations.iter().flat_map(|destination| queues(destination)).collect()
}

/// What an output needs.
#[derive(Debug)]
pub(crate) struct ProducerPlan {
    pub(crate) exchange: ExchangePlan,
    queues: Vec<QueuePlan>,
    provision: Provision,
}

impl ProducerPlan {
    pub(crate) fn new(binding: &ProducerBinding, settings: &RabbitProducerProperties) -> Self {
        let properties = &binding.properties;
        let partitions: Vec<Option<u32>> = match properties.partition_count {
            0 | 1 => vec![None],
            count => (0..count).map(Some).collect(),
        };
        let plan = |group| GroupPlan {
            prefix: &settings.prefix,
            destination: &binding.destination,
            group: Some(group),
            is_stream: false,
            exchange_type: settings.exchange_type,
            binding_key: None,
            dead_letters: settings.dead_letters.then_some(settings.dlq_quorum),
            settings: settings.into(),
            rungs: Vec::new(),
            provision: binding.provision,
        };
        let groups = properties.required_groups.iter();
        let queues = groups.flat_map(|group| partitions.iter().map(move |partition| plan(group).queue(*partition)));
        Self {
            exchange: ExchangePlan {
                name: format!("{}{}", settings.prefix, binding.destination),
                kind: settings.exchange_type,
            },
            queues: queues.collect(),
            provision: binding.provision,
        }
    }

    /// Refuses names that can never be declared.
    pub(crate) fn check(&self) -> Result<()> {
        names::check("exchange", &self.exchange.name)?;
        self.queues.iter().try_for_each(QueuePlan::check)
    }

    /// Declares the exchange, and the queues of the groups that are required.
    pub(crate) async fn declare(&self, live: &Live) -> Result<()> {
        let mut setup = Setup::new(live);
        setup.exchange(&self.exchange.name, self.exchange.kind, self.provision).await?;
        for queue in &self.queues {
            setup.queue(queue).await?;
        }
        setup.close().await;
        Ok(())
    }
}

impl QueuePlan {
    /// Refuses names that can never be declared.
    pub(crate) fn check(&self) -> Result<()> {
        names::check("exchange", &self.exchange.name)?;
        let name = match &self.name {
            QueueName::Group(name) | QueueName::Stream(name) => name.clone(),
            QueueName::Anonymous { prefix } => names::anonymous_queue(prefix, &self.destination),
        };
        names::check("queue", &name)?;
        names::check_key(&self.binding_key)?;
        self.rungs.iter().try_for_each(|wait| names::check("queue", &returned::rung(&name, *wait)))?;
        let Some(dead_letters) = &self.dead_letters else { return Ok(()) };
        names::check("exchange", &dead_letters.exchange)?;
        names::check("queue", &dead_letters.queue)
    }

    /// Returns whether what is read has no group: a queue that is this consumer's own and ends with it, or a stream.
    pub(crate) fn is_anonymous(&self) -> bool {
        !matches!(self.name, QueueName::Group(_))
    }

    /// Returns the name for messages to people.
    pub(crate) fn label(&self) -> String {
        match &self.name {
            QueueName::Group(name) | QueueName::Stream(name) => name.clone(),
            QueueName::Anonymous { prefix } => format!("{prefix}{}.anonymous", self.destination),
        }
    }

    /// Declares the queue and all that belongs to it.
    pub(crate) async fn declare(&self, live: &Live) -> Result<DeclaredQueue> {
        let mut setup = Setup::new(live);
        setup.exchange(&self.exchange.name, self.exchange.kind, self.provision).await?;
        let declared = setup.queue(self).await?;
        setup.close().await;
        Ok(declared)
    }
}

#[cfg(test)]
mod tests {
    use binder_core::binder::Instance;
    use binder_core::config::ConsumerProperties;

    use super::*;

    fn binding(group: Option<&str>) -> ConsumerBinding {
        let mut binding = ConsumerBinding::new("orders");
        binding.group = group.map(str::to_owned);
        binding
    }

    #[test]
    fn a_group_has_one_queue_for_all_messages() {
        let queues = consumer_queues(&binding(Some("billing")), &RabbitConsumerProperties::default());
        let [queue] = &queues[..] else { panic!("one queue: {queues:?}") };
        assert_eq!((queue.label().as_str(), queue.binding_key.as_str()), ("orders.billing", "#"));
        let dead_letters = queue.dead_letters.as_ref().expect("on by default");
        assert_eq!((dead_letters.exchange.as_str(), dead_letters.queue.as_str()), ("DLX", "orders.billing.dlq"));
        assert_eq!(dead_letters.keys, ["orders.billing"]);
    }

    #[test]
    fn an_instance_takes_each_partition_of_its_own_remainder() {
        let mut binding = binding(Some("billing"));
        binding.properties = ConsumerProperties::default().partitioned(true);
        binding.instance = Instance { index: 1, count: 2 };
        let settings = RabbitConsumerProperties { partitions: Some(4), prefix: "t-".to_owned(), ..Default::default() };
        let queues = consumer_queues(&binding, &settings);
        let labels: Vec<_> = queues.iter().map(QueuePlan::label).collect();
        assert_eq!(labels, ["t-orders.billing-1", "t-orders.billing-3"]);
        assert_eq!(queues[1].binding_key, "orders-3");
        let dead_letters = queues[1].dead_letters.as_ref().expect("on by default");
        assert_eq!(dead_letters.queue, "t-orders.billing.dlq");
        assert_eq!(dead_letters.keys, ["t-orders.billing-3", "t-orders.billing"]);
    }

    #[test]
    fn an_anonymous_group_has_no_dead_letters() {
        let queues = consumer_queues(&binding(None), &RabbitConsumerProperties::default());
        assert!(queues[0].is_anonymous() && queues[0].dead_letters.is_none());
    }

    #[test]
    fn a_stream_has_the_name_of_its_destination() {
        let mut binding = binding(None);
        let settings = RabbitConsumerProperties {
            container_type: ContainerType::Stream,
            prefix: "t-".to_owned(),
            ..Default::default()
        };
        let queues = consumer_queues(&binding, &settings);
        assert_eq!((queues[0].label().as_str(), queues[0].binding_key.as_str()), ("t-orders", "#"));
        assert!(queues[0].is_anonymous());
        binding.properties = ConsumerProperties::default().partitioned(true);
        binding.instance = Instance { index: 1, count: 2 };
        let queues = consumer_queues(&binding, &settings);
        assert_eq!((queues[0].label().as_str(), queues[0].binding_key.as_str()), ("t-orders-1", "orders-1"));
    }

    #[test]
    fn a_name_is_checked_with_all_that_is_appended() {
        let long = "x".repeat(240);
        let mut binding = binding(Some("group-name-100"));
        binding.destinations = vec![long];
        let queue = &consumer_queues(&binding, &RabbitConsumerProperties::default())[0];
        assert!(queue.check().expect_err("the dead letter queue is too long").to_string().contains("259 bytes"));
    }
}
