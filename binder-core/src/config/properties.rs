//! What can be set, with its defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// Settings of the whole application: `stream.*`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct StreamProperties {
    /// Binder of a binding that names none. Default: the only entry of `binders`, else memory.
    pub default_binder: Option<String>,
    /// How many instances of this service run. Default: 1.
    pub instance_count: u32,
    /// Which of them this process is, from 0. Default: 0.
    pub instance_index: u32,
    /// How long a shutdown may take; what is unfinished then is left for redelivery. Default: 25 s.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
}

impl Default for StreamProperties {
    fn default() -> Self {
        Self { default_binder: None, instance_count: 1, instance_index: 0, shutdown_timeout: Duration::from_secs(25) }
    }
}

/// What may be done to the broker's topology.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Provision {
    /// Creates what is missing.
    #[default]
    Create,
    /// Creates nothing; what is missing stops the binding.
    Check,
    /// Neither creates nor looks.
    None,
}

/// Settings that inputs and outputs share: `bindings.<channel>.*`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct BindingProperties {
    /// Topic or exchange; an input takes several, separated by commas. Default: the channel's name.
    pub destination: Option<String>,
    /// Consumer group; inputs only. Default: none, an anonymous subscription that starts at the latest message.
    pub group: Option<String>,
    /// Name of an entry of `binders`. Default: the default binder.
    pub binder: Option<String>,
    /// Content type of what is sent, and of what arrives without one. Default: `application/json`.
    pub content_type: String,
    /// What may be created on the broker. Default: `create`.
    pub provision: Provision,
    /// Whether the binding starts with the application. Default: true.
    pub auto_startup: bool,
    /// Settings of an input.
    pub consumer: ConsumerProperties,
    /// Settings of an output.
    pub producer: ProducerProperties,
}

impl Default for BindingProperties {
    fn default() -> Self {
        Self {
            destination: None,
            group: None,
            binder: None,
            content_type: "application/json".to_owned(),
            provision: Provision::Create,
            auto_startup: true,
            consumer: ConsumerProperties::default(),
            producer: ProducerProperties::default(),
        }
    }
}

/// What is kept in order on an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ordering {
    /// The order of each partition, or of the queue.
    #[default]
    Partition,
    /// The order of each key.
    Key,
    /// Nothing.
    None,
}

/// How a failed message waits for its next attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RetryMode {
    /// In its lane, which keeps its order.
    #[default]
    InPlace,
    /// On the broker, and settled there: for long waits. Gives up order, so it asks for `ordering: none`, and for a `group`. Waits have no
    /// jitter; each different one is a queue or topic of its own.
    Delayed,
}

/// What happens to a message whose attempts are used up where there are no dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnExhausted {
    /// It is logged at ERROR, counted and settled.
    Discard,
    /// The binding stops; the message stays unsettled.
    Stop,
}

/// Which headers travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HeaderMode {
    /// The broker's own headers.
    #[default]
    Headers,
    /// None, neither read nor written.
    None,
    /// In front of the payload, as Spring Cloud Stream does with `embeddedHeaders` (Kafka; the memory binder has no wire, and carries them as
    /// ever). An input reads records without such a front too.
    Embedded,
}

/// Where the content type of a received message is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ContentTypeFrom {
    /// The message's header, else the binding. On Kafka looking costs about 0.5 µs a message.
    #[default]
    Header,
    /// The binding only.
    Binding,
}

/// Where a group without a position starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Start {
    /// At the oldest message that is kept.
    Earliest,
    /// At what comes from now on.
    Latest,
}

/// Waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Backoff {
    /// Wait before the second attempt. Default: 1 s.
    #[serde(with = "duration")]
    pub initial: Duration,
    /// Factor from wait to wait, at least 1. Default: 2.
    pub multiplier: f64,
    /// Ceiling of a wait. Default: 10 s.
    #[serde(with = "duration")]
    pub max: Duration,
    /// Share by which a wait is made longer or shorter at random, 0 to 1. Default: 0.2.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), multiplier: 2.0, max: Duration::from_secs(10), jitter: 0.2 }
    }
}

impl Backoff {
    /// Returns the wait after so many failed attempts (from 1), without jitter.
    pub(crate) fn nominal(&self, failed: u32) -> Duration {
        let factor = self.multiplier.max(1.0).powi(failed.saturating_sub(1).min(1000) as i32);
        let wait = (self.initial.as_secs_f64() * factor).min(self.max.as_secs_f64());
        Duration::try_from_secs_f64(wait).unwrap_or(self.max)
    }

