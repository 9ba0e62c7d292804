//! Deliveries as they lie in the client's memory.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use binder_core::binder::{BatchView, LaneId, Metadata, Native, Parcel, Token};
use binder_core::message::{ContentType, HeaderValue, Headers};
use bytes::{Bytes, BytesMut};
use lapin::BasicProperties;
use lapin::types::ShortString;

use crate::compress::Received;
use crate::envelope::Route;
use crate::{headers, returned};

/// What the deliveries of a lane have in common.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) queue: Arc<str>,
    pub(crate) destination: Arc<str>,
    pub(crate) partition: Option<u32>,
    pub(crate) dead_letters: Option<Arc<Route>>,
    pub(crate) with_headers: bool,
    /// Whether the deliveries have offsets.
    pub(crate) is_stream: bool,
}

/// What a dead letter needs of its original beside what the contract keeps.
#[derive(Debug)]
pub(crate) struct Original {
    pub(crate) queue: Arc<str>,
    pub(crate) properties: BasicProperties,
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) dead_letters: Option<Arc<Route>>,
    /// The body as it came, if it was unpacked.
    packed: Option<Bytes>,
}

impl Original {
    /// Returns the body as it came.
    pub(crate) fn body(&self, parcel: &Parcel) -> Bytes {
        self.packed.as_ref().or(parcel.payload.as_ref()).cloned().unwrap_or_default()
    }
}

/// Deliveries of one lane.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) lane: LaneId,
    pub(crate) origin: Arc<Origin>,
    pub(crate) deliveries: Vec<Received>,
}

impl Batch {
    fn properties(&self, index: usize) -> &BasicProperties {
        &self.deliveries[index].properties
    }
}

impl BatchView for Batch {
    fn len(&self) -> usize {
        self.deliveries.len()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        let delivery = &self.deliveries[index];
        let tombstone = delivery.data.is_empty() && headers::is_tombstone(&delivery.properties);
        (!tombstone).then(|| delivery.body())
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        headers::key(self.properties(index))
    }

    fn token(&self, index: usize) -> Token {
        Token { lane: self.lane, sequence: self.deliveries[index].delivery_tag }
    }

    fn content_type(&self, index: usize) -> Option<ContentType> {
        headers::content_type(self.properties(index)).map(|text| ContentType::from_bytes(text.as_bytes()))
    }

    fn run_end(&self, _: usize) -> usize {
        self.deliveries.len()
    }

    fn header(&self, index: usize, name: &str) -> Option<HeaderValue> {
        if !self.origin.with_headers {
            return None;
        }
        headers::get(self.properties(index), name)
    }

    fn headers(&self, index: usize) -> Headers {
        if !self.origin.with_headers {
            return Headers::new();
        }
        headers::application(self.properties(index))
    }

    fn metadata(&self, index: usize) -> Metadata {
        let delivery = &self.deliveries[index];
        let mut metadata = Metadata::new(Arc::clone(&self.origin.destination));
        metadata.partition = self.origin.partition;
        if self.origin.is_stream {
            metadata.offset = headers::stream_offset(&delivery.properties);
        }
        metadata.timestamp =
            delivery.properties.timestamp().and_then(|since| UNIX_EPOCH.checked_add(Duration::from_secs(since)));
        metadata.redelivered =
            headers::delivery_count(&delivery.properties).unwrap_or_default().max(delivery.redelivered.into());
        let first = returned::origin(delivery);
        let routing_key = first.as_ref().map_or(&delivery.routing_key, |(_, routing_key)| routing_key);
        metadata.routing_key = Some(routing_key.as_str().into());
        metadata
    }

    fn attempt(&self, index: usize) -> u32 {
        returned::attempt(&self.deliveries[index])
    }

    fn detach(&self, index: usize, arena: &mut BytesMut) -> Parcel {
        let delivery = &self.deliveries[index];
        let mut parcel = Parcel::copy(self, index, arena);
        let (properties, exchange, routing_key) = match returned::origin(delivery) {
            Some((exchange, routing_key)) => {
                (returned::without_traces(&delivery.properties, &self.origin.queue), exchange, routing_key)
            }
            None => (delivery.properties.clone(), delivery.exchange.clone(), delivery.routing_key.clone()),
        };
        parcel.metadata.native = Some(Native::new(Original {
            queue: Arc::clone(&self.origin.queue),
            properties,
            exchange,
            routing_key,
            dead_letters: self.origin.dead_letters.clone(),
            packed: delivery.packed().map(Bytes::copy_from_slice),
        }));
        parcel
    }
}
