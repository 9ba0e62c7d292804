//! What becomes of properties that are of no kind of broker, and Spring's defaults.

use std::time::Duration;

use super::binders::{Kind, Owner, locate};
use super::convert::{self, flag, same};
use super::source::Environment;
use super::work::{Given, Spot, Work};
use crate::config::place::Place;
use crate::config::tree::{Data, Node, Style};

pub(super) fn binding_retry_interval(work: &mut Work<'_>, _: &Spot, given: &Given) {
    match convert::duration(&given.text(), Duration::from_secs(1)) {
        Ok(interval) if !interval.is_zero() => {
            work.note(given, "has no effect: what can't be bound is tried again after 200 ms, doubled up to 10 s");
        }
        _ => {
            work.refuse(given, "a broker that is missing is waited for; ask `app.ready(deadline)` whether it has come")
        }
    }
}

/// `function.bindings.process-in-0: orders`: the channel is called `orders`.
pub(super) fn rename(work: &mut Work<'_>, _: &Spot, given: &Given) {
    let (before, after) = (given.rest.clone(), given.text());
    if after.is_empty() || before == after {
        return;
    }
    let is_stale = |owner: Owner| matches!(owner, Owner::Binding(name) if name.eq_ignore_ascii_case(&before));
    if work.all.entries().any(|entry| locate(&entry.key).is_some_and(|(_, owner, _)| is_stale(owner))) {
        let text = format!(
            "renames `{before}`, so its settings stand under `bindings.{after}`; there are some under the old name"
        );
        work.wrong(given, text);
    }
    let spot = work.spot_of(&after, given);
    work.tree.put(&spot.base, Node::new(Data::Null, Some(given.entry.place.clone())));
}

/// `configuration.<function>.copy-input-headers`, and expressions.
pub(super) fn function_configuration(work: &mut Work<'_>, _: &Spot, given: &Given) {
    match given.rest.rsplit('.').next().is_some_and(|last| same(last, "copy-input-headers")) {
        true => work.note(given, "has no effect: an output inherits all headers but the content type"),
        false => work.wrong(given, "is refused: headers are mapped in the handler"),
    }
}

/// A truth value that is heeded where binders are found.
pub(super) fn truth(work: &mut Work<'_>, _: &Spot, given: &Given) {
    if let (false, Err(why)) = (given.text().is_empty(), flag(&given.text())) {
        work.wrong(given, why);
    }
}

pub(super) fn group(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let group = given.text();
    let is_output = spot
        .channel
        .as_deref()
        .is_some_and(|channel| channel.rsplit_once("-out-").is_some_and(|(_, index)| index.parse::<u32>().is_ok()));
    match group.is_empty() {
        true => {}
        false if is_output => work.note(given, "has no effect: an output has no group"),
        false if spot.channel.is_none() => {
            work.refuse(given, "here each input says its own: `spring.cloud.stream.bindings.<binding>.group`");
        }
        false => work.put(spot, "group", given.node(group, Style::Text)),
    }
}

pub(super) fn auto_startup(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    match flag(&given.text()) {
        Err(_) if given.text().is_empty() => {}
        Err(why) => work.wrong(given, why),
        Ok(false) if spot.channel.is_none() => {
            work.refuse(given, "here it is for inputs and outputs alike; say it for each binding");
        }
        Ok(starts) => work.put(spot, "auto-startup", given.node(starts.to_string(), Style::Plain)),
    }
}

pub(super) fn header_mode_of_consumer(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    header_mode(work, spot, given, "consumer.header-mode");
}

pub(super) fn header_mode_of_producer(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    header_mode(work, spot, given, "producer.header-mode");
}

fn header_mode(work: &mut Work<'_>, spot: &Spot, given: &Given, key: &str) {
    let mode = given.text();
    let on_rabbit = spot.kind == Some(Kind::Rabbit)
        || spot.channel.is_none() && work.binders.iter().any(|binder| binder.kind == Some(Kind::Rabbit));
    match () {
        () if mode.is_empty() => {}
        () if same(&mode, "headers") => work.put(spot, key, given.node("headers", Style::Plain)),
        () if same(&mode, "embeddedHeaders") && on_rabbit => {
            work.refuse(given, "RabbitMQ carries headers by itself; Spring does not start with it either");
        }
        () if same(&mode, "embeddedHeaders") => work.put(spot, key, given.node("embedded", Style::Plain)),
        () if !same(&mode, "none") => {
            work.wrong(given, convert::one_of(["headers", "none", "embeddedHeaders"].into_iter(), &mode));
        }
        () if on_rabbit && spot.channel.is_none() => {
            work.refuse(given, "Spring does not heed it on RabbitMQ; say it for each binding on Kafka");
        }
        () if on_rabbit => work.note(given, "has no effect: Spring does not heed it on RabbitMQ, and headers travel"),
        () => work.put(spot, key, given.node("none", Style::Plain)),
    }
}