    /// Returns all waits of so many attempts, shortest first, each once, rounded up to whole milliseconds, at least one.
    pub(crate) fn rungs(&self, max_attempts: u32) -> Vec<Duration> {
        let mut rungs: Vec<Duration> = Vec::new();
        for failed in 1..max_attempts {
            let nominal = self.nominal(failed);
            let millis = u64::try_from(nominal.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
            let rung = Duration::from_millis(millis);
            if rungs.last() != Some(&rung) {
                rungs.push(rung);
            }
            if nominal >= self.max {
                break;
            }
        }
        rungs
    }
}

/// When an input leaves a handler alone that mostly fails: `bindings.<channel>.consumer.breaker.*`.
///
/// While it is open no handler starts, the intake pauses, the place in the group stays, and the binding is `degraded`. Then one message is
/// tried: if its handler succeeds everything goes on, else the breaker opens again. A failed attempt counts as everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerProperties {
    /// Share of the calls that has to fail, above 0 and at most 1; 0 switches the breaker off. Default: 0.
    pub failure_rate: f64,
    /// How many of the latest calls are looked at; fewer open nothing. Default: 20.
    pub calls: u32,
    /// How long it stays open. Default: 10 s.
    #[serde(with = "duration")]
    pub open: Duration,
}

impl Default for BreakerProperties {
    fn default() -> Self {
        Self { failure_rate: 0.0, calls: 20, open: Duration::from_secs(10) }
    }
}

/// Settings of an input: `bindings.<channel>.consumer.*`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct ConsumerProperties {
    /// How often a message is tried in all; 1 is one attempt. Default: 3.
    pub max_attempts: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// How long a call of the handler may take; then it is dropped at its next `.await`, and counts as failed. 0 is for ever. Default: 5 min.
    #[serde(with = "duration")]
    pub handler_timeout: Duration,
    /// Errors that are never worth a retry, by the name of their type (`PriceError`, `shop::PriceError`), as it stands in the handler's
    /// `Result`. What a handler says itself, by `HandlerError::permanent` or `transient`, goes before.
    pub permanent_errors: Vec<String>,
    /// If there are any, only these errors are worth a retry; names as in `permanent-errors`.
    pub retryable_errors: Vec<String>,
    /// When a handler that mostly fails is left alone. Default: never.
    pub breaker: BreakerProperties,
    /// Where a failed message waits. Default: `in-place`.
    pub retry: RetryMode,
    /// What is kept in order. Default: `partition`.
    pub ordering: Ordering,
    /// How many handlers run at once. Default: 1.
    pub concurrency: u32,
    /// How many deliveries of a partition or queue may be unsettled at once; when so many are, it is read no further. Default: the
    /// binder's (RabbitMQ 256, Kafka and memory 10,000).
    pub prefetch: Option<u32>,
    /// Whether exhausted messages go to a dead letter destination; a named group only. Default: true for a named group.
    pub dead_letters: Option<bool>,
    /// What happens to an exhausted message where there are no dead letters. Default: `discard` for an anonymous group; a named one without dead letters must say it.
    pub on_exhausted: Option<OnExhausted>,
    /// Where a new group starts. Default: `earliest` for a named group, `latest` for an anonymous one.
    pub start: Option<Start>,
    /// Which headers are read. Default: `headers`.
    pub header_mode: HeaderMode,
    /// Where the content type is taken from. Default: `header`.
    pub content_type_from: ContentTypeFrom,
    /// By what `ordering: key` tells keys apart: `header.<name>`, or `payload.<field>.<field>`, a text, number or boolean in a payload of JSON.
    /// A message without it is handled beside all others, and counted. Default: the record's key.
    pub key: Option<String>,
    /// Whether the producer partitions the data over queues (RabbitMQ). Default: false.
    pub partitioned: bool,
    /// Whether what handlers return, dead letters and the group's position are committed together, in a transaction of the broker for each batch
    /// that is received. Needs a `group` and `retry: in-place`. Default: false.
    pub transactional: bool,
}

