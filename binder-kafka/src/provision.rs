//! Topics: names, and what is created.

use std::sync::Arc;
use std::time::{Duration, Instant};

use binder_core::config::Provision;
use binder_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::config::TopicProperties;
use crate::error::from_kafka;
use crate::link::Link;

const MAX_NAME: usize = 249;
/// How long a question may take before the client is asked what is wrong.
const SLICE: Duration = Duration::from_millis(300);
/// How long all brokers may be down before that is believed.
const DOWN_PATIENCE: Duration = Duration::from_millis(1200);
/// How long an answer is awaited.
const PATIENCE: Duration = Duration::from_secs(5);
const CREATE_PATIENCE: Duration = Duration::from_secs(30);

/// Refuses what can't be the name of a topic.
pub(crate) fn check_name(topic: &str) -> Result<()> {
    let refuse = |why: String| Err(Error::new(ErrorKind::Config, why).with_context("destination", topic));
    let forbidden = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    let mut characters: Vec<char> = topic.chars().filter(forbidden).collect();
    characters.sort_unstable();
    characters.dedup();
    if !characters.is_empty() {
        let listed = characters.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>().join(", ");
        return refuse(format!("a Kafka topic has letters, digits, `.`, `_` and `-` in its name, but not {listed}"));
    }
    match topic {
        "" | "." | ".." => refuse("a Kafka topic can't be called so".to_owned()),
        _ if topic.len() > MAX_NAME => {
            refuse(format!("the name of a Kafka topic has at most {MAX_NAME} characters, this one has {}", topic.len()))
        }
        _ => Ok(()),
    }
}

/// Returns where dead letters of a group go, as Spring Cloud Stream names it.
pub(crate) fn dead_letter_topic(topic: &str, group: &str) -> String {
    format!("error.{topic}.{group}")
}

/// A topic that a binding needs.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partitions: u32,
    pub(crate) properties: &'a TopicProperties,
    pub(crate) replication_factor: Option<u16>,
}

/// Asks and tells the brokers about topics, for as long as a bind takes.
pub(crate) struct Provisioner {
    config: ClientConfig,
    link: Link,
    client: Arc<BaseConsumer<Listener>>,
}

pub(crate) struct Listener(pub(crate) Link);

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.on_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.on_error(&error, reason);
    }
}

impl ConsumerContext for Listener {}

impl Provisioner {
    pub(crate) fn new(mut config: ClientConfig, link: Link) -> Result<Self> {
        config.set("allow.auto.create.topics", "false");
        let client = BaseConsumer::from_config_and_context(&config, Listener(link.clone()));
        let client = Arc::new(client.map_err(|cause| from_kafka(cause, None))?);
        config.remove("allow.auto.create.topics");
        Ok(Self { config, link, client })
    }

    /// Makes sure that a topic is there, as far as that is allowed, and returns how many partitions it has; `None` if nobody looked.
    pub(crate) async fn ensure(&self, wanted: Wanted<'_>, provision: Provision) -> Result<Option<u32>> {
        let found = self.partitions(wanted.topic).await?;
        match (found, provision) {
            (_, Provision::None) => Ok(found),
            (Some(partitions), _) => {
                self.compare(&wanted, partitions);
                Ok(Some(partitions))
            }
            (None, Provision::Create) => self.create(wanted).await.map(Some),
            (None, _) => {
                let why = "the topic does not exist, and `provision` does not allow to create it";
                Err(Error::new(ErrorKind::Refused, why).with_context("destination", wanted.topic))
            }
        }
    }

    /// Returns the end of each partition.
    pub(crate) async fn ends(&self, topic: &str, partitions: u32) -> Result<Vec<i64>> {
        let (client, name) = (Arc::clone(&self.client), topic.to_owned());
        let ends = blocking(move || {
            let end = |partition| client.fetch_watermarks(&name, partition, PATIENCE).map(|(_, high)| high);
            (0..partitions.cast_signed()).map(end).collect::<Result<Vec<_>, _>>()
        });
        ends.await?.map_err(|cause| self.link.fail(cause))
    }

    fn compare(&self, wanted: &Wanted<'_>, partitions: u32) {
        if let Some(text) = too_few(wanted.partitions, partitions) {
            tracing::warn!(link = ?self.link, topic = wanted.topic, "{text}");
        }
    }

