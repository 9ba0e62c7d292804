//! How an input is a member of its group: the protocol, who hands out partitions, a name that outlives a restart.

use std::time::Duration;

use binder_core::binder::ConsumerBinding;
use binder_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;

use crate::config::{Assignment, GroupProtocol, KafkaConsumerProperties, Settings};

/// Settings that the new protocol leaves to the broker, and what sets them there.
const BROKERS: [(&str, &str); 3] = [
    ("session.timeout.ms", "the broker's `group.consumer.session.timeout.ms` counts"),
    ("heartbeat.interval.ms", "the broker's `group.consumer.heartbeat.interval.ms` counts"),
    ("group.protocol.type", "it belongs to the classic protocol"),
];

/// What librdkafka takes when nothing is set, in milliseconds.
const SESSION_TIMEOUT: u64 = 45_000;
const MAX_POLL_INTERVAL: u64 = 300_000;

/// What a broker's `group.consumer.heartbeat.interval.ms` may be at most, unless it is told otherwise, in milliseconds.
const BROKERS_HEARTBEAT: u64 = 15_000;

/// What librdkafka takes for `heartbeat.interval.ms` when nothing is set.
const HEARTBEAT: u64 = 3_000;

/// How long no broker may answer, at least, before an input's connection counts as lost.
const SILENCE: Duration = Duration::from_secs(15);

/// How long no broker may answer an input before its connection counts as lost: an input that has nothing to fetch, as one that is paused,
/// asks by heartbeats alone, so three of them must be due without an answer.
pub(crate) fn patience(config: &ClientConfig) -> Duration {
    let heartbeat = match config.get("group.protocol") {
        Some("consumer") => BROKERS_HEARTBEAT,
        _ => config.get("heartbeat.interval.ms").and_then(|text| text.trim().parse().ok()).unwrap_or(HEARTBEAT),
    };
    SILENCE.max(Duration::from_millis(heartbeat) * 3)
}

/// Sets what a member needs; [`check`] has passed.
pub(crate) fn set(config: &mut ClientConfig, own: &KafkaConsumerProperties) {
    match own.group_protocol {
        GroupProtocol::Consumer => drop(config.set("group.protocol", "consumer")),
        GroupProtocol::Classic => {
            let strategy = match own.assignment.unwrap_or_default() {
                Assignment::Cooperative => "cooperative-sticky",
                Assignment::Eager => "range,roundrobin",
            };
            config.set("group.protocol", "classic").set("partition.assignment.strategy", strategy);
        }
    }
    if let Some(id) = &own.group_instance_id {
        config.set("group.instance.id", id);
    }
}

/// Refuses settings that contradict each other; `common` are the binder's.
pub(crate) fn check(common: &Settings, own: &KafkaConsumerProperties, binding: &ConsumerBinding) -> Result<()> {
    let refused = instance_id(own, binding).or_else(|| match own.group_protocol {
        GroupProtocol::Classic => classic(common, own),
        GroupProtocol::Consumer => consumer(common, own),
    });
    refused.map_or(Ok(()), |why| Err(Error::new(ErrorKind::Config, why)))
}

fn instance_id(own: &KafkaConsumerProperties, binding: &ConsumerBinding) -> Option<String> {
    match own.group_instance_id.as_deref() {
        Some("") => Some("`consumer.kafka.group-instance-id` is empty".to_owned()),
        Some(_) if binding.group.is_none() => Some(
            "`consumer.kafka.group-instance-id` needs a `group`: an anonymous group ends with its process".to_owned(),
        ),
        _ => None,
    }
}

fn classic(common: &Settings, own: &KafkaConsumerProperties) -> Option<String> {
    if let Some(place) = place("group.remote.assignor", common, own) {
        return Some(format!("{place}: `group.remote.assignor` needs `consumer.kafka.group-protocol: consumer`"));
    }
    let number = |name, default| value(name, common, own).and_then(|text| text.trim().parse().ok()).unwrap_or(default);
    let session = number("session.timeout.ms", SESSION_TIMEOUT);
    let poll = number("max.poll.interval.ms", MAX_POLL_INTERVAL);
    (poll < session)
        .then(|| format!("`max.poll.interval.ms` ({poll}) must not be less than `session.timeout.ms` ({session})"))
}

fn consumer(common: &Settings, own: &KafkaConsumerProperties) -> Option<String> {
    if own.assignment.is_some() {
        let text = "`consumer.kafka.assignment` can't be set with `group-protocol: consumer`: the broker hands partitions out; \
                    `group.remote.assignor` in `configuration` says how";
        return Some(text.to_owned());
    }
    BROKERS.iter().find_map(|(name, instead)| {
        let place = place(name, common, own)?;
        Some(format!("{place}: `{name}` can't be set with `group-protocol: consumer`: {instead}"))
    })
}

/// Returns where a setting stands, if anywhere.
fn place(name: &str, common: &Settings, own: &KafkaConsumerProperties) -> Option<&'static str> {
    if own.configuration.contains(name) {
        Some("`configuration` of the binding")
    } else {
        common.contains(name).then_some("`configuration` of the binder")
    }
}

