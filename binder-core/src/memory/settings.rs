//! Checks of names and settings.

use serde::Deserialize;

use super::dead_letters::dead_letter_destination;
use super::destination::MAX_PARTITIONS;
use super::returns;
use crate::binder::{ConsumerBinding, ProducerBinding};
use crate::{Error, ErrorKind, Result};

/// The longest name of a topic on Kafka.
const MAX_NAME: usize = 249;

/// Settings of the binder: `binders.<name>.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct BinderSettings {
    /// Messages that a partition keeps. Default: 65,536.
    pub(super) retention: Option<usize>,
}

/// Settings of a binding under the binder's own name: there are none.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NoSettings {}

pub(super) fn check_retention(retention: usize) -> Result<()> {
    if retention > 0 { Ok(()) } else { Err(wrong("`retention` must be at least 1")) }
}

pub(super) fn check_consumer(binding: &ConsumerBinding) -> Result<()> {
    binding.section.read::<NoSettings>()?;
    if binding.destinations.is_empty() {
        return Err(wrong("an input needs a destination"));
    }
    for (index, destination) in binding.destinations.iter().enumerate() {
        check_name("destination", destination)?;
        if binding.destinations[..index].contains(destination) {
            return Err(wrong(format!("destination `{destination}` is named twice")));
        }
        if let Some(group) = &binding.group {
            check_name("group", group)?;
            check_length("dead letter destination", &dead_letter_destination(destination, group))?;
            for (name, _) in returns::destinations(binding, destination) {
                check_length("retry destination", &name)?;
            }
        }
    }
    check_partitions("concurrency × instance-count", binding.wanted_partitions())
}

pub(super) fn check_producer(binding: &ProducerBinding) -> Result<()> {
    binding.section.read::<NoSettings>()?;
    check_name("destination", &binding.destination)?;
    binding.properties.required_groups.iter().try_for_each(|group| check_name("group", group))?;
    check_partitions("partition-count", binding.properties.partition_count)
}

fn check_partitions(property: &str, count: u32) -> Result<()> {
    if (1..=MAX_PARTITIONS).contains(&count) {
        return Ok(());
    }
    Err(wrong(format!("`{property}` is {count}: a destination has 1 to {MAX_PARTITIONS} partitions")))
}

/// Accepts what Kafka and RabbitMQ both accept, so that a program that runs on memory runs on them.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    let mut refused: Vec<char> = name.chars().filter(|char| !is_allowed(*char)).collect();
    refused.dedup();
    if !refused.is_empty() {
        let allowed = "only letters, digits, `.`, `_` and `-` are allowed";
        return Err(wrong(format!("{what} `{name}` contains {refused:?}: {allowed}")));
    }
    match name {
        "" => Err(wrong(format!("the {what} has no name"))),
        "." | ".." => Err(wrong(format!("{what} `{name}` is refused by Kafka: choose another name"))),
        _ => check_length(what, name),
    }
}

fn is_allowed(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-')
}

fn check_length(what: &str, name: &str) -> Result<()> {
    if name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(wrong(format!("{what} `{name}` is longer than {MAX_NAME} characters")))
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message.into())
}
