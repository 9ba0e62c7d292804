//! What can be set for Kafka, with its defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use binder_core::config::Secret;
use binder_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// Settings of a binder of type `kafka`: `binders.<name>.*`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaProperties {
    /// Brokers to start from, as a list or separated by commas; a missing port is 9092. Default: `localhost:9092`.
    pub brokers: Brokers,
    /// Encrypts the connections and says which certificates are used; `tls: {}` takes all defaults. Default: no encryption.
    pub tls: Option<Tls>,
    /// Who we are, with a password. Default: nobody in particular.
    pub sasl: Option<Sasl>,
    /// Settings of librdkafka for every client of this binder. Default: none.
    pub configuration: Settings,
    /// Partitions that a topic created by this binder has at least. Default: 1.
    pub min_partition_count: u32,
    /// Replicas of topics created by this binder. Default: the broker's.
    pub replication_factor: Option<u16>,
    /// What the `transactional.id` of every client with transactions begins with; the broker's rules may allow ids by their beginning. Each
    /// client adds what makes it the only one. Default: `stream`.
    pub transactional_id_prefix: String,
}

impl Default for KafkaProperties {
    fn default() -> Self {
        Self {
            brokers: Brokers(vec!["localhost:9092".to_owned()]),
            tls: None,
            sasl: None,
            configuration: Settings::default(),
            min_partition_count: 1,
            replication_factor: None,
            transactional_id_prefix: "stream".to_owned(),
        }
    }
}

impl KafkaProperties {
    /// Refuses what can't be together, or is not compiled in.
    pub(crate) fn check(&self) -> Result<()> {
        let needs_feature = |what: &str| {
            let text = format!("{what} is not compiled in: build with the feature `tls` of binder-kafka");
            Err(Error::new(ErrorKind::Unsupported, text))
        };
        let scram = self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism != SaslMechanism::Plain);
        match &self.tls {
            Some(_) if !cfg!(feature = "tls") => needs_feature("`tls`"),
            Some(tls) if tls.certificate.is_some() != tls.key.is_some() => {
                Err(Error::new(ErrorKind::Config, "`tls.certificate` and `tls.key` go together"))
            }
            _ if scram && !cfg!(feature = "tls") => needs_feature("SCRAM"),
            _ => Ok(()),
        }
    }
}

/// How a broker is checked, and what it is shown: `binders.<name>.tls`. All files are PEM and are read when a binding connects.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// File with the authorities that may have signed the brokers' certificates. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// File with the certificate to show to the brokers, and with those between it and its authority. Default: none.
    pub certificate: Option<PathBuf>,
    /// File with the certificate's private key. Default: none.
    pub key: Option<PathBuf>,
    /// Whether a broker's certificate must be for its host name. Default: true.
    pub verify_host_name: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: None, certificate: None, key: None, verify_host_name: true }
    }
}

/// User and password: `binders.<name>.sasl`. Without `tls` they go over the network in the open, SCRAM's password excepted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Sasl {
    /// How the password is proved. No default.
    pub mechanism: SaslMechanism,
    /// The user. No default.
    pub username: String,
    /// The password. No default.
    pub password: Secret,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SaslMechanism {
    /// By sending it.
    #[serde(alias = "PLAIN")]
    Plain,
    /// By a challenge, with SHA-256.
    #[serde(rename = "scram-sha-256", alias = "SCRAM-SHA-256")]
    ScramSha256,
    /// By a challenge, with SHA-512.
    #[serde(rename = "scram-sha-512", alias = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Settings of an input: `bindings.<channel>.consumer.kafka.*`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaConsumerProperties {
    /// Settings of librdkafka for this input; they win over the binder's. Default: none.
    pub configuration: Settings,
    /// How members of the group and the broker talk to each other. Default: `classic`.
    pub group_protocol: GroupProtocol,
    /// How partitions are handed out within the group; all members must agree. With `group-protocol: consumer` the broker decides it, and
    /// this must not be set. Default: `cooperative`.
    pub assignment: Option<Assignment>,
    /// Name of this member, of its own in the group: a member that is back within the session timeout finds its partitions as they were,
    /// and nothing moves. Needs a named group. Default: none, each start is a new member.
    pub group_instance_id: Option<String>,
    /// How often what is settled is committed. Default: 1 s.
    #[serde(deserialize_with = "duration")]
    pub commit_interval: Duration,
    /// Commits before the interval is over when so many deliveries were settled; 0 is never. Default: 10,000.
    pub commit_count: u64,
    /// What a topic created for this input looks like.
    pub topic: TopicProperties,
}

