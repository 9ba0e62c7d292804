//! Declaring, one call after the other.

use std::sync::Arc;
use std::time::Duration;

use binder_core::config::Provision;
use binder_core::{Error, ErrorKind, Result};
use lapin::Channel;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::{DeadLetterPlan, DeclaredQueue, QueueName, QueuePlan};
use crate::config::ExchangeType;
use crate::envelope::Route;
use crate::error;
use crate::link::Live;
use crate::queues::{DELIVERY_LIMIT, QUEUE_TYPE, QueueSettings};
use crate::{names, returned};

const DEAD_LETTERS: &str = "x-dead-letter-";
const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
const DEAD_LETTER_KEY: &str = "x-dead-letter-routing-key";

/// How a quorum queue is told that it has no limit of deliveries.
const NO_LIMIT: AMQPValue = AMQPValue::LongLongInt(-1);

/// Declares one thing after the other. A refusal costs the channel, the next call opens another.
pub(super) struct Setup<'a> {
    live: &'a Live,
    channel: Option<Channel>,
}

impl<'a> Setup<'a> {
    pub(super) fn new(live: &'a Live) -> Self {
        Self { live, channel: None }
    }

    async fn channel(&mut self) -> Result<Channel> {
        match self.channel.take().filter(|channel| channel.status().connected()) {
            Some(channel) => self.channel = Some(channel),
            None => self.channel = Some(self.live.channel().await?),
        }
        self.channel.clone().ok_or_else(|| Error::new(ErrorKind::Unexpected, "no channel"))
    }

    pub(super) async fn close(self) {
        if let Some(channel) = self.channel {
            let _ = channel.close(200, "done".into()).await;
        }
    }

    pub(super) async fn exchange(&mut self, name: &str, kind: ExchangeType, provision: Provision) -> Result<()> {
        if provision == Provision::None {
            return Ok(());
        }
        let passive = provision == Provision::Check;
        let options = ExchangeDeclareOptions { durable: true, passive, ..Default::default() };
        let channel = self.channel().await?;
        let declared = channel.exchange_declare(name.into(), kind.into(), options, FieldTable::default()).await;
        declared.map_err(|cause| error::declare("exchange", name, cause))
    }

    pub(super) async fn queue(&mut self, plan: &QueuePlan) -> Result<DeclaredQueue> {
        match &plan.name {
            QueueName::Anonymous { prefix } => {
                self.anonymous_queue(plan, names::anonymous_queue(prefix, &plan.destination)).await
            }
            QueueName::Group(name) => self.group_queue(plan, name).await,
            QueueName::Stream(name) => self.stream(plan, name).await,
        }
    }

    /// An anonymous queue is the consumer's own, so it is made whatever may be provisioned.
    async fn anonymous_queue(&mut self, plan: &QueuePlan, base: String) -> Result<DeclaredQueue> {
        let name = plan.partition.map_or_else(|| base.clone(), |index| names::partition(&base, index));
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        self.declare(&name, options, plan.settings.arguments())
            .await
            .map_err(|cause| cause.into_error(&name, &plan.settings.arguments()))?;
        self.bind(&name, &plan.exchange.name, &plan.binding_key).await?;
        Ok(DeclaredQueue::new(name, None))
    }

    async fn stream(&mut self, plan: &QueuePlan, name: &str) -> Result<DeclaredQueue> {
        let mut declared = DeclaredQueue::new(name, None);
        if plan.provision == Provision::None {
            return Ok(declared);
        }
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        match self.declare(name, passive, FieldTable::default()).await {
            Ok(()) => {}
            Err(refusal) if plan.provision == Provision::Create && refusal.is_missing() => {
                declared.is_new_stream = true
            }
            Err(refusal) => return Err(refusal.into_error(name, &FieldTable::default())),
        }
        if plan.provision == Provision::Create {
            let mut wanted = plan.settings.arguments();
            wanted.insert(QUEUE_TYPE.into(), AMQPValue::LongString("stream".into()));
            let made = self.declare(name, durable(), wanted.clone()).await;
            made.map_err(|refusal| refusal.into_error(name, &wanted))?;
            self.bind(name, &plan.exchange.name, &plan.binding_key).await?;
        }
        Ok(declared)
    }