fn value<'a>(name: &str, common: &'a Settings, own: &'a KafkaConsumerProperties) -> Option<&'a str> {
    let find = |settings: &'a Settings| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
    find(&own.configuration).or_else(|| find(common))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(group: Option<&str>, common: Value, own: Value) -> Option<String> {
        let common: Settings = serde_json::from_value(common).expect("settings");
        let own: KafkaConsumerProperties = serde_json::from_value(own).expect("properties");
        let mut binding = ConsumerBinding::new("in");
        binding.group = group.map(str::to_owned);
        let error = check(&common, &own, &binding).err()?;
        assert_eq!(error.kind(), ErrorKind::Config);
        Some(error.to_string())
    }

    fn set_of(own: Value) -> ClientConfig {
        let mut config = ClientConfig::new();
        set(&mut config, &serde_json::from_value(own).expect("properties"));
        config
    }

    #[test]
    fn three_heartbeats_are_due_before_a_broker_counts_as_silent() {
        let patience_of = |settings: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            for (name, value) in settings {
                config.set(*name, *value);
            }
            patience(&config).as_millis()
        };
        let heartbeat = |value| patience_of(&[("heartbeat.interval.ms", value)]);
        assert_eq!(patience_of(&[]), 15_000);
        assert_eq!(heartbeat("200"), 15_000);
        assert_eq!(heartbeat("5000"), 15_000);
        assert_eq!(heartbeat("5001"), 15_003);
        assert_eq!(heartbeat(" 60000 "), 180_000);
        assert_eq!(patience_of(&[("group.protocol", "consumer")]), 45_000, "the broker says how often");
        assert_eq!(patience_of(&[("group.protocol", "classic"), ("heartbeat.interval.ms", "20000")]), 60_000);
    }

    #[test]
    fn partitions_move_one_by_one_unless_told_otherwise() {
        assert_eq!(set_of(json!({})).get("partition.assignment.strategy"), Some("cooperative-sticky"));
        let eager = set_of(json!({ "assignment": "eager" }));
        assert_eq!(eager.get("partition.assignment.strategy"), Some("range,roundrobin"));
    }

    #[test]
    fn the_new_protocol_is_asked_for_without_an_assignor() {
        let config = set_of(json!({ "group-protocol": "consumer", "group-instance-id": "one" }));
        assert_eq!(config.get("group.protocol"), Some("consumer"));
        assert_eq!(config.get("group.instance.id"), Some("one"));
        assert_eq!(config.get("partition.assignment.strategy"), None);
    }

    #[test]
    fn what_the_broker_decides_is_refused_with_the_new_protocol() {
        let protocol = json!({ "group-protocol": "consumer" });
        assert_eq!(refused(Some("g"), json!({}), protocol.clone()), None);
        let own = json!({ "group-protocol": "consumer", "assignment": "cooperative" });
        assert!(refused(Some("g"), json!({}), own).is_some_and(|text| text.contains("`consumer.kafka.assignment`")));
        let own = json!({ "group-protocol": "consumer", "configuration": { "session.timeout.ms": 6000 } });
        let text = refused(Some("g"), json!({}), own).expect("refused");
        assert_eq!(
            text,
            "`configuration` of the binding: `session.timeout.ms` can't be set with `group-protocol: consumer`: \
             the broker's `group.consumer.session.timeout.ms` counts"
        );
        let text = refused(Some("g"), json!({ "heartbeat.interval.ms": 100 }), protocol).expect("refused");
        assert!(text.starts_with("`configuration` of the binder: `heartbeat.interval.ms`"), "{text}");
    }

    #[test]
    fn what_only_the_new_protocol_knows_is_refused_without_it() {
        let own = json!({ "configuration": { "group.remote.assignor": "range" } });
        assert!(
            refused(Some("g"), json!({}), own.clone()).is_some_and(|text| text.contains("group-protocol: consumer"))
        );
        let mut with = own;
        with["group-protocol"] = json!("consumer");
        assert_eq!(refused(Some("g"), json!({}), with), None);
    }

    #[test]
    fn a_session_longer_than_the_poll_interval_is_refused() {
        let own = json!({ "configuration": { "max.poll.interval.ms": 6000 } });
        let text = refused(Some("g"), json!({}), own.clone()).expect("refused");
        assert_eq!(text, "`max.poll.interval.ms` (6000) must not be less than `session.timeout.ms` (45000)");
        assert_eq!(refused(Some("g"), json!({ "session.timeout.ms": 6000 }), own), None);
    }

    #[test]
    fn a_static_member_has_a_name_and_a_group() {
        let own = json!({ "group-instance-id": "one" });
        assert_eq!(refused(Some("g"), json!({}), own.clone()), None);
        assert!(refused(None, json!({}), own).is_some_and(|text| text.contains("needs a `group`")));
        assert!(refused(Some("g"), json!({}), json!({ "group-instance-id": "" })).is_some());
    }
}