impl Default for KafkaConsumerProperties {
    fn default() -> Self {
        Self {
            configuration: Settings::default(),
            group_protocol: GroupProtocol::Classic,
            assignment: None,
            group_instance_id: None,
            commit_interval: Duration::from_secs(1),
            commit_count: 10_000,
            topic: TopicProperties::default(),
        }
    }
}

/// Settings of an output: `bindings.<channel>.producer.kafka.*`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaProducerProperties {
    /// Settings of librdkafka for this output; they win over the binder's. Default: none.
    pub configuration: Settings,
    /// How long a message waits for others to share a request with. Less costs CPU, more costs time: with 1,000 messages in flight neither
    /// brings throughput. Default: 1 ms.
    #[serde(deserialize_with = "duration")]
    pub linger: Duration,
    /// How batches are compressed. Default: `none`.
    pub compression: Compression,
    /// What a topic created for this output looks like.
    pub topic: TopicProperties,
}

impl Default for KafkaProducerProperties {
    fn default() -> Self {
        Self {
            configuration: Settings::default(),
            linger: Duration::from_millis(1),
            compression: Compression::None,
            topic: TopicProperties::default(),
        }
    }
}

/// How members of a group and the broker talk to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GroupProtocol {
    /// A member computes who gets what; a rebalance stops at the slowest member.
    #[default]
    Classic,
    /// The broker (4.0 or later) computes it, and moves partitions one member at a time (KIP-848). Timeouts of the session are the broker's.
    Consumer,
}

/// How the partitions of a group's topics are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Assignment {
    /// A rebalance takes only what must move (`cooperative-sticky`).
    #[default]
    Cooperative,
    /// A rebalance takes everything first (`range,roundrobin`), as in groups of older clients.
    Eager,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip
    Gzip,
    /// Snappy
    Snappy,
    /// LZ4
    Lz4,
}

impl Compression {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}

/// What a topic looks like that is created.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicProperties {
    /// Replicas. Default: the binder's.
    pub replication_factor: Option<u16>,
    /// The topic's own settings, such as `retention.ms`. Default: none.
    pub properties: Settings,
}

/// Addresses of brokers, each with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(Vec<String>);

impl Brokers {
    fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let hosts: Vec<_> = hosts.into_iter().map(str::trim).filter(|host| !host.is_empty()).map(with_port).collect();
        if hosts.is_empty() { Err("`brokers` names no broker".to_owned()) } else { Ok(Self(hosts)) }
    }
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a list of `host:port`, or one text with commas")]
        enum Hosts {
            Text(String),
            List(Vec<String>),
        }
        let brokers = match Hosts::deserialize(deserializer)? {
            Hosts::Text(text) => Self::new(text.split(',')),
            Hosts::List(list) => Self::new(list.iter().flat_map(|hosts| hosts.split(','))),
        };
        brokers.map_err(de::Error::custom)
    }
}

fn with_port(host: &str) -> String {
    let address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    let address = address.rsplit_once("://").map_or(address, |(_, rest)| rest);
    if address.contains(':') { host.to_owned() } else { format!("{host}:9092") }
}

/// Settings that are passed on as they are: names and values. Values that are secrets print as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Returns names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns whether there is a setting of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn add(&mut self, name: String, value: Value) -> Result<(), String> {
        let text = match value {
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Object(parts) => {
                return parts.into_iter().try_for_each(|(part, value)| self.add(format!("{name}.{part}"), value));
            }
            Value::Null | Value::Array(_) => return Err(format!("`{name}` must be a text, a number or a boolean")),
        };
        self.0.insert(name, text);
        Ok(())
    }
}

/// Returns whether the value of a setting must not be shown.
pub(crate) fn is_secret(name: &str) -> bool {
    ["password", "secret", "key.pem", "jaas", "oauthbearer.config", "token"].iter().any(|word| name.contains(word))
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value }));
        f.debug_map().entries(shown).finish()
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut settings = Self::default();
        for (name, value) in BTreeMap::<String, Value>::deserialize(deserializer)? {
            settings.add(name, value).map_err(de::Error::custom)?;
        }
        Ok(settings)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = humantime::parse_duration(text.trim());
    parsed.map_err(|cause| de::Error::custom(format!("`{text}` is not a duration such as `500ms` or `2s`: {cause}")))
}

