//! What a queue is besides its name: its kind, its limits, and what of them contradicts itself.

use std::time::Duration;

use binder_core::binder::ConsumerBinding;
use binder_core::config::{ConsumerProperties, Ordering, RetryMode};
use binder_core::{Error, ErrorKind, Result};
use lapin::types::{AMQPValue, FieldTable};
use serde::Deserialize;

use crate::config::{RabbitConsumerProperties, RabbitProducerProperties};

pub(crate) const QUEUE_TYPE: &str = "x-queue-type";

/// How often the broker hands out a message of a quorum queue again.
pub(crate) const DELIVERY_LIMIT: &str = "x-delivery-limit";

/// From this version on a quorum queue has a limit unless it is told to have none.
const LIMITS_BY_ITSELF: u32 = 4;

/// The longest time that the broker takes: ten years.
const LONGEST: Duration = Duration::from_millis(315_360_000_000);

/// A quorum queue: `quorum.*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Quorum {
    /// Whether the queue is kept on several nodes of a cluster. Default: false, a classic queue.
    pub enabled: bool,
    /// How often the broker may hand a message out again before it moves it to the dead letters itself, or drops it where there are
    /// none. Whatever returns a message counts: a lost connection, a shutdown, a pause. At least `max-attempts`. Default: no limit; a
    /// RabbitMQ from 4.0 on, which has one of 20 by itself, is told so.
    pub delivery_limit: Option<u32>,
    /// On how many nodes the queue is made. Default: the broker's.
    pub initial_group_size: Option<u32>,
}

impl Quorum {
    fn check(&self, key: &str) -> Result<()> {
        if !self.enabled && (self.delivery_limit.is_some() || self.initial_group_size.is_some()) {
            let part = if self.delivery_limit.is_some() { "delivery-limit" } else { "initial-group-size" };
            return refuse(format!("`rabbit.{key}.{part}` needs `rabbit.{key}.enabled: true`"));
        }
        if self.initial_group_size == Some(0) {
            return refuse(format!("`rabbit.{key}.initial-group-size` must be at least 1"));
        }
        Ok(())
    }

    /// Refuses what a queue of dead letters can't be.
    pub(crate) fn check_dead_letters(&self, has_dead_letters: bool) -> Result<()> {
        if self.delivery_limit.is_some() {
            return refuse(
                "`rabbit.dlq-quorum.delivery-limit`: who lists dead letters takes them and gives them back, so that with a limit they \
                 would be lost; leave it out",
            );
        }
        if self.enabled && !has_dead_letters {
            return refuse("`rabbit.dlq-quorum.enabled: true`: there is no queue of dead letters");
        }
        self.check("dlq-quorum")
    }
}

/// What becomes of a message for a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OverflowBehavior {
    /// The oldest message makes room.
    DropHead,
    /// The send fails with [`ErrorKind::Refused`], at once.
    RejectPublish,
    /// As `reject-publish`, and the broker moves the message to the dead letters; not on quorum queues.
    RejectPublishDlx,
}

impl OverflowBehavior {
    fn name(self) -> &'static str {
        match self {
            Self::DropHead => "drop-head",
            Self::RejectPublish => "reject-publish",
            Self::RejectPublishDlx => "reject-publish-dlx",
        }
    }
}

/// The settings of a queue, of whichever side declares it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QueueSettings {
    pub(crate) quorum: Quorum,
    pub(crate) single_active_consumer: bool,
    max_priority: Option<u8>,
    ttl: Option<Duration>,
    expires: Option<Duration>,
    max_length: Option<u32>,
    max_length_bytes: Option<u64>,
    overflow_behavior: Option<OverflowBehavior>,
    lazy: bool,
}

macro_rules! settings_of {
    ($($properties:ty),*) => {
        $(impl From<&$properties> for QueueSettings {
            fn from(properties: &$properties) -> Self {
                Self {
                    quorum: properties.quorum,
                    single_active_consumer: properties.single_active_consumer,
                    max_priority: properties.max_priority,
                    ttl: properties.ttl,
                    expires: properties.expires,
                    max_length: properties.max_length,
                    max_length_bytes: properties.max_length_bytes,
                    overflow_behavior: properties.overflow_behavior,
                    lazy: properties.lazy,
                }
            }
        })*
    };
}

settings_of!(RabbitConsumerProperties, RabbitProducerProperties);

fn refuse<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Config, text.into()))
}

impl QueueSettings {
    /// Returns the settings of a queue that has no others.
    pub(crate) fn of(quorum: Quorum) -> Self {
        Self { quorum, ..Self::default() }
    }

