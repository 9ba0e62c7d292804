//! Values that are of the right type and still wrong.

use super::fault;
use super::level::Level;
use super::place::Mistakes;
use super::properties::{BindingProperties, Ordering, RetryMode, StreamProperties};
use super::tree::Node;
use crate::channel::KeySource;
use crate::message::ContentType;

/// Checks each value of a level for itself.
pub(super) fn values(level: &Level, properties: &BindingProperties, mistakes: &mut Mistakes) {
    let (consumer, producer) = (&properties.consumer, &properties.producer);
    let at_least_one = "a number that is at least 1";
    let rules: [(&[&str], bool, &str); 14] = [
        (&["consumer", "max-attempts"], consumer.max_attempts >= 1, "at least 1, which is one attempt"),
        (
            &["consumer", "backoff", "multiplier"],
            (1.0..f64::INFINITY).contains(&consumer.backoff.multiplier),
            at_least_one,
        ),
        (&["consumer", "backoff", "jitter"], (0.0..=1.0).contains(&consumer.backoff.jitter), "a number from 0 to 1"),
        (
            &["consumer", "breaker", "failure-rate"],
            (0.0..=1.0).contains(&consumer.breaker.failure_rate),
            "a number from 0 to 1; 0 switches the breaker off",
        ),
        (&["consumer", "breaker", "calls"], consumer.breaker.calls >= 1, "at least 1"),
        (&["consumer", "concurrency"], consumer.concurrency >= 1, "at least 1"),
        (&["consumer", "prefetch"], consumer.prefetch != Some(0), "at least 1"),
        (
            &["consumer", "key"],
            consumer.key.as_deref().is_none_or(|key| KeySource::parse_received(key).is_some()),
            "`header.<name>` or `payload.<field>`",
        ),
        (&["producer", "window"], producer.window >= 1, "at least 1"),
        (&["producer", "partition-count"], producer.partition_count >= 1, "at least 1"),
        (
            &["producer", "partition-key"],
            producer.partition_key.as_deref().is_none_or(|key| KeySource::parse(key).is_some()),
            "`key`, `header.<name>`, `payload` or `payload.<field>`",
        ),
        (&["destination"], !is_empty(properties.destination.as_deref()), "a name"),
        (&["group"], !is_empty(properties.group.as_deref()), "a name, or no `group` for an anonymous subscription"),
        (&["binder"], !is_empty(properties.binder.as_deref()), "the name of an entry of `binders`"),
    ];
    for (keys, holds, what) in rules {
        if let (false, Some(node)) = (holds, level.at(keys)) {
            expected(node, what, mistakes);
        }
    }
}

fn is_empty(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.trim().is_empty())
}

fn expected(node: &Node, what: &str, mistakes: &mut Mistakes) {
    let text = format!("expected {what}, found {}", fault::shown(node));
    mistakes.add(node.place.as_ref(), node.path.as_ref(), text);
}

/// Checks the values of a binding, merged over its levels, against each other.
pub(super) fn together(level: &Level, properties: &BindingProperties, mistakes: &mut Mistakes) {
    let consumer = &properties.consumer;
    if let Some(prefetch) = consumer.prefetch.filter(|prefetch| *prefetch < consumer.concurrency) {
        let text = format!(
            "{prefetch} is less than `concurrency` ({}): so many handlers would never run at once",
            consumer.concurrency
        );
        level.wrong(&["consumer", "prefetch"], text, mistakes);
    }
    delayed(level, properties, mistakes);
    transactional(level, properties, mistakes);
    let dead_letters = consumer.dead_letters;
    if properties.group.is_some() && dead_letters == Some(false) && consumer.on_exhausted.is_none() {
        let text =
            "without dead letters `on-exhausted` must say what becomes of an exhausted message: `discard` or `stop`";
        level.wrong(&["consumer", "dead-letters"], text, mistakes);
    }
    if properties.group.is_none() && dead_letters == Some(true) && is_own(level, &["consumer", "dead-letters"]) {
        let text = "an anonymous subscription has no dead letters; give the binding a `group`";
        level.wrong(&["consumer", "dead-letters"], text, mistakes);
    }
}

