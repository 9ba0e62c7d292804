//! Settings of librdkafka: our defaults, what passes through, and what is ours alone.

use std::time::Duration;

use binder_core::binder::{ConsumerBinding, ProducerBinding};
use binder_core::config::{Section, Start};
use binder_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::{KafkaConsumerProperties, KafkaProducerProperties, KafkaProperties, Settings};
use crate::error::from_kafka;
use crate::link::TELLS_EVERY;
use crate::membership;

/// Settings that say what a property of ours says already, with that property.
const OWNED: [(&str, &str); 25] = [
    ("bootstrap.servers", "set `brokers` of the binder"),
    ("metadata.broker.list", "set `brokers` of the binder"),
    ("group.id", "set `group` of the binding"),
    ("group.protocol", "set `consumer.kafka.group-protocol`"),
    ("group.instance.id", "set `consumer.kafka.group-instance-id`"),
    ("enable.auto.commit", "the binder commits what is settled"),
    ("auto.commit.enable", "the binder commits what is settled"),
    ("enable.auto.offset.store", "the binder commits what is settled"),
    ("offset.store.method", "the binder commits what is settled"),
    ("auto.commit.interval.ms", "set `consumer.kafka.commit-interval`"),
    ("auto.offset.reset", "set `consumer.start`"),
    ("partition.assignment.strategy", "set `consumer.kafka.assignment`"),
    ("allow.auto.create.topics", "set `provision` of the binding"),
    ("enable.idempotence", "the binder's producers are idempotent"),
    ("enable.gapless.guarantee", "the binder's producers report each message for itself"),
    ("acks", "a send is confirmed by all in-sync replicas"),
    ("request.required.acks", "a send is confirmed by all in-sync replicas"),
    ("message.timeout.ms", "set `producer.send-timeout`"),
    ("delivery.timeout.ms", "set `producer.send-timeout`"),
    ("linger.ms", "set `producer.kafka.linger`"),
    ("queue.buffering.max.ms", "set `producer.kafka.linger`"),
    ("compression.type", "set `producer.kafka.compression`"),
    ("compression.codec", "set `producer.kafka.compression`"),
    ("partitioner", "the binder's producers partition as Java does"),
    ("transactional.id", "set `transactional-id-prefix` of the binder"),
];

/// Refuses settings that are ours; `section` is where they stand.
pub(crate) fn check(binder: &KafkaProperties, settings: &Settings, section: &Section) -> Result<()> {
    let access = access(binder);
    let access = access.iter().map(|(name, _)| (*name, "`tls` and `sasl` of the binder say it"));
    let mut owned = OWNED.into_iter().chain(access);
    let Some((name, instead)) = owned.find(|(name, _)| settings.contains(name)) else { return Ok(()) };
    let path = format!("{}.configuration", section.path());
    let place = section.place_of("configuration").map_or_else(String::new, |place| format!("{place}: "));
    Err(Error::new(ErrorKind::Config, format!("{place}{path}: `{name}` can't be set here: {instead}")))
}

/// Settings that every client has.
pub(crate) fn common(binder: &KafkaProperties, own: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in [
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "1000"),
        ("socket.nagle.disable", "true"),
        ("socket.keepalive.enable", "true"),
        ("log.connection.close", "false"),
    ] {
        config.set(name, value);
    }
    for (name, value) in binder.configuration.iter().chain(own.iter()) {
        config.set(name, value);
    }
    config.set("bootstrap.servers", binder.brokers.to_string());
    for (name, value) in access(binder) {
        config.set(name, value);
    }
    config
}

/// How we come in.
fn access(binder: &KafkaProperties) -> Vec<(&'static str, String)> {
    let protocol = match (&binder.tls, &binder.sasl) {
        (None, None) => return vec![],
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    let mut settings = vec![("security.protocol", protocol.to_owned())];
    if let Some(sasl) = &binder.sasl {
        settings.push(("sasl.mechanism", sasl.mechanism.as_str().to_owned()));
        settings.push(("sasl.username", sasl.username.clone()));
        settings.push(("sasl.password", sasl.password.expose().to_owned()));
    }
    if let Some(tls) = &binder.tls {
        let files = [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.certificate),
            ("ssl.key.location", &tls.key),
        ];
        let given = files.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?.display().to_string())));
        settings.extend(given);
        let names = if tls.verify_host_name { "https" } else { "none" };
        settings.push(("ssl.endpoint.identification.algorithm", names.to_owned()));
    }
    settings
}

/// Settings of an input's client.
pub(crate) fn consumer(
    binder: &KafkaProperties,
    own: &KafkaConsumerProperties,
    binding: &ConsumerBinding,
    group: &str,
) -> ClientConfig {
    let mut config = common(binder, &own.configuration);
    // a partition that was read to its end, or whose queue was full, is asked again after this; the client's second is far too long
    if !own.configuration.contains("fetch.queue.backoff.ms") && !binder.configuration.contains("fetch.queue.backoff.ms")
    {
        config.set("fetch.queue.backoff.ms", "10");
    }
    tells(&mut config);
    let earliest = match binding.properties.start {
        Some(start) => start == Start::Earliest,
        None => binding.group.is_some(),
    };
    config
        .set("group.id", group)
        // what a transaction commits must not be overtaken by what was committed before
        .set("enable.auto.commit", if binding.properties.transactional { "false" } else { "true" })
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", millis(own.commit_interval).max(1).to_string())
        .set("auto.offset.reset", if earliest { "earliest" } else { "latest" })
        .set("allow.auto.create.topics", "false");
    membership::set(&mut config, own);
    config
}

