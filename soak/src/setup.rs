//! How the applications are configured.

use binder_core::config::Config;
use binder_core::prelude::*;
use binder_core::{ApplicationBuilder, Result};

use crate::broker::Switch;
use crate::{Carrier, Role};

/// The group of the consumers.
pub(crate) const GROUP: &str = "g";

/// Messages of one key follow each other; so many keys has a producer.
pub(crate) const KEYS: u32 = 64;

/// Only errors unless `SOAK_LOG` says more.
pub(crate) fn log_level() -> tracing_subscriber::filter::LevelFilter {
    std::env::var("SOAK_LOG")
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or(tracing_subscriber::filter::LevelFilter::ERROR)
}

fn binder(carrier: Carrier) -> String {
    let url = |name: &str| std::env::var(name).unwrap_or_default();
    match carrier {
        Carrier::Memory => "{ type: memory }".to_owned(),
        Carrier::Rabbit => format!("{{ type: rabbit, url: '{}' }}", url("RABBIT_URL")),
        Carrier::Kafka => format!("{{ type: kafka, brokers: '{}' }}", url("KAFKA_URL")),
    }
}

/// Returns the application of a worker, whose channel is tied to the destination of this run.
pub(crate) fn application(role: Role, broker: &Switch, destination: &str) -> Result<ApplicationBuilder> {
    let channel = match role {
        Role::Producer => format!(
            "output:
      destination: {destination}
      producer: {{ partition-count: 6, required-groups: [{GROUP}], send-timeout: 20s }}"
        ),
        Role::Consumer => format!(
            "input:
      destination: {destination}
      group: {GROUP}
      consumer:
        ordering: key
        concurrency: 16
        max-attempts: 3
        backoff: {{ initial: 20ms, max: 200ms }}"
        ),
    };
    let binder = binder(broker.carrier);
    build(broker, &format!("stream:\n  binders:\n    main: {binder}\n  bindings:\n    {channel}\n"))
}

/// Returns an application that reads the dead letters of this run.
pub(crate) fn dead_letters(broker: &Switch, destination: &str) -> Result<ApplicationBuilder> {
    let (destination, group, provision) = match broker.carrier {
        Carrier::Rabbit => (destination.to_owned(), format!("{GROUP}.dlq"), "none"),
        Carrier::Kafka | Carrier::Memory => (format!("error.{destination}.{GROUP}"), "check".to_owned(), "create"),
    };
    let text = format!(
        "stream:
  binders:
    main: {binder}
  bindings:
    input:
      destination: {destination}
      group: {group}
      provision: {provision}
      consumer: {{ dead-letters: false, on-exhausted: stop }}
",
        binder = binder(broker.carrier)
    );
    build(broker, &text)
}

fn build(broker: &Switch, text: &str) -> Result<ApplicationBuilder> {
    let builder = Application::builder().config(Config::builder().yaml(text).build()?);
    Ok(match broker.carrier {
        Carrier::Memory => builder.binder("memory", broker.memory.clone()),
        #[cfg(feature = "kafka")]
        Carrier::Kafka => builder.binder("kafka", binder_kafka::factory()),
        #[cfg(feature = "rabbit")]
        Carrier::Rabbit => builder.binder("rabbit", binder_rabbit::factory()),
        #[allow(unreachable_patterns, reason = "what is not compiled in is said at build")]
        _ => builder,
    })
}
