//! The RabbitMQ binder of [`binder_core`], on lapin.
//!
//! A destination is a durable topic exchange; a named group is a durable queue `<destination>.<group>` bound to it, which several
//! instances share. An input without a group has a queue of its own, or reads a stream. Names and arguments are those of Spring Cloud Stream,
//! so that Rust and Java services stand side by side.
//!
//! The one surprise: nothing is kept for a group before its queue exists. The queue is declared when the group's first consumer binds, or
//! by a producer that names it in `required-groups`; a message that no queue takes fails its send, unless the producer says
//! `unroutable: discard`.
//!
//! ```no_run
//! use binder_core::binder::{BinderContext, BinderFactory};
//! use binder_core::config::Section;
//! use serde_json::json;
//!
//! let section = Section::new("binders.rabbit", json!({ "url": "amqp://guest:guest@localhost:5672/%2f" }));
//! let binder = binder_rabbit::factory().create(&BinderContext::new("rabbit", section))?;
//! # Ok::<_, binder_core::Error>(())
//! ```
//!
//! # On the wire
//! The content type is the property `content_type`. AMQP has neither keys nor tombstones: a key travels in the header `messageKey` (text,
//! or bytes if it is not UTF-8; `kafka_messageKey` is understood too), a tombstone is an empty body with the header `messageTombstone`
//! set to true. A header can occur once: of several values of one name the last is sent. Headers that the broker itself adds, such as
//! `x-death`, can be read by name but are not among the headers of a message, so that they are not forwarded.
//!
//! # Connections
//! One connection publishes and one consumes, so that a broker that holds back publishers still takes acknowledgements. Both come back by
//! themselves after a loss: topology is declared anew, consumers consume again, and what was not confirmed is sent again in its order.

mod backoff;
mod binder;
mod call;
mod compress;
mod config;
mod consumer;
mod courier;
mod dead_letters;
mod delay;
mod envelope;
mod error;
mod headers;
mod lane;
mod link;
mod names;
mod patience;
mod poll;
mod producer;
mod publisher;
mod queues;
mod returned;
#[cfg(test)]
mod spring;
mod store;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod version;
mod view;
mod window;

pub use binder::{RabbitBinder, factory};
pub use config::{
    AmqpUrl, DeliveryMode, ExchangeType, RabbitConsumerProperties, RabbitProducerProperties, RabbitProperties,
    Reconnect, Tls,
};
pub use queues::{OverflowBehavior, Quorum};
pub use stream::ContainerType;
