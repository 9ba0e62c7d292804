//! Declaring, one call after the other.

use std::sync::Arc;
use std::time::Duration;

use binder_core::config::Provision;
use binder_core::{Error, ErrorKind, Result};
use lapin::Channel;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::{DeadLetterPlan, DeclaredQueue, QueueName, QueuePlan};
use crate::config::{ExchangeType, QueueType};
use crate::envelope::Route;
use crate::error::{self, code};
use crate::link::Live;
use crate::{names, returned};

const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
const QUEUE_TYPE: &str = "x-queue-type";
const DEAD_LETTER_KEY: &str = "x-dead-letter-routing-key";

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
        }
    }

    /// An anonymous queue is the consumer's own, so it is made whatever may be provisioned.
    async fn anonymous_queue(&mut self, plan: &QueuePlan, base: String) -> Result<DeclaredQueue> {
        let name = plan.partition.map_or_else(|| base.clone(), |index| names::partition(&base, index));
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        self.declare(&name, options, FieldTable::default()).await.map_err(|cause| cause.into_error(&name))?;
        self.bind(&name, &plan.exchange.name, &plan.binding_key).await?;
        Ok(DeclaredQueue { name, dead_letters: None })
    }

    async fn group_queue(&mut self, plan: &QueuePlan, name: &str) -> Result<DeclaredQueue> {
        match plan.provision {
            Provision::Create => self.create_queue(plan, name).await,
            Provision::Check => self.check_queue(plan, name).await,
            _ => Ok(DeclaredQueue {
                name: name.to_owned(),
                dead_letters: plan.dead_letters.as_ref().map(through_exchange),
            }),
        }
    }

    async fn check_queue(&mut self, plan: &QueuePlan, name: &str) -> Result<DeclaredQueue> {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let dead_letters = plan.dead_letters.as_ref();
        let rungs: Vec<String> = plan.rungs.iter().map(|wait| returned::rung(name, *wait)).collect();
        let others = dead_letters.map(|plan| plan.queue.as_str()).into_iter().chain(rungs.iter().map(String::as_str));
        for queue in std::iter::once(name).chain(others) {
            self.declare(queue, passive, FieldTable::default()).await.map_err(|cause| cause.into_error(queue))?;
        }
        if let Some(dead_letters) = dead_letters {
            self.exchange(&dead_letters.exchange, ExchangeType::Direct, Provision::Check).await?;
        }
        Ok(DeclaredQueue { name: name.to_owned(), dead_letters: dead_letters.map(through_exchange) })
    }

    async fn create_queue(&mut self, plan: &QueuePlan, name: &str) -> Result<DeclaredQueue> {
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        let mut arguments = arguments(plan.queue_type);
        let mut route = None;
        if let Some(dead_letters) = &plan.dead_letters {
            self.dead_letter_queue(dead_letters, plan.queue_type).await?;
            route = Some(through_exchange(dead_letters));
            let text = |text: &str| AMQPValue::LongString(text.into());
            arguments.insert(DEAD_LETTER_EXCHANGE.into(), text(&dead_letters.exchange));
            arguments.insert(DEAD_LETTER_KEY.into(), text(name));
        }
        match self.declare(name, durable, arguments).await {
            Ok(()) => {}
            Err(refusal) if refusal.lacks_dead_letters() => {
                tracing::warn!(queue = name, "the queue has no dead letter exchange of its own; used as it is");
                let declared = self.declare(name, durable, self::arguments(plan.queue_type)).await;
                declared.map_err(|cause| cause.into_error(name))?;
                route = plan.dead_letters.as_ref().map(direct);
            }
            Err(cause) => return Err(cause.into_error(name)),
        }
        self.bind(name, &plan.exchange.name, &plan.binding_key).await?;
        for wait in &plan.rungs {
            let rung = returned::rung(name, *wait);
            let declared = self.declare(&rung, durable, rung_arguments(name, *wait)).await;
            declared.map_err(|cause| cause.into_error(&rung))?;
        }
        Ok(DeclaredQueue { name: name.to_owned(), dead_letters: route })
    }

    async fn dead_letter_queue(&mut self, plan: &DeadLetterPlan, queue_type: QueueType) -> Result<()> {
        self.exchange(&plan.exchange, ExchangeType::Direct, Provision::Create).await?;
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        let declared = self.declare(&plan.queue, durable, arguments(queue_type)).await;
        declared.map_err(|cause| cause.into_error(&plan.queue))?;
        for key in &plan.keys {
            self.bind(&plan.queue, &plan.exchange, key).await?;
        }
        Ok(())
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

/// A classic queue is what the broker makes unless told otherwise; queues that are there were declared without a word of it.
fn arguments(queue_type: QueueType) -> FieldTable {
    let mut arguments = FieldTable::default();
    if queue_type == QueueType::Quorum {
        arguments.insert(QUEUE_TYPE.into(), AMQPValue::LongString("quorum".into()));
    }
    arguments
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
    /// The queue differs only in having no dead letter exchange, as one that Spring declared without `auto-bind-dlq`.
    fn lacks_dead_letters(&self) -> bool {
        let Self::Broker(cause) = self else { return false };
        let said = error::text(cause);
        error::channel_code(cause) == Some(code::PRECONDITION_FAILED)
            && said.contains("x-dead-letter-")
            && said.contains("but current is none")
    }

    fn into_error(self, queue: &str) -> Error {
        match self {
            Self::Broker(cause) => error::declare("queue", queue, cause),
            Self::Other(error) => error,
        }
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