/// Has a client tell of itself from time to time, unless it is set how often. Somebody must poll it.
pub(crate) fn tells(config: &mut ClientConfig) {
    if config.get("statistics.interval.ms").is_none() {
        config.set("statistics.interval.ms", TELLS_EVERY);
    }
}

/// Settings of an output's client.
pub(crate) fn producer(
    binder: &KafkaProperties,
    own: &KafkaProducerProperties,
    binding: &ProducerBinding,
) -> ClientConfig {
    let mut config = sender(binder, &own.configuration, binding.properties.send_timeout);
    config.set("linger.ms", millis(own.linger).to_string()).set("compression.type", own.compression.as_str());
    config
}

/// Settings of a client that sends; each message has its answer within `deadline`.
pub(crate) fn sender(binder: &KafkaProperties, own: &Settings, deadline: Duration) -> ClientConfig {
    let mut config = common(binder, own);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", millis(patience(deadline)).max(1).to_string())
        // the window bounds what is in flight
        .set("queue.buffering.max.messages", "0");
    config
}

/// The client looks for messages that are too old once a second, so it is told to be that much earlier.
fn patience(deadline: Duration) -> Duration {
    deadline.saturating_sub(Duration::from_secs(1)).max(deadline / 2)
}

/// Lets the client check names and values without connecting.
pub(crate) fn verify(config: &ClientConfig) -> Result<()> {
    config.create_native_config().map(drop).map_err(|cause| from_kafka(cause, None))
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis()
}

#[cfg(test)]
mod tests {
    use binder_core::Application;
    use binder_core::channel::Input;
    use binder_core::config::Config;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setting_of_ours_is_refused_by_name() {
        let settings: Settings = serde_json::from_value(json!({ "group.id": "x" })).expect("settings");
        let section = Section::new("bindings.in.consumer.kafka", json!({ "configuration": { "group.id": "x" } }));
        let error = check(&KafkaProperties::default(), &settings, &section).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        let told = "bindings.in.consumer.kafka.configuration: `group.id` can't be set here: set `group` of the binding";
        assert!(text.ends_with(told), "{text}");
    }

    /// The first one, as a reader would paste it.
    #[tokio::test]
    async fn the_guides_example_is_accepted() {
        #[derive(binder_core::Binding)]
        struct Channels {
            #[input]
            orders: Input<String>,
        }
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/configuration.md");
        let guide = std::fs::read_to_string(guide).expect("the guide");
        let example = guide.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        assert!(example.contains("configuration:"), "{example}");
        let config = Config::builder().yaml(example).build().expect("read");
        let app = Application::builder().config(config).binder("kafka", crate::factory()).build().expect("built");
        let channels = app.bind::<Channels>().await.expect("accepted");
        assert_eq!(channels.orders.name(), "orders");
    }

    #[test]
    fn a_user_is_said_once() {
        let sasl = json!({ "mechanism": "plain", "username": "alice", "password": "hunter2" });
        let binder: KafkaProperties = serde_json::from_value(json!({ "sasl": sasl })).expect("binder");
        let config = common(&binder, &Settings::default());
        assert_eq!(config.get("security.protocol"), Some("sasl_plaintext"));
        assert_eq!(config.get("sasl.password"), Some("hunter2"));
        let settings: Settings = serde_json::from_value(json!({ "sasl.password": "hunter3" })).expect("settings");
        let section = Section::new("binders.kafka", json!({ "configuration": { "sasl.password": "hunter3" } }));
        let text = check(&binder, &settings, &section).expect_err("refused").to_string();
        assert!(text.contains("`sasl.password` can't be set here: `tls` and `sasl`"), "{text}");
        assert!(check(&KafkaProperties::default(), &settings, &section).is_ok());
    }

    #[test]
    fn an_unknown_setting_is_refused_without_a_connection() {
        let settings: Settings = serde_json::from_value(json!({ "no.such.setting": 1 })).expect("settings");
        let error = verify(&common(&KafkaProperties::default(), &settings)).expect_err("refused");
        assert!(error.to_string().contains("no.such.setting"), "{error}");
    }

    #[test]
    fn a_binding_wins_over_its_binder() {
        let binder = json!({ "configuration": { "client.id": "a", "fetch.queue.backoff.ms": 5 } });
        let binder: KafkaProperties = serde_json::from_value(binder).expect("binder");
        let own: KafkaConsumerProperties =
            serde_json::from_value(json!({ "configuration": { "client.id": "b" } })).expect("binding");
        let config = consumer(&binder, &own, &ConsumerBinding::new("c"), "g");
        assert_eq!(config.get("client.id"), Some("b"));
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("5"));
        assert_eq!(config.get("auto.offset.reset"), Some("latest"), "anonymous");
    }
}
