//! Channels on Apache Kafka: the binder of type `kafka`, on librdkafka.
//!
//! A destination is a topic, a group a consumer group, a lane a partition for as long as it is assigned. What is on the wire is what Spring
//! Cloud Stream puts there: names, headers, dead letters. One thing surprises: an acknowledged delivery is not committed at once but within
//! `commit-interval`, so a process that is killed sees its last second of deliveries again.
//!
//! ```no_run
//! # use binder_core::binder::{BinderContext, BinderFactory};
//! # use binder_core::config::Section;
//! let section = Section::new("binders.kafka", serde_json::json!({ "brokers": "localhost:9092" }));
//! let binder = binder_kafka::factory().create(&BinderContext::new("kafka", section))?;
//! assert!(binder.capability().partitions);
//! # Ok::<(), binder_core::Error>(())
//! ```

mod binder;
mod bootstrap;
mod commit;
mod config;
mod consumer;
mod dead_letters;
mod delay;
mod embedded;
mod error;
mod full;
mod headers;
mod held;
mod lanes;
mod letter;
mod link;
mod membership;
mod pair;
mod partitions;
mod producer;
mod provision;
mod rebalance;
mod returned;
mod seek;
mod sender;
mod settings;
#[cfg(test)]
mod spring;
mod store;
#[cfg(feature = "tls")]
mod tls;
mod transaction;
mod view;

pub use binder::{KafkaBinder, factory};
pub use config::{
    Assignment, Brokers, Compression, GroupProtocol, KafkaConsumerProperties, KafkaProducerProperties, KafkaProperties,
    Sasl, SaslMechanism, Settings, Tls, TopicProperties,
};