#[cfg(test)]
mod tests {
    use binder_core::config::Section;
    use serde_json::json;

    use super::*;

    fn brokers(value: Value) -> String {
        serde_json::from_value::<Brokers>(value).expect("brokers").to_string()
    }

    #[test]
    fn brokers_come_as_list_or_text_and_get_the_default_port() {
        assert_eq!(brokers(json!("a, b:1")), "a:9092,b:1");
        assert_eq!(brokers(json!(["a", "[::1]", "[::1]:2", "SSL://c"])), "a:9092,[::1]:9092,[::1]:2,SSL://c:9092");
        assert!(serde_json::from_value::<Brokers>(json!(" , ")).is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let settings = json!({ "sasl": { "username": "u", "password": "hunter2" }, "socket.keepalive.enable": true });
        let settings: Settings = serde_json::from_value(settings).expect("settings");
        assert_eq!(
            format!("{settings:?}"),
            r#"{"sasl.password": "***", "sasl.username": "u", "socket.keepalive.enable": "true"}"#
        );
    }

    #[test]
    fn a_password_is_not_printed() {
        let sasl = json!({ "mechanism": "SCRAM-SHA-256", "username": "alice", "password": "hunter2" });
        let section = Section::new("binders.kafka", json!({ "sasl": sasl, "tls": {} }));
        let properties: KafkaProperties = section.read().expect("valid");
        assert_eq!(properties.tls, Some(Tls::default()), "an empty section turns TLS on");
        let printed = format!("{properties:?}");
        assert!(printed.contains("alice") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn half_a_user_and_half_a_certificate_are_refused() {
        let read = |value| Section::new("binders.kafka", value).read::<KafkaProperties>();
        let error = read(json!({ "sasl": { "mechanism": "plain", "username": "u" } })).expect_err("no password");
        assert!(error.to_string().contains("password"), "{error}");
        let error = read(json!({ "sasl": { "mechanism": "plan", "username": "u", "password": "hunter2" } }));
        let error = error.expect_err("unknown").to_string();
        assert!(error.contains("`plain`") && error.contains("scram-sha-256") && !error.contains("hunter2"), "{error}");
        let error = read(json!({ "tls": { "certificate": "c" } })).expect("valid").check().expect_err("no key");
        assert!(
            error.to_string().contains(if cfg!(feature = "tls") { "`tls.key`" } else { "feature `tls`" }),
            "{error}"
        );
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn scram_names_the_feature_it_needs() {
        let sasl = |mechanism| json!({ "sasl": { "mechanism": mechanism, "username": "u", "password": "p" } });
        let check = |value| Section::new("binders.kafka", value).read::<KafkaProperties>().expect("valid").check();
        assert!(check(sasl("plain")).is_ok());
        assert!(check(sasl("scram-sha-512")).expect_err("refused").to_string().contains("feature `tls`"));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_known_ones() {
        let error = serde_json::from_value::<KafkaConsumerProperties>(json!({ "asignment": "eager" }));
        let text = error.expect_err("misspelt").to_string();
        assert!(text.contains("asignment") && text.contains("`assignment`"), "{text}");
    }

    /// Every key that a section knows is in the guide's table of settings.
    #[test]
    fn the_guide_has_every_key() {
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/properties.md");
        let guide = std::fs::read_to_string(guide).expect("the guide");
        let known = |error: serde_json::Error| {
            error.to_string().split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect()
        };
        let keys: [Vec<String>; 3] = [
            known(serde_json::from_value::<KafkaProperties>(json!({ "?": 0 })).expect_err("unknown")),
            known(serde_json::from_value::<KafkaConsumerProperties>(json!({ "?": 0 })).expect_err("unknown")),
            known(serde_json::from_value::<KafkaProducerProperties>(json!({ "?": 0 })).expect_err("unknown")),
        ];
        for key in keys.iter().flatten() {
            assert!(
                [format!("`{key}`"), format!("`{key}.")].iter().any(|name| guide.contains(name)),
                "{key} is not in the guide"
            );
        }
        assert!(keys.iter().all(|keys| keys.len() > 3), "{keys:?}");
    }
}