    async fn create(&self, wanted: Wanted<'_>) -> Result<u32> {
        let partitions = i32::try_from(wanted.partitions).unwrap_or(i32::MAX);
        let replicas = wanted.properties.replication_factor.or(wanted.replication_factor).map_or(-1, i32::from);
        let mut topic = NewTopic::new(wanted.topic, partitions, TopicReplication::Fixed(replicas));
        for (name, value) in wanted.properties.properties.iter() {
            topic = topic.set(name, value);
        }
        let admin: AdminClient<DefaultClientContext> = self.config.create().map_err(|cause| self.link.fail(cause))?;
        let options =
            AdminOptions::new().operation_timeout(Some(CREATE_PATIENCE)).request_timeout(Some(CREATE_PATIENCE));
        let answer = admin.create_topics([&topic], &options).await.map_err(|cause| self.link.fail(cause))?;
        blocking(move || drop(admin)).await?;
        match answer.into_iter().next() {
            None | Some(Ok(_)) => tracing::info!(link = ?self.link, topic = wanted.topic, partitions, "topic created"),
            Some(Err((_, Code::TopicAlreadyExists))) => {}
            Some(Err((_, code))) => return Err(self.link.fail_code(code).with_context("destination", wanted.topic)),
        }
        self.appears(wanted.topic).await
    }

    async fn appears(&self, topic: &str) -> Result<u32> {
        let begun = Instant::now();
        loop {
            match self.partitions(topic).await? {
                Some(partitions) => return Ok(partitions),
                None if begun.elapsed() > CREATE_PATIENCE => {
                    return Err(self.link.fail_code(Code::LeaderNotAvailable).with_context("destination", topic));
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Returns how many partitions a topic has, each with a leader; `None` if it does not exist.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        let (client, link, name) = (Arc::clone(&self.client), self.link.clone(), topic.to_owned());
        let answer = blocking(move || ask(&client, &link, &name)).await?;
        answer.map_err(|error| error.with_context("destination", topic))
    }

    /// Lets the client go; that may block for a moment.
    pub(crate) async fn finish(self) -> Result<()> {
        blocking(move || drop(self)).await
    }
}

/// Says what it means if a topic that is there has fewer partitions than are wanted.
fn too_few(wanted: u32, partitions: u32) -> Option<String> {
    (partitions < wanted).then(|| {
        format!(
            "the topic has {partitions} of {wanted} partitions that are wanted (`concurrency` × `instance-count`, `partition-count` or \
             `min-partition-count`): with `ordering: partition` no more than {partitions} of a group's handlers have something to do"
        )
    })
}

fn ask(client: &BaseConsumer<Listener>, link: &Link, topic: &str) -> Result<Option<u32>> {
    let begun = Instant::now();
    loop {
        match client.fetch_metadata(Some(topic), SLICE) {
            Ok(metadata) => {
                let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
                return match found.error().map(Code::from) {
                    None => Ok(leaders(found)),
                    Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::LeaderNotAvailable) => Ok(None),
                    Some(code) => Err(link.fail_code(code)),
                };
            }
            Err(cause) => {
                // the reason comes through the error callback, which runs in a poll
                (0..64).for_each(|_| drop(client.poll(Duration::ZERO)));
                let waited = begun.elapsed();
                if waited > PATIENCE || (link.is_down() && waited > DOWN_PATIENCE) {
                    return Err(unreached(link, cause));
                }
            }
        }
    }
}

fn unreached(link: &Link, cause: KafkaError) -> Error {
    link.await_meaning();
    let why = link.complaint().unwrap_or_else(|| "no answer".to_owned());
    Error::new(ErrorKind::Connection, format!("the broker is not reached: {why}")).retryable().with_source(cause)
}

fn leaders(topic: &rdkafka::metadata::MetadataTopic) -> Option<u32> {
    let partitions = topic.partitions();
    let led = !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0);
    if led { u32::try_from(partitions.len()).ok() } else { None }
}

pub(crate) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::new(ErrorKind::Unexpected, "a call of the Kafka client panicked").with_source(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_characters_are_named() {
        let error = check_name("orders/ä orders").expect_err("forbidden");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("not ' ', '/', 'ä'"), "{error}");
    }

    #[test]
    fn a_topic_with_fewer_partitions_than_handlers_is_warned_of() {
        let text = too_few(6, 2).expect("warned of");
        assert!(
            text.contains("has 2 of 6 partitions") && text.contains("no more than 2 of a group's handlers"),
            "{text}"
        );
        assert_eq!((too_few(6, 6), too_few(2, 6)), (None, None), "enough");
    }

    #[test]
    fn dots_alone_and_long_names_are_refused() {
        assert!(check_name(".").is_err() && check_name("..").is_err() && check_name("").is_err());
        assert!(check_name(&"a".repeat(250)).is_err());
        assert!(check_name(&"a".repeat(249)).is_ok() && check_name("a.B_9-c").is_ok());
    }
}
