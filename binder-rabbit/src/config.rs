//! The settings that only this binder knows.

use std::fmt;
use std::time::Duration;

use binder_core::{Error, ErrorKind, Result};
use lapin::uri::{AMQPScheme, AMQPUri};
use serde::{Deserialize, Deserializer, de};

/// Where the broker is and who asks. `Debug` and `Display` print `***` for the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AmqpUrl(AMQPUri);

impl AmqpUrl {
    /// Reads `amqp://user:password@host:port/vhost`; the virtual host is percent-encoded, `%2f` is the default one.
    pub fn parse(text: &str) -> Result<Self> {
        // The parser's own message may repeat the text, password included.
        let uri: AMQPUri = text.parse().map_err(|_: String| {
            Error::new(ErrorKind::Config, "not an AMQP URL such as `amqp://user:password@host:5672/%2f`")
        })?;
        if uri.scheme == AMQPScheme::AMQPS {
            return Err(Error::new(ErrorKind::Unsupported, "`amqps` is not compiled in; use `amqp`"));
        }
        if uri.vhost.len() > 255 {
            return Err(Error::new(ErrorKind::Config, "the virtual host is longer than 255 bytes"));
        }
        Ok(Self(uri))
    }

    pub(crate) fn uri(&self) -> &AMQPUri {
        &self.0
    }

    pub(crate) fn user(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.0.authority.host, self.0.authority.port)
    }
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "amqp://{}:***@{}/{}", self.user(), self.address(), self.0.vhost)
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
    /// The broker. Default: `amqp://guest:guest@localhost:5672/%2f`.
    pub url: AmqpUrl,
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
    /// Waits between attempts to connect.
    pub reconnect: Reconnect,
}

impl Default for RabbitProperties {
    fn default() -> Self {
        Self {
            url: AmqpUrl::default(),
            heartbeat: Duration::from_secs(10),
            connection_name: None,
            connect_timeout: Duration::from_secs(5),
            max_message_size: 128 * 1024 * 1024,
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct RabbitConsumerProperties {
    /// What is put before the names of exchanges and queues. Default: nothing.
    pub prefix: String,
    /// Type of an exchange that is declared. Default: `topic`.
    pub exchange_type: ExchangeType,
    /// Routing key with which the queue is bound. Default: `#`, on a direct exchange the destination; a partitioned queue has `<destination>-<partition>`.
    pub binding_routing_key: Option<String>,
    /// How many partitions a partitioned destination has; instance `i` takes each partition `p` with `p % instance-count = i`.
    /// Default: one for each instance.
    pub partitions: Option<u32>,
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
    /// Whether the queues of `required-groups` have dead letters; must be what the groups' consumers say. Default: true.
    pub dead_letters: bool,
}

impl Default for RabbitProducerProperties {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            exchange_type: ExchangeType::Topic,
            delivery_mode: DeliveryMode::Persistent,
            dead_letters: true,
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
        for url in ["amqp:joe:s3cret@mq", "http://joe:s3cret@mq/", "amqps://joe:s3cret@mq/", "s3cret"] {
            let error =
                Section::new("binders.rabbit", json!({ "url": url })).read::<RabbitProperties>().expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error =
            Section::new("binders.rabbit", json!({ "hearbeat": "1s" })).read::<RabbitProperties>().expect_err("typo");
        assert!(error.to_string().contains("hearbeat") && error.to_string().contains("heartbeat"), "{error}");
        assert!(Section::new("c", json!({ "prefx": "" })).read::<RabbitConsumerProperties>().is_err());
        assert!(Section::new("p", json!({ "delivery-mode": "sometimes" })).read::<RabbitProducerProperties>().is_err());
    }
}