    async fn group_queue(&mut self, plan: &QueuePlan, name: &str) -> Result<DeclaredQueue> {
        match plan.provision {
            Provision::Create => self.create_queue(plan, name).await,
            Provision::Check => self.check_queue(plan, name).await,
            _ => Ok(DeclaredQueue::new(name, plan.dead_letters.as_ref().map(through_exchange))),
        }
    }

    async fn check_queue(&mut self, plan: &QueuePlan, name: &str) -> Result<DeclaredQueue> {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let dead_letters = plan.dead_letters.as_ref();
        let rungs: Vec<String> = plan.rungs.iter().map(|wait| returned::rung(name, *wait)).collect();
        let others = dead_letters.map(|plan| plan.queue.as_str()).into_iter().chain(rungs.iter().map(String::as_str));
        for queue in std::iter::once(name).chain(others) {
            self.declare(queue, passive, FieldTable::default())
                .await
                .map_err(|cause| cause.into_error(queue, &FieldTable::default()))?;
        }
        if let Some(dead_letters) = dead_letters {
            self.exchange(&dead_letters.exchange, ExchangeType::Direct, Provision::Check).await?;
        }
        Ok(DeclaredQueue::new(name, dead_letters.map(through_exchange)))
    }

    async fn create_queue(&mut self, plan: &QueuePlan, name: &str) -> Result<DeclaredQueue> {
        let mut arguments = self.arguments(&plan.settings).await?;
        if let Some(dead_letters) = &plan.dead_letters {
            self.dead_letter_queue(dead_letters).await?;
            arguments.set_dead_letters(&dead_letters.exchange, name);
        }
        let lacks = self.declare_or_use(name, arguments).await?;
        let route = if lacks.dead_letters { direct } else { through_exchange };
        self.bind(name, &plan.exchange.name, &plan.binding_key).await?;
        for wait in &plan.rungs {
            let (rung, wanted) = (returned::rung(name, *wait), rung_arguments(name, *wait));
            let declared = self.declare(&rung, durable(), wanted.clone()).await;
            declared.map_err(|cause| cause.into_error(&rung, &wanted))?;
        }
        Ok(DeclaredQueue::new(name, plan.dead_letters.as_ref().map(route)))
    }

    async fn dead_letter_queue(&mut self, plan: &DeadLetterPlan) -> Result<()> {
        self.exchange(&plan.exchange, ExchangeType::Direct, Provision::Create).await?;
        let arguments = self.arguments(&plan.settings).await?;
        self.declare_or_use(&plan.queue, arguments).await?;
        for key in &plan.keys {
            self.bind(&plan.queue, &plan.exchange, key).await?;
        }
        Ok(())
    }

    /// Returns the arguments of a queue on this broker, those of dead letters excepted.
    async fn arguments(&self, settings: &QueueSettings) -> Result<Arguments> {
        let mut arguments = Arguments(settings.arguments());
        if settings.has_no_limit() && settings.asks_for_no_limit(self.live.broker_major().await?) {
            arguments.set_no_limit();
        }
        Ok(arguments)
    }

    /// Declares a queue, or takes one that is there and lacks only what we can do without.
    async fn declare_or_use(&mut self, name: &str, mut arguments: Arguments) -> Result<Lacks> {
        let wanted = arguments.0.clone();
        let mut lacks = Lacks::default();
        while let Err(refusal) = self.declare(name, durable(), arguments.0.clone()).await {
            match refusal.lacking() {
                Some(argument) if argument.starts_with(DEAD_LETTERS) && arguments.remove(DEAD_LETTERS) => {
                    lacks.dead_letters = true;
                }
                Some(DELIVERY_LIMIT) if arguments.remove_no_limit() => lacks.no_limit = true,
                _ => return Err(refusal.into_error(name, &wanted)),
            }
        }
        if lacks.dead_letters {
            tracing::warn!(queue = name, "the queue has no dead letter exchange of its own; used as it is");
        }
        if lacks.no_limit {
            tracing::warn!(queue = name, "the queue has the broker's own limit of deliveries; used as it is");
        }
        Ok(lacks)
    }