/// Waits of `retry: delayed`, each a queue or topic of its own.
const MOST_RUNGS: usize = 20;

/// Checks what `retry: delayed` asks for.
fn delayed(level: &Level, properties: &BindingProperties, mistakes: &mut Mistakes) {
    let consumer = &properties.consumer;
    if consumer.retry != RetryMode::Delayed {
        return;
    }
    let retry = ["consumer", "retry"];
    if consumer.ordering != Ordering::None {
        let text = "`delayed` hands a failed message to the broker and goes on with the next, so it keeps no order; set `ordering: none`";
        level.wrong(&retry, text, mistakes);
    }
    if properties.group.is_none() && is_own(level, &retry) {
        let text = "`delayed` needs a `group`: an anonymous subscription has no place where a message could wait";
        level.wrong(&retry, text, mistakes);
    }
    let rungs = consumer.backoff.rungs(consumer.max_attempts).len();
    if rungs > MOST_RUNGS {
        let text = format!(
            "{rungs} different waits, each a queue or topic of its own; at most {MOST_RUNGS} (a larger `multiplier`, a smaller `max`)"
        );
        level.wrong(&["consumer", "backoff"], text, mistakes);
    }
}

/// Checks what `transactional: true` asks for.
fn transactional(level: &Level, properties: &BindingProperties, mistakes: &mut Mistakes) {
    let transactional = ["consumer", "transactional"];
    if !properties.consumer.transactional {
        return;
    }
    if properties.group.is_none() && is_own(level, &transactional) {
        let text = "`transactional` needs a `group`: an anonymous subscription has no position that could be committed";
        level.wrong(&transactional, text, mistakes);
    }
    if properties.consumer.retry == RetryMode::Delayed {
        let text = "`transactional` needs `retry: in-place`: what waits on the broker is handed over outside of the transaction";
        level.wrong(&transactional, text, mistakes);
    }
}

/// Checks that an input can have a key in its payload, if it is looked for there. A default may be meant for inputs only, so the direction must
/// be known.
pub(super) fn key(level: &Level, properties: &BindingProperties, mistakes: &mut Mistakes) {
    let Some(key) = properties.consumer.key.as_deref() else { return };
    let is_payload = matches!(KeySource::parse_received(key), Some(KeySource::Payload(_)));
    let content_type = ContentType::parse(&properties.content_type);
    if is_payload && !properties.consumer.reads_content_type() && !content_type.is_json() {
        let text = format!(
            "`{key}` is looked for in JSON, but all payloads of `{}` are `{content_type}` (`content-type`)",
            level.own.path
        );
        level.wrong(&["consumer", "key"], text, mistakes);
    }
}

/// Whether a value stands at the binding itself and not at a level that serves others too.
fn is_own(level: &Level, keys: &[&str]) -> bool {
    level.at(keys).is_some_and(|node| node.path.starts_with(level.own.path.as_ref()))
}

/// Checks the settings of the whole application.
pub(super) fn stream(node: &Node, properties: &StreamProperties, mistakes: &mut Mistakes) {
    let wrong_count = node.get("instance-count").filter(|_| properties.instance_count == 0);
    if let Some(node) = wrong_count {
        return expected(node, "at least 1", mistakes);
    }
    if let Some(empty) = node.get("default-binder").filter(|_| is_empty(properties.default_binder.as_deref())) {
        expected(empty, "the name of an entry of `binders`", mistakes);
    }
    if properties.instance_index >= properties.instance_count
        && let Some(index) = node.get("instance-index")
    {
        let what = format!("less than `instance-count` ({}): instances count from 0", properties.instance_count);
        expected(index, &what, mistakes);
    }
}