    /// Returns the arguments, those of dead letters excepted. Names are those of Spring Cloud Stream.
    pub(crate) fn arguments(&self) -> FieldTable {
        let number = |value: u64| AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX));
        let millis = |time: Duration| number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let text = |value: &str| AMQPValue::LongString(value.into());
        let quorum = Some(self.quorum).filter(|quorum| quorum.enabled);
        let known = [
            (QUEUE_TYPE, quorum.map(|_| text("quorum"))),
            (DELIVERY_LIMIT, quorum.and_then(|quorum| quorum.delivery_limit).map(|limit| number(limit.into()))),
            (
                "x-quorum-initial-group-size",
                quorum.and_then(|quorum| quorum.initial_group_size).map(|size| number(size.into())),
            ),
            ("x-single-active-consumer", self.single_active_consumer.then_some(AMQPValue::Boolean(true))),
            ("x-max-priority", self.max_priority.map(|priority| number(priority.into()))),
            ("x-message-ttl", self.ttl.map(millis)),
            ("x-expires", self.expires.map(millis)),
            ("x-max-length", self.max_length.map(|length| number(length.into()))),
            ("x-max-length-bytes", self.max_length_bytes.map(number)),
            ("x-overflow", self.overflow_behavior.map(|behavior| text(behavior.name()))),
            ("x-queue-mode", self.lazy.then(|| text("lazy"))),
        ];
        let mut arguments = FieldTable::default();
        for (name, value) in known {
            if let Some(value) = value {
                arguments.insert(name.into(), value);
            }
        }
        arguments
    }

    /// Returns whether a broker of this version has to be told that there is no limit of deliveries.
    pub(crate) fn asks_for_no_limit(&self, major: Option<u32>) -> bool {
        self.has_no_limit() && major.is_some_and(|major| major >= LIMITS_BY_ITSELF)
    }

    /// Returns whether the queue is one that may have a limit, and shall have none.
    pub(crate) fn has_no_limit(&self) -> bool {
        self.quorum.enabled && self.quorum.delivery_limit.is_none()
    }

    /// Refuses what contradicts itself or is never taken by the broker.
    pub(crate) fn check(&self) -> Result<()> {
        let enabled = self.quorum.enabled;
        self.quorum.check("quorum")?;
        let on_classic_queues_only = [
            (self.max_priority.is_some(), "`rabbit.max-priority`"),
            (self.lazy, "`rabbit.lazy`"),
            (
                self.overflow_behavior == Some(OverflowBehavior::RejectPublishDlx),
                "`rabbit.overflow-behavior: reject-publish-dlx`",
            ),
        ];
        if let Some((_, key)) = on_classic_queues_only.iter().find(|(set, _)| enabled && *set) {
            return refuse(format!("{key} is not for quorum queues (`rabbit.quorum.enabled: true`)"));
        }
        if self.max_priority == Some(0) {
            return refuse("`rabbit.max-priority` must be 1 to 255");
        }
        check_time("ttl", self.ttl, Duration::ZERO)?;
        check_time("expires", self.expires, Duration::from_millis(1))
    }

    /// Refuses a limit of deliveries on a queue without dead letters.
    pub(crate) fn check_limit(&self, has_dead_letters: bool) -> Result<()> {
        match self.quorum.delivery_limit.filter(|_| self.quorum.enabled && !has_dead_letters) {
            Some(limit) => refuse(format!(
                "`rabbit.quorum.delivery-limit` ({limit}) with `dead-letters: false`: what was handed out so often the broker would drop, \
                 and nobody would know; leave the limit out, or have dead letters"
            )),
            None => Ok(()),
        }
    }

    /// Refuses what is not for streams: what is read stays, so that only how much is kept can be said.
    pub(crate) fn check_stream(&self) -> Result<()> {
        let others = [
            (self.quorum.enabled, "quorum.enabled"),
            (self.single_active_consumer, "single-active-consumer"),
            (self.max_priority.is_some(), "max-priority"),
            (self.ttl.is_some(), "ttl"),
            (self.expires.is_some(), "expires"),
            (self.max_length.is_some(), "max-length"),
            (self.overflow_behavior.is_some(), "overflow-behavior"),
            (self.lazy, "lazy"),
        ];
        match others.iter().find(|(set, _)| *set) {
            Some((_, key)) => refuse(format!(
                "`rabbit.{key}` is not for streams (`rabbit.container-type: stream`); `max-length-bytes` is"
            )),
            None => Ok(()),
        }
    }
}