impl Default for ConsumerProperties {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::default(),
            handler_timeout: Duration::from_secs(300),
            permanent_errors: Vec::new(),
            retryable_errors: Vec::new(),
            breaker: BreakerProperties::default(),
            retry: RetryMode::InPlace,
            ordering: Ordering::Partition,
            concurrency: 1,
            prefetch: None,
            dead_letters: None,
            on_exhausted: None,
            start: None,
            header_mode: HeaderMode::Headers,
            content_type_from: ContentTypeFrom::Header,
            key: None,
            partitioned: false,
            transactional: false,
        }
    }
}

impl ConsumerProperties {
    /// Whether a message may say its content type itself.
    pub(crate) fn reads_content_type(&self) -> bool {
        self.content_type_from == ContentTypeFrom::Header && self.header_mode != HeaderMode::None
    }
}

/// What becomes of a message that no queue takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unroutable {
    /// The send fails with [`ErrorKind::Unroutable`](crate::ErrorKind::Unroutable).
    #[default]
    Error,
    /// The send succeeds: right where no subscriber means that nobody cares.
    Discard,
}

/// Settings of an output: `bindings.<channel>.producer.*`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct ProducerProperties {
    /// How long a send may take, waiting for room and for the broker. Default: 30 s.
    #[serde(with = "duration")]
    pub send_timeout: Duration,
    /// How many messages may be unconfirmed at once; a send waits for room. Default: 1,000.
    pub window: u32,
    /// What becomes of a message that no queue takes. Default: `error`.
    pub unroutable: Unroutable,
    /// Partitions of a destination that is created, and of one on a broker that does not know how many it has. Default: 1.
    pub partition_count: u32,
    /// By what a message's partition is chosen, with Spring's formula over Java's hash codes: `key`, `header.<name>`, `payload` or
    /// `payload.<field>.<field>`. A message without it is refused. Default: none; Kafka and memory then choose by the key as Kafka's Java client does.
    pub partition_key: Option<String>,
    /// Groups whose queues are declared before the first message is sent.
    pub required_groups: Vec<String>,
    /// Which headers are written. Default: `headers`.
    pub header_mode: HeaderMode,
    /// Headers that a processor's output inherits from its input beside correlation and trace headers; `*` is all.
    pub copy_headers: Vec<String>,
}

impl Default for ProducerProperties {
    fn default() -> Self {
        Self {
            send_timeout: Duration::from_secs(30),
            window: 1000,
            unroutable: Unroutable::Error,
            partition_count: 1,
            partition_key: None,
            required_groups: Vec::new(),
            header_mode: HeaderMode::Headers,
            copy_headers: Vec::new(),
        }
    }
}

macro_rules! setters {
    ($type:ty { $($field:ident: $value:ty),* $(,)? }) => {
        impl $type {
            $(
                #[doc = concat!("Sets `", stringify!($field), "`.")]
                #[must_use]
                pub fn $field(mut self, value: impl Into<$value>) -> Self {
                    self.$field = value.into();
                    self
                }
            )*
        }
    };
}

setters!(StreamProperties {
    default_binder: Option<String>,
    instance_count: u32,
    instance_index: u32,
    shutdown_timeout: Duration,
});
setters!(BindingProperties {
    destination: Option<String>,
    group: Option<String>,
    binder: Option<String>,
    content_type: String,
    provision: Provision,
    auto_startup: bool,
    consumer: ConsumerProperties,
    producer: ProducerProperties,
});
setters!(BreakerProperties { failure_rate: f64, calls: u32, open: Duration });
setters!(Backoff { initial: Duration, multiplier: f64, max: Duration, jitter: f64 });
setters!(ConsumerProperties {
    max_attempts: u32,
    backoff: Backoff,
    handler_timeout: Duration,
    permanent_errors: Vec<String>,
    retryable_errors: Vec<String>,
    breaker: BreakerProperties,
    retry: RetryMode,
    ordering: Ordering,
    concurrency: u32,
    prefetch: Option<u32>,
    dead_letters: Option<bool>,
    on_exhausted: Option<OnExhausted>,
    start: Option<Start>,
    header_mode: HeaderMode,
    content_type_from: ContentTypeFrom,
    key: Option<String>,
    partitioned: bool,
    transactional: bool,
});
setters!(ProducerProperties {
    send_timeout: Duration,
    window: u32,
    unroutable: Unroutable,
    partition_count: u32,
    partition_key: Option<String>,
    required_groups: Vec<String>,
    header_mode: HeaderMode,
    copy_headers: Vec<String>,
});
