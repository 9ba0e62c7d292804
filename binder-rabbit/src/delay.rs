//! Failed messages that wait in a queue of their own: a queue for each wait, from which the broker moves them back to where they came from.
//!
//! They are quorum queues that dead-letter at least once, because a classic queue drops what its target does not take.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use binder_core::Result;
use binder_core::binder::{ConsumerBinding, DelaySink, Parcel, RETRY_ATTEMPT};
use lapin::types::AMQPValue;

use crate::config::RabbitConsumerProperties;
use crate::courier::Courier;
use crate::dead_letters::{carried, properties_of, with_id};
use crate::envelope::{Envelope, Properties, Route};
use crate::link::Link;
use crate::returned;
use crate::topology::{QueuePlan, consumer_queues};
use crate::view::Original;

/// Publishes the failed messages of one input to where they wait.
#[derive(Debug)]
pub(crate) struct Delays {
    courier: Courier,
    /// For a delivery that was not detached by this binder.
    fallback: String,
}

impl Delays {
    pub(crate) fn new(link: Arc<Link>, binding: &ConsumerBinding, settings: &RabbitConsumerProperties) -> Self {
        let fallback = consumer_queues(binding, settings).first().map(QueuePlan::label).unwrap_or_default();
        Self { courier: Courier::new(link), fallback }
    }
}

#[async_trait]
impl DelaySink for Delays {
    async fn send(&self, delivery: &Parcel, attempt: u32, wait: Duration) -> Result<()> {
        let metadata = &delivery.metadata;
        let original = metadata.native.as_ref().and_then(|native| native.get::<Original>());
        let (properties, queue, exchange, routing_key) = match original {
            Some(original) => (
                carried(&original.properties),
                original.queue.as_ref(),
                original.exchange.clone(),
                original.routing_key.clone(),
            ),
            None => {
                let key = metadata.routing_key.as_deref().unwrap_or_default();
                (properties_of(delivery)?, self.fallback.as_str(), metadata.destination.as_ref().into(), key.into())
            }
        };
        let properties = with_id(properties);
        let mut table = properties.headers().clone().unwrap_or_default();
        returned::insert_origin(&mut table, &exchange, &routing_key);
        table.insert(RETRY_ATTEMPT.into(), AMQPValue::LongLongInt(attempt.into()));
        let properties = properties.with_headers(table).with_delivery_mode(2);
        let route = Arc::new(Route { exchange: "".into(), key: returned::rung(queue, wait).into() });
        let body = match original {
            Some(original) => original.body(delivery),
            None => delivery.payload.clone().unwrap_or_default(),
        };
        self.courier
            .send(
                Envelope { route, body, properties: Properties::Whole(Box::new(properties)) },
                "a message that is to be tried again later",
            )
            .await
    }
}