fn check_time(key: &str, time: Option<Duration>, least: Duration) -> Result<()> {
    let Some(time) = time else { return Ok(()) };
    let shown = humantime_serde::re::humantime::format_duration(time);
    if !time.subsec_nanos().is_multiple_of(1_000_000) {
        return refuse(format!("`rabbit.{key}` ({shown}) must be whole milliseconds"));
    }
    if time < least || time > LONGEST {
        return refuse(format!("`rabbit.{key}` ({shown}) must be {least:?} to ten years"));
    }
    Ok(())
}

/// Checks the queues of an input against the rest of its settings.
pub(crate) fn check(binding: &ConsumerBinding, settings: &QueueSettings) -> Result<()> {
    settings.check()?;
    let properties = &binding.properties;
    if settings.quorum.enabled && binding.group.is_none() {
        return refuse(
            "`rabbit.quorum.enabled` needs a `group`: an anonymous queue is exclusive, which a quorum queue can't be",
        );
    }
    settings.check_limit(binding.has_dead_letters())?;
    // What waits on the broker comes back as another message.
    let attempts = if properties.retry == RetryMode::InPlace { properties.max_attempts } else { 1 };
    if let Some(limit) = settings.quorum.delivery_limit.filter(|limit| *limit < attempts) {
        return refuse(format!(
            "`rabbit.quorum.delivery-limit` ({limit}) is less than `max-attempts` ({}): the broker would move a message aside \
             before its attempts are used up",
            attempts
        ));
    }
    if let (Some(priority), true) = (settings.max_priority, properties.ordering != Ordering::None) {
        return refuse(format!(
            "`rabbit.max-priority` ({priority}) hands out in the order of priorities, so `ordering: {}` can't hold; say \
             `ordering: none`",
            ordering(properties.ordering)
        ));
    }
    let competing = binding.instance.count > 1 && !properties.partitioned && !settings.single_active_consumer;
    if binding.group.is_some() && competing && properties.ordering != Ordering::None {
        return refuse(format!(
            "`instance-count` is {}: so many instances compete for one queue, which breaks `ordering: {}`; say `partitioned: true`, \
             `rabbit.single-active-consumer: true` or `ordering: none`",
            binding.instance.count,
            ordering(properties.ordering)
        ));
    }
    Ok(())
}

/// Says what is wrong if an input has more handlers than it reads queues, and one handler at a time runs for each.
pub(crate) fn idle_handlers(properties: &ConsumerProperties, queues: usize) -> Option<String> {
    let handlers = properties.concurrency as usize;
    if properties.ordering != Ordering::Partition || handlers <= queues {
        return None;
    }
    Some(format!(
        "with `ordering: partition` one handler at a time runs for each queue: `concurrency` is {handlers}, this instance reads {queues}, \
         so {} will have nothing to do; say `ordering: key` or `ordering: none`, or read more queues (`partitioned: true`)",
        handlers - queues
    ))
}

fn ordering(ordering: Ordering) -> &'static str {
    match ordering {
        Ordering::Key => "key",
        Ordering::None => "none",
        _ => "partition",
    }
}

#[cfg(test)]
mod tests {
    use binder_core::binder::{Binder, BinderContext, Instance, ProducerBinding};
    use binder_core::config::{OnExhausted, ProducerProperties, Section};
    use serde_json::{Value, json};

    use super::*;

    fn settings(value: Value) -> QueueSettings {
        let section = Section::new("consumer.rabbit", value);
        let properties: RabbitConsumerProperties = section.read().expect("valid");
        QueueSettings::from(&properties)
    }

    fn named() -> ConsumerBinding {
        let mut binding = ConsumerBinding::new("orders");
        binding.group = Some("billing".to_owned());
        binding
    }

