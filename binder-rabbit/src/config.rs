//! The settings that only this binder knows.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use binder_core::{Error, ErrorKind, Result};
use lapin::uri::{AMQPScheme, AMQPUri};
use serde::{Deserialize, Deserializer, de};

use crate::queues::{OverflowBehavior, Quorum};
use crate::stream::ContainerType;

/// Where the broker is and who asks. `Debug` and `Display` print `***` for the password.
///
/// The nodes of a cluster are separated by commas, `amqp://user:password@one:5672,two:5672/%2f`, and tried in turn.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl(Vec<AMQPUri>);

impl Default for AmqpUrl {
    fn default() -> Self {
        Self(vec![AMQPUri::default()])
    }
}

impl AmqpUrl {
    /// Reads `amqp://user:password@host:port/vhost`; the virtual host is percent-encoded, `%2f` is the default one.
    pub fn parse(text: &str) -> Result<Self> {
        // The parser's own message may repeat the text, password included.
        let refused = || Error::new(ErrorKind::Config, "not an AMQP URL such as `amqp://user:password@host:5672/%2f`");
        let uris = each_host(text).iter().map(|url| url.parse()).collect::<std::result::Result<Vec<AMQPUri>, String>>();
        let uris = uris.map_err(|_| refused())?;
        let first = uris.first().ok_or_else(refused)?;
        if first.scheme == AMQPScheme::AMQPS && !cfg!(feature = "tls") {
            let text = "`amqps` is not compiled in: build with the feature `tls` of binder-rabbit";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        if first.vhost.len() > 255 {
            return Err(Error::new(ErrorKind::Config, "the virtual host is longer than 255 bytes"));
        }
        Ok(Self(uris))
    }

    /// One for each node.
    pub(crate) fn uris(&self) -> &[AMQPUri] {
        &self.0
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.0.iter().any(|uri| uri.scheme == AMQPScheme::AMQPS)
    }
}

/// The text once for each host of it: `scheme://user@a,b/rest` is two.
fn each_host(text: &str) -> Vec<String> {
    let Some((scheme, rest)) = text.split_once("://") else { return vec![text.to_owned()] };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let hosts = authority.rfind('@').map_or(0, |at| at + 1);
    let (user, hosts) = authority.split_at(hosts);
    hosts.split(',').map(|host| format!("{scheme}://{user}{}{path}", host.trim())).collect()
}

/// `host:port`
pub(crate) fn address(uri: &AMQPUri) -> String {
    format!("{}:{}", uri.authority.host, uri.authority.port)
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        let scheme = if self.has_tls() { "amqps" } else { "amqp" };
        let addresses = self.0.iter().map(address).collect::<Vec<_>>().join(",");
        write!(f, "{scheme}://{}:***@{addresses}/{}", first.authority.userinfo.username, first.vhost)
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for AmqpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|cause| de::Error::custom(format_args!("`url`: {cause}")))
    }
}

/// How an `amqps` broker is checked, and what it is shown: `binders.<name>.tls`. All files are PEM and are read for each connection.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// File with the authorities that may have signed the broker's certificate. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// File with the certificate to show to the broker, and with those between it and its authority. Default: none.
    pub certificate: Option<PathBuf>,
    /// File with the certificate's private key, not encrypted. Default: none.
    pub key: Option<PathBuf>,
    /// Whether the broker's certificate must be for the host name of `url`. Default: true.
    pub verify_host_name: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: None, certificate: None, key: None, verify_host_name: true }
    }
}

/// Waits between attempts to connect.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Reconnect {
    /// Wait after the first failure; doubled from attempt to attempt, a third of it random. Default: 200 ms.
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    /// Ceiling of a wait. Default: 10 s.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { initial: Duration::from_millis(200), max: Duration::from_secs(10) }
    }
}

