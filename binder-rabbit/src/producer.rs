//! The sending half of a channel.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use binder_core::binder::{Outgoing, OutgoingBatch, Producer, ProducerBinding, Receipt, TrySend};
use binder_core::config::{HeaderMode, Unroutable};
use binder_core::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::compress;
use crate::config::RabbitProducerProperties;
use crate::envelope::{self, Envelope, Plain, Properties, Route};
use crate::link::Link;
use crate::names;
use crate::publisher::{self, Options, Publisher};
use crate::topology::ProducerPlan;

/// Publishes to one exchange.
pub(crate) struct RabbitProducer {
    publisher: Publisher,
    link: Arc<Link>,
    destination: String,
    route: Arc<Route>,
    partitions: Vec<Arc<Route>>,
    partition_count: u32,
    with_headers: bool,
    delivery_mode: u8,
    compress: bool,
}

impl RabbitProducer {
    /// Connects, declares what is to be declared, and starts.
    pub(crate) async fn open(
        link: Arc<Link>,
        binding: &ProducerBinding,
        settings: &RabbitProducerProperties,
    ) -> Result<Self> {
        let plan = Arc::new(ProducerPlan::new(binding, settings));
        let ready = publisher::open(&link, Some(&plan)).await?;
        let properties = &binding.properties;
        let options = Options {
            window: properties.window,
            timeout: properties.send_timeout,
            mandatory: properties.unroutable == Unroutable::Error,
        };
        let route = |key: &str| Arc::new(Route { exchange: plan.exchange.name.as_str().into(), key: key.into() });
        let destination = &binding.destination;
        let partitions = match properties.partition_count {
            0 | 1 => Vec::new(),
            count => (0..count).map(|index| route(&names::partition(destination, index))).collect(),
        };
        let route = route(destination);
        let status = binding.status.clone();
        let publisher = Publisher::spawn(Arc::clone(&link), options, Some(plan), status, Some(ready));
        Ok(Self {
            publisher,
            link,
            destination: destination.clone(),
            route,
            partitions,
            partition_count: properties.partition_count,
            with_headers: properties.header_mode == HeaderMode::Headers,
            delivery_mode: settings.delivery_mode.number(),
            compress: settings.compress,
        })
    }

    fn route(&self, partition: Option<u32>) -> Result<Arc<Route>> {
        let Some(partition) = partition else { return Ok(Arc::clone(&self.route)) };
        if let Some(route) = self.partitions.get(partition as usize) {
            return Ok(Arc::clone(route));
        }
        let key = names::partition(&self.destination, partition);
        names::check_key(&key)?;
        Ok(Arc::new(Route { exchange: self.route.exchange.clone(), key: key.into() }))
    }

    fn envelope(&self, message: &Outgoing<'_>, arena: &mut BytesMut) -> Result<Envelope> {
        let payload = message.payload.unwrap_or_default();
        let limit = self.link.settings().max_message_size;
        let route = self.route(message.partition)?;
        let envelope = if self.compress && !payload.is_empty() {
            let properties = envelope::properties(message, self.with_headers, self.delivery_mode)?;
            let properties = Properties::Whole(Box::new(compress::packed(properties)));
            Envelope { route, body: compress::pack(payload).map_err(unpacked)?.into(), properties }
        } else {
            envelope::check_body(payload.len(), limit)?;
            let properties = self.properties(message, arena)?;
            Envelope { route, body: copy(payload, arena), properties }
        };
        envelope.check(limit, self.link.frame_max())?;
        Ok(envelope)
    }

    fn properties(&self, message: &Outgoing<'_>, arena: &mut BytesMut) -> Result<Properties> {
        let is_plain = message.payload.is_some() && (message.headers.is_empty() || !self.with_headers);
        if is_plain {
            let key = message.key.map(|key| copy(key, arena));
            return Plain::new(message.content_type, key, self.delivery_mode).map(Properties::Plain);
        }
        let whole = envelope::properties(message, self.with_headers, self.delivery_mode)?;
        Ok(Properties::Whole(Box::new(whole)))
    }

    /// Makes the messages of a batch; one that can't be sent does not hold up the others.
    fn envelopes(&self, batch: &OutgoingBatch) -> Vec<Result<Envelope>> {
        let mut arena = BytesMut::with_capacity(batch.iter().map(|message| size(&message)).sum());
        batch.iter().map(|message| self.envelope(&message, &mut arena)).collect()
    }
}

#[cold]
fn unpacked(cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "the body can't be packed").with_source(cause)
}

/// Returns how many bytes a message needs to be kept.
fn size(message: &Outgoing<'_>) -> usize {
    message.payload.map_or(0, <[u8]>::len) + message.key.map_or(0, <[u8]>::len)
}

fn copy(bytes: &[u8], arena: &mut BytesMut) -> Bytes {
    arena.extend_from_slice(bytes);
    arena.split().freeze()
}

#[async_trait]
impl Producer for RabbitProducer {
    fn try_send(&self, message: Outgoing<'_>) -> Result<TrySend<'_>> {
        let Some(slot) = self.publisher.reserve(1)? else { return Ok(TrySend::Full) };
        match self.envelope(&message, &mut BytesMut::with_capacity(size(&message))) {
            Ok(envelope) => Ok(TrySend::Sent(self.publisher.publish(slot, [Ok(envelope)]))),
            Err(error) => {
                self.publisher.cancel(slot, 1);
                Err(error)
            }
        }
    }

    fn try_send_batch(&self, batch: &OutgoingBatch) -> Result<TrySend<'_>> {
        let count = batch.len() as u32;
        if count == 0 {
            return Ok(TrySend::Sent(Receipt::confirmed()));
        }
        let Some(slot) = self.publisher.reserve(count)? else { return Ok(TrySend::Full) };
        Ok(TrySend::Sent(self.publisher.publish(slot, self.envelopes(batch))))
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.publisher.poll_room(context)
    }

    fn partitions(&self) -> Option<u32> {
        Some(self.partition_count)
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.publisher.flush().map(Ok).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.publisher.close().map(Ok).boxed()
    }
}

impl fmt::Debug for RabbitProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitProducer")
            .field("destination", &self.destination)
            .field("publisher", &self.publisher)
            .finish_non_exhaustive()
    }
}