pub(super) fn partition_key(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let expression = given.text();
    if expression.is_empty() {
        return;
    }
    match key_of(&expression) {
        Some(key) => work.put(spot, "producer.partition-key", given.node(key, Style::Text)),
        None => work.refuse(
            given,
            "only `payload`, `payload.<field>`, `headers['<name>']` and `headers.<name>` are understood; say the key in the code, `.partition_key(…)`",
        ),
    }
}

/// Reads the little of SpEL that says where a key stands.
pub(super) fn key_of(expression: &str) -> Option<String> {
    let name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let expression = expression.trim();
    if expression == "payload" {
        return Some("payload".to_owned());
    }
    if let Some(fields) = expression.strip_prefix("payload.") {
        let plain = |field: &str| name(field) && !field.contains('-');
        return fields.split('.').all(plain).then(|| format!("payload.{fields}"));
    }
    if let Some(inner) = expression.strip_prefix("payload[").and_then(|rest| rest.strip_suffix(']')) {
        return unquoted(inner).filter(|field| name(field)).map(|field| format!("payload.{field}"));
    }
    let header = match expression.strip_prefix("headers[").and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => unquoted(inner)?,
        None => expression.strip_prefix("headers.").filter(|name| !name.contains('-'))?,
    };
    match header {
        "kafka_messageKey" => Some("key".to_owned()),
        header => name(header).then(|| format!("header.{header}")),
    }
}

fn unquoted(text: &str) -> Option<&str> {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('\'').or_else(|| inner('"'))
}

pub(super) fn error_channel(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    match flag(&given.text()) {
        Err(_) if given.text().is_empty() => {}
        Err(why) => work.wrong(given, why),
        Ok(false) if spot.channel.is_some() && spot.kind == Some(Kind::Rabbit) => {
            work.put(spot, "producer.unroutable", given.node("discard", Style::Plain));
        }
        Ok(false) => {}
        Ok(true) if spot.kind == Some(Kind::Kafka) => {
            work.note(given, "has no effect: a send that failed is an error where it was called");
        }
        Ok(true) => work.put(spot, "producer.unroutable", given.node("error", Style::Plain)),
    }
}

/// Says what Spring has by default and we have not.
pub(super) fn finish(work: &mut Work<'_>, environment: Environment<'_>) {
    instance(work, environment);
    default_binder(work);
    for (path, value) in [
        ("default/consumer/max-attempts", "3"),
        ("default/consumer/backoff/initial", "1s"),
        ("default/consumer/backoff/multiplier", "2"),
        ("default/consumer/backoff/max", "10s"),
        ("default/consumer/backoff/jitter", "0"),
        ("default/consumer/dead-letters", "false"),
        ("default/consumer/on-exhausted", "discard"),
    ] {
        work.put_default(path, value);
    }
    let all_headers = vec![Node::scalar("*", Style::Text, Some(Place::Spring))];
    let list = Node::new(Data::List(all_headers), Some(Place::Spring));
    let path = ["default", "producer", "copy-headers"].map(str::to_owned);
    work.tree.put(&path, list);
}

/// The index of the instance comes from the platform if the file does not say it.
fn instance(work: &mut Work<'_>, environment: Environment<'_>) {
    let index = environment.get("INSTANCE_INDEX").or_else(|| environment.get("CF_INSTANCE_INDEX"));
    if let Some(index) = index.filter(|_| work.given("spring.cloud.stream.instance-count").is_some()) {
        work.put_default("instance-index", index.trim());
    }
}

fn default_binder(work: &mut Work<'_>) {
    if work.tree.get("default-binder").is_some() {
        return;
    }
    let candidates: Vec<String> =
        work.binders.iter().filter(|binder| binder.candidate).map(|binder| binder.name.clone()).collect();
    if let ([only], true) = (&candidates[..], work.binders.len() > 1) {
        work.put_default("default-binder", only);
    }
    if work.binders.is_empty() && !work.channels().is_empty() {
        let text = "is missing: Spring takes the binder on its class path, which the file does not say; set it to `kafka`, `rabbit` or `memory`";
        work.wrong_anywhere("spring.cloud.stream.default-binder", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_keys_are_read_where_they_say_one_place() {
        for (expression, key) in [
            ("payload", Some("payload")),
            (" payload.customer.id ", Some("payload.customer.id")),
            ("payload['id']", Some("payload.id")),
            ("headers['tenant-id']", Some("header.tenant-id")),
            ("headers[\"tenant\"]", Some("header.tenant")),
            ("headers.tenant", Some("header.tenant")),
            ("headers['kafka_messageKey']", Some("key")),
            ("payload.getId()", None),
            ("payload?.id", None),
            ("headers.tenant-id", None),
            ("payload.id + 1", None),
            ("'constant'", None),
            ("headers", None),
        ] {
            assert_eq!(key_of(expression).as_deref(), key, "{expression}");
        }
    }
}