/// Settings of the binder: `binders.<name>.*`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct RabbitProperties {
    /// The broker, `amqp` or `amqps`; the nodes of a cluster are separated by commas. Default: `amqp://guest:guest@localhost:5672/%2f`.
    pub url: AmqpUrl,
    /// Certificates of an `amqps` broker. Default: the system's authorities, no certificate of our own.
    pub tls: Option<Tls>,
    /// How long the broker may be silent before the connection counts as lost is twice this; rounded up to seconds. Default: 10 s.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Name of the connections in the broker's management, `.publish` or `.consume` is appended. Default: the binder's name.
    pub connection_name: Option<String>,
    /// How long a connection attempt may take. Default: 5 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// The broker's own `max_message_size`, in bytes; larger messages are refused before they are sent. Default: 134217728 (128 MiB).
    pub max_message_size: usize,
    /// The broker's own `consumer_timeout`: how long a delivery may go unsettled before the broker ends its consumer. An input whose
    /// handling may take longer is refused. 0 says that the broker has no such limit. Default: 30 min, which is RabbitMQ's.
    #[serde(with = "humantime_serde")]
    pub consumer_timeout: Duration,
    /// Waits between attempts to connect.
    pub reconnect: Reconnect,
}

impl RabbitProperties {
    /// Refuses what can't be together.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |text: &'static str| Err(Error::new(ErrorKind::Config, text));
        match &self.tls {
            Some(_) if !self.url.has_tls() => refuse("`tls` needs an `amqps` URL"),
            Some(tls) if tls.certificate.is_some() != tls.key.is_some() => {
                refuse("`tls.certificate` and `tls.key` go together")
            }
            _ => Ok(()),
        }
    }
}

impl Default for RabbitProperties {
    fn default() -> Self {
        Self {
            url: AmqpUrl::default(),
            tls: None,
            heartbeat: Duration::from_secs(10),
            connection_name: None,
            connect_timeout: Duration::from_secs(5),
            max_message_size: 128 * 1024 * 1024,
            consumer_timeout: Duration::from_secs(30 * 60),
            reconnect: Reconnect::default(),
        }
    }
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ExchangeType {
    /// By patterns of routing keys.
    #[default]
    Topic,
    /// By equal routing keys.
    Direct,
    /// To every queue.
    Fanout,
}

/// Settings of an input: `bindings.<channel>.consumer.rabbit.*`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct RabbitConsumerProperties {
    /// What is put before the names of exchanges and queues. Default: nothing.
    pub prefix: String,
    /// Type of an exchange that is declared. Default: `topic`.
    pub exchange_type: ExchangeType,
    /// Routing key with which the queue is bound. Default: `#`, on a direct exchange the destination; a partitioned queue has `<destination>-<partition>`.
    pub binding_routing_key: Option<String>,
    /// What is read, a queue or, without a group, a stream. Default: `simple`, a queue.
    pub container_type: ContainerType,
    /// How long what is settled may wait for more to be acknowledged with it. A quarter of `prefetch` is acknowledged at once, as is all when the
    /// input ends, or when handlers wait for what the broker may not send before. With 0 nothing waits but for what is there to be handled.
    /// Default: 20 ms.
    #[serde(with = "humantime_serde")]
    pub ack_interval: Duration,
    /// How many bytes a body in gzip may have when it is unpacked; 0: none is. One that has more, or is no gzip, is warned of and handed out packed,
    /// which JSON, XML and text refuse, and a handler of bytes gets. Default: 16 MiB.
    pub unpack_limit: usize,
    /// How many partitions a partitioned destination has; instance `i` takes each partition `p` with `p % instance-count = i`.
    /// Default: one for each instance.
    pub partitions: Option<u32>,
    /// Whether the group's queues are kept on several nodes; all that declare them must agree, in this and in what follows. Default: no, classic queues.
    pub quorum: Quorum,
    /// Whether the queue of dead letters is kept on several nodes; it never has a `delivery-limit`. Default: no, a classic queue.
    pub dlq_quorum: Quorum,
    /// Whether only one consumer at a time is served, so that instances that share the queue keep its order. Default: false.
    pub single_active_consumer: bool,
    /// How many priorities the queue knows, 1 to 255; not on quorum queues, and only with `ordering: none`. Default: none.
    pub max_priority: Option<u8>,
    /// How long a message may wait; then the broker moves it to the dead letters, or drops it where there are none. Default: for ever.
    #[serde(with = "humantime_serde")]
    pub ttl: Option<Duration>,
    /// After how long without a consumer the queue is deleted, with all that is in it. Default: never.
    #[serde(with = "humantime_serde")]
    pub expires: Option<Duration>,
    /// How many messages may wait. Default: any number.
    pub max_length: Option<u32>,
    /// How many bytes of payload may wait. Default: any number.
    pub max_length_bytes: Option<u64>,
    /// What becomes of a message for a full queue. Default: the broker's, `drop-head`.
    pub overflow_behavior: Option<OverflowBehavior>,
    /// Whether messages are kept on disk rather than in memory; RabbitMQ from 3.12 on always does. Not on quorum queues. Default: false.
    pub lazy: bool,
}