    fn refused(binding: &ConsumerBinding, value: Value) -> String {
        let error = check(binding, &settings(value)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    fn shown(settings: &QueueSettings) -> String {
        crate::error::shown(&settings.arguments())
    }

    /// As Spring Cloud Stream declares them, but for the width of numbers, which the broker does not compare.
    #[test]
    fn arguments_are_those_of_spring_cloud_stream() {
        let all = settings(json!({
            "ttl": "60s", "expires": "10m", "max-length": 1000, "max-priority": 5, "overflow-behavior": "reject-publish",
            "lazy": true, "single-active-consumer": true, "max-length-bytes": 5_000_000_000_u64,
        }));
        assert_eq!(
            shown(&all),
            "x-expires=600000, x-max-length=1000, x-max-length-bytes=5000000000, x-max-priority=5, x-message-ttl=60000, \
             x-overflow=reject-publish, x-queue-mode=lazy, x-single-active-consumer=true"
        );
        let quorum = settings(json!({ "quorum": { "enabled": true, "delivery-limit": 4, "initial-group-size": 3 } }));
        assert_eq!(shown(&quorum), "x-delivery-limit=4, x-queue-type=quorum, x-quorum-initial-group-size=3");
        assert_eq!(shown(&QueueSettings::default()), "no arguments");
    }

    #[test]
    fn only_a_broker_with_a_limit_of_its_own_is_told_that_there_is_none() {
        let unlimited = settings(json!({ "quorum": { "enabled": true } }));
        for (major, told) in [(Some(3), false), (Some(4), true), (Some(5), true), (None, false)] {
            assert_eq!(unlimited.asks_for_no_limit(major), told, "{major:?}");
        }
        let limited = settings(json!({ "quorum": { "enabled": true, "delivery-limit": 4 } }));
        assert!(!limited.asks_for_no_limit(Some(4)));
        assert!(!QueueSettings::default().asks_for_no_limit(Some(4)), "a classic queue has none");
    }

    #[test]
    fn a_delivery_limit_leaves_room_for_every_attempt() {
        let text = refused(&named(), json!({ "quorum": { "enabled": true, "delivery-limit": 2 } }));
        assert!(text.contains("(2) is less than `max-attempts` (3)"), "{text}");
        let enough = settings(json!({ "quorum": { "enabled": true, "delivery-limit": 3 } }));
        check(&named(), &enough).expect("as many as attempts");
    }

    #[test]
    fn a_delivery_limit_without_dead_letters_is_refused() {
        let limited = json!({ "quorum": { "enabled": true, "delivery-limit": 5 } });
        let mut binding = named();
        check(&binding, &settings(limited.clone())).expect("the broker moves it to the dead letters");
        binding.properties =
            ConsumerProperties::default().dead_letters(Some(false)).on_exhausted(Some(OnExhausted::Discard));
        let text = refused(&binding, limited.clone());
        assert!(text.contains("`rabbit.quorum.delivery-limit` (5) with `dead-letters: false`"), "{text}");
        check(&binding, &settings(json!({ "quorum": { "enabled": true } })))
            .expect("without a limit nothing is dropped");

        let binder = crate::RabbitBinder::new(&BinderContext::new("rabbit", Section::default())).expect("a binder");
        let mut output = ProducerBinding::new("orders");
        output.properties = ProducerProperties::default().required_groups(vec!["billing".to_owned()]);
        output.section = Section::new("producer.rabbit", limited.clone());
        binder.check_producer(&output).expect("its dead letters are on");
        let mut without = limited;
        without["dead-letters"] = json!(false);
        output.section = Section::new("producer.rabbit", without);
        let text = binder.check_producer(&output).expect_err("refused").to_string();
        assert!(text.contains("with `dead-letters: false`"), "{text}");
    }

    #[test]
    fn concurrency_above_the_queues_is_warned_of() {
        let properties = ConsumerProperties::default().concurrency(4_u32);
        let text = idle_handlers(&properties, 1).expect("warned of");
        assert!(text.contains("`concurrency` is 4, this instance reads 1, so 3 will have nothing to do"), "{text}");
        assert_eq!(idle_handlers(&properties, 4), None, "one for each");
        for ordering in [Ordering::Key, Ordering::None] {
            assert_eq!(idle_handlers(&properties.clone().ordering(ordering), 1), None, "a queue has several at once");
        }
    }

    #[test]
    fn a_message_that_waits_on_the_broker_counts_anew() {
        let mut binding = named();
        binding.properties = ConsumerProperties::default().retry(RetryMode::Delayed).ordering(Ordering::None);
        let limited = settings(json!({ "quorum": { "enabled": true, "delivery-limit": 1 } }));
        check(&binding, &limited).expect("one is enough");
    }

    #[test]
    fn a_queue_of_dead_letters_has_no_limit_of_deliveries() {
        let quorum = |value: Value| serde_json::from_value::<Quorum>(value).expect("valid");
        let refused = |value, has| quorum(value).check_dead_letters(has).expect_err("refused").to_string();
        let text = refused(json!({ "enabled": true, "delivery-limit": 20 }), true);
        assert!(text.contains("`rabbit.dlq-quorum.delivery-limit`") && text.contains("gives them back"), "{text}");
        let text = refused(json!({ "initial-group-size": 3 }), true);
        assert!(text.contains("needs `rabbit.dlq-quorum.enabled: true`"), "{text}");
        let text = refused(json!({ "enabled": true }), false);
        assert!(text.contains("there is no queue of dead letters"), "{text}");
        quorum(json!({ "enabled": true, "initial-group-size": 3 })).check_dead_letters(true).expect("fine");
        Quorum::default().check_dead_letters(false).expect("the default");
    }

    #[test]
    fn what_is_not_for_quorum_queues_is_refused_on_them() {
        let others =
            [("max-priority", json!(5)), ("lazy", json!(true)), ("overflow-behavior", json!("reject-publish-dlx"))];
        for (key, value) in others {
            let mut binding = named();
            binding.properties = ConsumerProperties::default().ordering(Ordering::None);
            let mut both = json!({ "quorum": { "enabled": true } });
            both[key] = value.clone();
            let text = refused(&binding, both);
            assert!(text.contains(key) && text.contains("quorum"), "{text}");
            check(&binding, &settings(json!({ key: value }))).expect("fine on a classic queue");
        }
        let text = refused(&ConsumerBinding::new("orders"), json!({ "quorum": { "enabled": true } }));
        assert!(text.contains("`group`"), "{text}");
    }

    #[test]
    fn quorum_settings_need_a_quorum_queue() {
        for key in ["delivery-limit", "initial-group-size"] {
            let text = refused(&named(), json!({ "quorum": { key: 5 } }));
            assert!(text.contains(key) && text.contains("`rabbit.quorum.enabled: true`"), "{text}");
        }
        let text = refused(&named(), json!({ "quorum": { "enabled": true, "initial-group-size": 0 } }));
        assert!(text.contains("at least 1"), "{text}");
    }

    #[test]
    fn of_a_stream_only_its_size_is_limited() {
        let others = [
            ("quorum", json!({ "enabled": true })),
            ("single-active-consumer", json!(true)),
            ("max-priority", json!(5)),
            ("ttl", json!("1s")),
            ("expires", json!("1s")),
            ("max-length", json!(5)),
            ("overflow-behavior", json!("reject-publish")),
            ("lazy", json!(true)),
        ];
        for (key, value) in others {
            let text = settings(json!({ key: value })).check_stream().expect_err(key).to_string();
            assert!(text.contains(key) && text.contains("`rabbit.container-type: stream`"), "{text}");
        }
        settings(json!({ "max-length-bytes": 5 })).check_stream().expect("fine");
    }

    #[test]
    fn priorities_have_no_other_order() {
        for (kind, name) in [(Ordering::Partition, "partition"), (Ordering::Key, "key")] {
            let mut binding = named();
            binding.properties = ConsumerProperties::default().ordering(kind);
            let text = refused(&binding, json!({ "max-priority": 5 }));
            assert!(text.contains(&format!("`ordering: {name}`")), "{text}");
        }
        assert!(refused(&named(), json!({ "max-priority": 0 })).contains("1 to 255"));
    }

    #[test]
    fn times_are_what_the_broker_takes() {
        assert!(
            refused(&named(), json!({ "expires": "0s" })).contains("`rabbit.expires` (0s) must be 1ms to ten years")
        );
        assert!(refused(&named(), json!({ "ttl": "4000 days" })).contains("must be 0ns to ten years"));
        assert!(refused(&named(), json!({ "ttl": "1500us" })).contains("whole milliseconds"));
        check(&named(), &settings(json!({ "ttl": "0s" }))).expect("at once or never");
    }

    #[test]
    fn instances_that_share_a_queue_keep_no_order() {
        let mut binding = named();
        binding.instance = Instance { index: 0, count: 3 };
        let text = refused(&binding, json!({}));
        assert!(text.contains("`instance-count` is 3") && text.contains("`ordering: partition`"), "{text}");
        check(&binding, &settings(json!({ "single-active-consumer": true }))).expect("one of them is served");
        let mut partitioned = binding.clone();
        partitioned.properties = ConsumerProperties::default().partitioned(true);
        check(&partitioned, &QueueSettings::default()).expect("each has queues of its own");
        let mut anonymous = binding.clone();
        anonymous.group = None;
        check(&anonymous, &QueueSettings::default()).expect("each has a queue of its own");
        binding.properties = ConsumerProperties::default().ordering(Ordering::None);
        check(&binding, &QueueSettings::default()).expect("no order to keep");
    }
}