    async fn declare(
        &mut self,
        name: &str,
        options: QueueDeclareOptions,
        arguments: FieldTable,
    ) -> Result<(), Refusal> {
        let channel = self.channel().await.map_err(Refusal::Other)?;
        let declared = channel.queue_declare(name.into(), options, arguments).await;
        declared.map(|_| ()).map_err(Refusal::Broker)
    }

    async fn bind(&mut self, queue: &str, exchange: &str, key: &str) -> Result<()> {
        let channel = self.channel().await?;
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await;
        bound.map_err(|cause| error::declare("binding of queue", queue, cause))
    }
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..Default::default() }
}

/// A queue that keeps messages for a while and then gives them to `queue`, however often that takes. What does not fit is refused, so that
/// the sender knows.
fn rung_arguments(queue: &str, wait: Duration) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let mut arguments = FieldTable::default();
    for (name, value) in [
        (QUEUE_TYPE, text("quorum")),
        ("x-message-ttl", AMQPValue::LongLongInt(millis)),
        (DEAD_LETTER_EXCHANGE, text("")),
        (DEAD_LETTER_KEY, text(queue)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ] {
        arguments.insert(name.into(), value);
    }
    arguments
}

/// Why a queue was not declared.
enum Refusal {
    Broker(lapin::Error),
    Other(Error),
}

impl Refusal {
    /// The argument that the queue lacks and we asked for. Spring declares one without dead letters unless `auto-bind-dlq` is set, and
    /// before RabbitMQ 4.0 nobody asked for no limit.
    fn lacking(&self) -> Option<&str> {
        let Self::Broker(cause) = self else { return None };
        let difference = error::difference(cause)?;
        (difference.there == "none").then_some(difference.what)
    }

    /// There is no such queue.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Broker(cause) if error::is_missing(cause))
    }

    fn into_error(self, queue: &str, wanted: &FieldTable) -> Error {
        match self {
            Self::Broker(cause) => error::declare_queue(queue, wanted, cause),
            Self::Other(error) => error,
        }
    }
}

/// What a queue that is there lacks.
#[derive(Default)]
struct Lacks {
    dead_letters: bool,
    no_limit: bool,
}

/// The arguments of a queue.
struct Arguments(FieldTable);

impl Arguments {
    fn set_dead_letters(&mut self, exchange: &str, key: &str) {
        let text = |text: &str| AMQPValue::LongString(text.into());
        self.0.insert(DEAD_LETTER_EXCHANGE.into(), text(exchange));
        self.0.insert(DEAD_LETTER_KEY.into(), text(key));
    }

    fn set_no_limit(&mut self) {
        self.0.insert(DELIVERY_LIMIT.into(), NO_LIMIT);
    }

    /// Removes the word that there is no limit, not a limit that was asked for; returns whether there was one.
    fn remove_no_limit(&mut self) -> bool {
        self.0.inner().get(DELIVERY_LIMIT) == Some(&NO_LIMIT) && self.remove(DELIVERY_LIMIT)
    }

    /// Removes what begins so; returns whether there was any.
    fn remove(&mut self, prefix: &str) -> bool {
        let mut kept = FieldTable::default();
        let before = self.0.inner().len();
        for (name, value) in self.0.inner() {
            if !name.as_str().starts_with(prefix) {
                kept.insert(name.clone(), value.clone());
            }
        }
        self.0 = kept;
        self.0.inner().len() < before
    }
}

/// Dead letters go through their exchange, as Spring publishes them.
fn through_exchange(plan: &DeadLetterPlan) -> Arc<Route> {
    let key = plan.keys.first().map_or("", String::as_str);
    Arc::new(Route { exchange: plan.exchange.as_str().into(), key: key.into() })
}

/// Dead letters go straight to their queue.
fn direct(plan: &DeadLetterPlan) -> Arc<Route> {
    Arc::new(Route { exchange: "".into(), key: plan.queue.as_str().into() })
}