impl Default for RabbitConsumerProperties {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            exchange_type: ExchangeType::Topic,
            binding_routing_key: None,
            container_type: ContainerType::default(),
            ack_interval: Duration::from_millis(20),
            unpack_limit: 16 << 20,
            partitions: None,
            quorum: Quorum::default(),
            dlq_quorum: Quorum::default(),
            single_active_consumer: false,
            max_priority: None,
            ttl: None,
            expires: None,
            max_length: None,
            max_length_bytes: None,
            overflow_behavior: None,
            lazy: false,
        }
    }
}

/// Whether a message outlives a restart of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeliveryMode {
    /// It does, in a durable queue.
    #[default]
    Persistent,
    /// It does not.
    NonPersistent,
}

impl DeliveryMode {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::NonPersistent => 1,
            Self::Persistent => 2,
        }
    }
}

/// Settings of an output: `bindings.<channel>.producer.rabbit.*`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct RabbitProducerProperties {
    /// What is put before the names of exchanges and queues. Default: nothing.
    pub prefix: String,
    /// Type of an exchange that is declared. Default: `topic`.
    pub exchange_type: ExchangeType,
    /// Whether messages outlive a restart of the broker. Default: `persistent`.
    pub delivery_mode: DeliveryMode,
    /// Whether bodies are sent in gzip. Consumers of this library and of Spring unpack them. Default: false.
    pub compress: bool,
    /// Whether the queues of `required-groups` have dead letters; must be what the groups' consumers say. Default: true.
    pub dead_letters: bool,
    /// Whether the queues of `required-groups` are kept on several nodes; must be, as what follows, what the groups' consumers say. Default: no, classic queues.
    pub quorum: Quorum,
    /// Whether the queue of dead letters is kept on several nodes; it never has a `delivery-limit`. Default: no, a classic queue.
    pub dlq_quorum: Quorum,
    /// Whether only one consumer at a time is served, so that instances that share the queue keep its order. Default: false.
    pub single_active_consumer: bool,
    /// How many priorities the queue knows, 1 to 255; not on quorum queues, and only with `ordering: none`. Default: none.
    pub max_priority: Option<u8>,
    /// How long a message may wait; then the broker moves it to the dead letters, or drops it where there are none. Default: for ever.
    #[serde(with = "humantime_serde")]
    pub ttl: Option<Duration>,
    /// After how long without a consumer the queue is deleted, with all that is in it. Default: never.
    #[serde(with = "humantime_serde")]
    pub expires: Option<Duration>,
    /// How many messages may wait. Default: any number.
    pub max_length: Option<u32>,
    /// How many bytes of payload may wait. Default: any number.
    pub max_length_bytes: Option<u64>,
    /// What becomes of a message for a full queue. Default: the broker's, `drop-head`.
    pub overflow_behavior: Option<OverflowBehavior>,
    /// Whether messages are kept on disk rather than in memory; RabbitMQ from 3.12 on always does. Not on quorum queues. Default: false.
    pub lazy: bool,
}

impl Default for RabbitProducerProperties {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            exchange_type: ExchangeType::Topic,
            delivery_mode: DeliveryMode::Persistent,
            compress: false,
            dead_letters: true,
            quorum: Quorum::default(),
            dlq_quorum: Quorum::default(),
            single_active_consumer: false,
            max_priority: None,
            ttl: None,
            expires: None,
            max_length: None,
            max_length_bytes: None,
            overflow_behavior: None,
            lazy: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use binder_core::config::Section;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let section = Section::new("binders.rabbit", json!({ "url": "amqp://joe:s3cret@mq:5673/shop" }));
        let properties: RabbitProperties = section.read().expect("valid");
        let printed = format!("{properties:?} {}", properties.url);
        assert!(printed.contains("amqp://joe:***@mq:5673/shop"), "{printed}");
        assert!(!printed.contains("s3cret"));
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        for url in ["amqp:joe:s3cret@mq", "http://joe:s3cret@mq/", "amqp://joe:s3cret@mq:x/", "s3cret"] {
            let error =
                Section::new("binders.rabbit", json!({ "url": url })).read::<RabbitProperties>().expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn a_cluster_is_a_url_with_several_hosts() {
        let url = AmqpUrl::parse("amqp://joe:s3,cr@mq1:1, mq2,127.0.0.1:3/shop?heartbeat=5").expect("valid");
        let hosts: Vec<_> = url.uris().iter().map(address).collect();
        assert_eq!(hosts, ["mq1:1", "mq2:5672", "127.0.0.1:3"]);
        assert!(url.uris().iter().all(|uri| uri.authority.userinfo.password == "s3,cr" && uri.vhost == "shop"));
        assert_eq!(url.to_string(), "amqp://joe:***@mq1:1,mq2:5672,127.0.0.1:3/shop");
    }

    #[test]
    fn certificates_need_tls_and_come_with_their_key() {
        let read = |value| Section::new("binders.rabbit", value).read::<RabbitProperties>().expect("valid").check();
        let error = read(json!({ "url": "amqp://mq", "tls": { "ca": "ca.pem" } })).expect_err("refused");
        assert!(error.to_string().contains("`amqps`"), "{error}");
        assert!(read(json!({ "url": "amqp://mq" })).is_ok());
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_certificate_comes_with_its_key() {
        let read = |value| Section::new("binders.rabbit", value).read::<RabbitProperties>().expect("valid").check();
        let url = "amqps://mq";
        assert!(read(json!({ "url": url, "tls": { "certificate": "c", "key": "k" } })).is_ok());
        let error = read(json!({ "url": url, "tls": { "certificate": "c" } })).expect_err("refused");
        assert!(error.to_string().contains("`tls.key`"), "{error}");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn amqps_names_the_feature_it_needs() {
        let section = Section::new("binders.rabbit", json!({ "url": "amqps://joe:s3cret@mq" }));
        let error = section.read::<RabbitProperties>().expect_err("refused");
        assert!(error.to_string().contains("feature `tls`") && !format!("{error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error =
            Section::new("binders.rabbit", json!({ "hearbeat": "1s" })).read::<RabbitProperties>().expect_err("typo");
        assert!(error.to_string().contains("hearbeat") && error.to_string().contains("heartbeat"), "{error}");
        assert!(Section::new("c", json!({ "prefx": "" })).read::<RabbitConsumerProperties>().is_err());
        assert!(Section::new("p", json!({ "delivery-mode": "sometimes" })).read::<RabbitProducerProperties>().is_err());
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
            known(serde_json::from_value::<RabbitProperties>(json!({ "?": 0 })).expect_err("unknown")),
            known(serde_json::from_value::<RabbitConsumerProperties>(json!({ "?": 0 })).expect_err("unknown")),
            known(serde_json::from_value::<RabbitProducerProperties>(json!({ "?": 0 })).expect_err("unknown")),
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
