//! What becomes of properties of Kafka, and Spring's defaults there.

use super::binders::Kind;
use super::convert::{Convert, flag, list, one_of, same};
use super::source::{Value, split};
use super::table::{CLIENT, Client, Side};
use super::work::{Given, Spot, Work};
use super::{access, convert};
use crate::config::place::Place;
use crate::config::tree::{Data, Node, Style};

pub(super) fn brokers(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let binder = spot.binder.map(|index| &work.binders[index]);
    let port = binder.and_then(|binder| binder.get("spring.cloud.stream.kafka.binder.default-broker-port"));
    let port = port.map_or_else(|| "9092".to_owned(), Given::text);
    let hosts = match &given.entry.value {
        Value::Text(text) => split(text),
        Value::List(items) => items.iter().flat_map(|item| split(item)).collect(),
    };
    let with_port = |host: &String| match host.rsplit_once(']').map_or(host.as_str(), |(_, rest)| rest).contains(':') {
        true => host.clone(),
        false => format!("{host}:{port}"),
    };
    let hosts: Vec<String> = hosts.iter().map(with_port).collect();
    if !hosts.is_empty() {
        work.put(spot, "brokers", list(&hosts, &given.entry));
    }
}

/// Spring Boot's brokers are those of the binder unless it has its own.
pub(super) fn boot_brokers(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let own = "spring.cloud.stream.kafka.binder.brokers";
    match spot.binder.is_some_and(|index| work.binders[index].get(own).is_some()) {
        true => work.note(given, format!("has no effect: `{own}` wins")),
        false => brokers(work, spot, given),
    }
}

pub(super) fn shared_brokers(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let general = spot.binder.and_then(|index| {
        let binder = &work.binders[index];
        binder.get("spring.cloud.stream.kafka.binder.brokers").or_else(|| binder.get("spring.kafka.bootstrap-servers"))
    });
    match general {
        Some(general) if general.text() == given.text() => {}
        Some(_) => work.refuse(given, "all clients of a binder have the same brokers"),
        None => brokers(work, spot, given),
    }
}

pub(super) fn configuration(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    setting(work, spot, given, &given.rest, Side::Both);
}

pub(super) fn consumer_settings(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    setting(work, spot, given, &given.rest, Side::Consumer);
}

pub(super) fn producer_settings(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    setting(work, spot, given, &given.rest, Side::Producer);
}

pub(super) fn boot_common(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let name = if given.path.to_lowercase().ends_with("protocol") { "security.protocol" } else { "client.id" };
    setting(work, spot, given, name, Side::Both);
}

/// `consumer.fetch-max-wait` and its like: the client's setting of another name.
pub(super) fn boot_consumer(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    const NAMES: &[(&str, &str)] = &[
        ("auto-offset-reset", "auto.offset.reset"),
        ("client-id", "client.id"),
        ("enable-auto-commit", "enable.auto.commit"),
        ("auto-commit-interval", "auto.commit.interval.ms"),
        ("fetch-max-wait", "fetch.max.wait.ms"),
        ("fetch-min-size", "fetch.min.bytes"),
        ("group-id", "group.id"),
        ("heartbeat-interval", "heartbeat.interval.ms"),
        ("isolation-level", "isolation.level"),
        ("key-deserializer", "key.deserializer"),
        ("value-deserializer", "value.deserializer"),
        ("max-poll-records", "max.poll.records"),
        ("max-poll-interval", "max.poll.interval.ms"),
    ];
    boot_side(work, spot, given, NAMES, Side::Consumer);
}

pub(super) fn boot_producer(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    const NAMES: &[(&str, &str)] = &[
        ("acks", "acks"),
        ("batch-size", "batch.size"),
        ("buffer-memory", "buffer.memory"),
        ("client-id", "client.id"),
        ("compression-type", "compression.type"),
        ("key-serializer", "key.serializer"),
        ("value-serializer", "value.serializer"),
        ("retries", "retries"),
    ];
    boot_side(work, spot, given, NAMES, Side::Producer);
}

fn boot_side(work: &mut Work<'_>, spot: &Spot, given: &Given, names: &[(&str, &str)], side: Side) {
    let Some(last) = given.entry.key.0.last() else { return };
    let Some((_, name)) = names.iter().find(|(theirs, _)| last.is(theirs)) else { return };
    let mut given = given.clone();
    let text = given.text();
    let converted = match () {
        () if text.is_empty() => return,
        () if name.ends_with(".ms") => convert::duration(&text, std::time::Duration::from_millis(1))
            .map(|duration| duration.as_millis().to_string()),
        () if ["batch.size", "fetch.min.bytes"].contains(name) => bytes(&text),
        () if *name == "isolation.level" => Ok(text.to_lowercase().replace('-', "_")),
        () => Ok(text),
    };
    match converted {
        Ok(text) => {
            given.entry.value = Value::Text(text);
            setting(work, spot, &given, name, side);
        }
        Err(why) => work.wrong(&given, why),
    }
}

/// Reads a size such as `16KB`, which is a number of bytes.
fn bytes(text: &str) -> Result<String, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => 0,
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|_| factor > 0);
    size.map(|size| size.to_string()).ok_or_else(|| format!("expected a size such as `16KB`, found `{text}`"))
}

/// A setting of the client, said for both sides or for one.
fn setting(work: &mut Work<'_>, spot: &Spot, given: &Given, name: &str, scope: Side) {
    let found = CLIENT.iter().find(|(known, _, _)| match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *known == name,
    });
    let (_, of, client) = found.copied().unwrap_or(("", Side::Both, Client::Passed("")));
    let value = given.text();
    let side = match (scope, of) {
        (Side::Both, of) => of,
        (scope, Side::Both) => scope,
        (scope, of) if scope == of => scope,
        _ => return work.note(given, "has no effect: it is a setting of the other side's client"),
    };
    if value.is_empty() && !matches!(client, Client::Access) {
        return;
    }
    let prefix = if spot.is_binder() && side != Side::Both { "default." } else { "" };
    match client {
        Client::Passed(ours) => {
            let ours = if ours.is_empty() { name } else { ours };
            let key = match side {
                Side::Both => "configuration".to_owned(),
                Side::Consumer => format!("{prefix}consumer.kafka.configuration"),
                Side::Producer => format!("{prefix}producer.kafka.configuration"),
            };
            work.put_setting(spot, &key, ours, given.node(value, Style::Text));
        }
        Client::Ours(key, convert) => ours(work, spot, given, &format!("{prefix}{key}"), convert),
        Client::Brokers if spot.is_binder() => match scope {
            Side::Both => boot_brokers(work, spot, given),
            _ => shared_brokers(work, spot, given),
        },
        Client::Access if spot.is_binder() => {
            let said = spot.binder.and_then(|index| work.binders[index].access.get(name));
            match said.is_some_and(|said| said.text() != given.text()) && scope != Side::Both {
                true => work.refuse(given, "all clients of a binder are secured alike; use two binders"),
                false => access::note_access(work, spot, given, name),
            }
        }
        Client::Brokers | Client::Access => work.refuse(given, "connections are the binder's; say it there"),
        Client::Bytes(classes, why) => {
            let class = value.rsplit('.').next().unwrap_or_default();
            let known = classes.iter().any(|known| class.strip_prefix(known).is_some_and(is_role));
            match known {
                true => work.note(given, format!("has no effect: {why}")),
                false => work.refuse(given, why),
            }
        }
        Client::Only(values, why) => {
            if !values.contains(&value.as_str()) {
                work.refuse(given, why);
            }
        }
        Client::Idle(why) => work.note(given, format!("has no effect: {why}")),
        Client::Refused(why) => work.wrong(given, format!("is refused: {why}")),
    }
}

fn is_role(rest: &str) -> bool {
    matches!(rest, "Serializer" | "Deserializer")
}

fn ours(work: &mut Work<'_>, spot: &Spot, given: &Given, key: &str, convert: Convert) {
    let mut entry = given.entry.clone();
    if let Value::List(items) = &entry.value {
        entry.value = Value::Text(items.join(","));
    }
    match convert.apply(&entry) {
        Ok(node) => node.into_iter().for_each(|node| work.put(spot, key, node)),
        Err(why) => work.wrong(given, why),
    }
}

pub(super) fn auto_create_topics(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    match flag(&given.text()) {
        Err(_) if given.text().is_empty() => {}
        Err(why) => work.wrong(given, why),
        Ok(creates) => {
            let word = if creates { "create" } else { "check" };
            work.put(spot, "default.provision", given.node(word, Style::Plain));
            if !creates {
                work.note(
                    given,
                    "asks for one more topic here: with `enable-dlq`, `retry.<destination>.<group>` must be there, over which dead letters come back",
                );
            }
        }
    }
}

pub(super) fn replication_factor(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    match given.text().as_str() {
        "" | "-1" => {}
        factor => work.put(spot, "replication-factor", given.node(factor, Style::Plain)),
    }
}

pub(super) fn transaction_prefix(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let prefix = given.text();
    if !prefix.is_empty() {
        work.put(spot, "transactional-id-prefix", given.node(prefix, Style::Text));
        work.put(spot, "default.consumer.transactional", given.node("true", Style::Plain));
    }
}

/// `jaas.login-module` and `jaas.options`: kept until all of them are there.
pub(super) fn jaas(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let name = if given.rest.is_empty() { "login-module".to_owned() } else { format!("option.{}", given.rest) };
    access::note_access(work, spot, given, &name);
}

/// `ssl.trust-store-location` and its like.
pub(super) fn boot_ssl(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    const NAMES: [(&str, &str); 5] = [
        ("trust-store-location", "ssl.truststore.location"),
        ("trust-store-type", "ssl.truststore.type"),
        ("key-store-location", "ssl.keystore.location"),
        ("key-store-type", "ssl.keystore.type"),
        ("key-password", "ssl.key.password"),
    ];
    let last = given.entry.key.0.last();
    let name = NAMES.iter().find(|(theirs, _)| last.is_some_and(|last| last.is(theirs)));
    if let Some((_, name)) = name {
        access::note_access(work, spot, given, name);
    }
}

pub(super) fn ack_mode(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    acknowledge(work, spot, given, "");
}

/// Spring Boot's `listener.ack-mode`, which an input may say otherwise.
pub(super) fn boot_ack_mode(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    acknowledge(work, spot, given, "default.");
}

fn acknowledge(work: &mut Work<'_>, spot: &Spot, given: &Given, prefix: &str) {
    let mode = given.text();
    let binder = spot.binder.map(|index| &work.binders[index]);
    let binder = binder.or_else(|| work.binder_of(spot.channel.as_deref()?));
    let said = |name: &str, default: &str| {
        let found = binder.and_then(|binder| binder.get(&format!("spring.kafka.listener.{name}")));
        found.map_or_else(|| default.to_owned(), Given::text)
    };
    let (count, time) = (said("ack-count", "1"), said("ack-time", "5000"));
    let is = |names: &[&str]| names.iter().any(|name| same(name, &mode));
    match () {
        () if mode.is_empty() => {}
        () if is(&["BATCH"]) => take_back(work, spot, given, &["commit-count", "commit-interval"]),
        () if is(&["MANUAL", "MANUAL_IMMEDIATE"]) => {
            work.refuse(given, "settle in the code: pull the channel, and settle each delivery");
        }
        () if is(&["RECORD"]) => commit_count(work, spot, given, prefix, "1"),
        () if is(&["COUNT"]) => commit_count(work, spot, given, prefix, &count),
        () if is(&["TIME"]) => commit_interval(work, spot, given, prefix, &time),
        () if is(&["COUNT_TIME"]) => {
            commit_count(work, spot, given, prefix, &count);
            commit_interval(work, spot, given, prefix, &time);
        }
        () => work.wrong(given, one_of(["RECORD", "BATCH", "COUNT", "TIME", "COUNT_TIME"].into_iter(), &mode)),
    }
}

/// A binding has our own value again, whatever is said for all.
fn take_back(work: &mut Work<'_>, spot: &Spot, given: &Given, keys: &[&str]) {
    const SHARED: [&str; 3] = [
        "spring.kafka.listener.ack-mode",
        "spring.cloud.stream.kafka.default.consumer.ack-mode",
        "spring.cloud.stream.kafka.default.consumer.ack-each-record",
    ];
    let binder = spot.channel.as_deref().and_then(|channel| work.binder_of(channel));
    let is_shared = binder.is_some_and(|binder| SHARED.iter().any(|name| binder.get(name).is_some()));
    for key in keys.iter().filter(|_| is_shared) {
        let nothing = Node::new(Data::Null, Some(given.entry.place.clone()));
        work.put(spot, &format!("consumer.kafka.{key}"), nothing);
    }
}

fn commit_count(work: &mut Work<'_>, spot: &Spot, given: &Given, prefix: &str, count: &str) {
    work.put(spot, &format!("{prefix}consumer.kafka.commit-count"), given.node(count, Style::Plain));
}

fn commit_interval(work: &mut Work<'_>, spot: &Spot, given: &Given, prefix: &str, time: &str) {
    match convert::duration(time, std::time::Duration::from_millis(1)) {
        Ok(time) => {
            let node = given.node(convert::shown(time), Style::Text);
            work.put(spot, &format!("{prefix}consumer.kafka.commit-interval"), node);
        }
        Err(why) => work.wrong(given, why),
    }
}

pub(super) fn ack_each_record(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    match flag(&given.text()) {
        Ok(true) => commit_count(work, spot, given, "", "1"),
        Ok(false) => take_back(work, spot, given, &["commit-count"]),
        Err(why) => work.wrong(given, why),
    }
}

pub(super) fn enable_dlq(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    match flag(&given.text()) {
        Err(_) if given.text().is_empty() => {}
        Err(why) => work.wrong(given, why),
        Ok(on) => work.put(spot, "consumer.dead-letters", given.node(on.to_string(), Style::Plain)),
    }
}

pub(super) fn dlq_name(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let name = given.text();
    let expected = spot.channel.as_deref().and_then(|channel| {
        let of = |key: &str| work.said(&format!("spring.cloud.stream.bindings[{channel}].{key}"));
        let destination = of("destination").unwrap_or_else(|| channel.to_owned());
        Some(format!("error.{destination}.{}", of("group")?))
    });
    if !name.is_empty() && Some(&name) != expected.as_ref() {
        work.refuse(
            given,
            "the topic of dead letters is called `error.<destination>.<group>`, which is Spring's default",
        );
    }
}

pub(super) fn topic_properties(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let at = if spot.channel.is_some() { 6 } else { 5 };
    let is_producer = given.entry.key.0.get(at).is_some_and(|segment| segment.is("producer"));
    let side = if is_producer { "producer" } else { "consumer" };
    work.put_setting(
        spot,
        &format!("{side}.kafka.topic.properties"),
        &given.rest,
        given.node(given.text(), Style::Text),
    );
}

pub(super) fn buffer_size(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    setting(work, spot, given, "batch.size", Side::Producer);
}

pub(super) fn send_timeout(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let text = given.text();
    match text.parse::<u32>() {
        _ if text.is_empty() => {}
        Ok(millis) => work.put(spot, "producer.send-timeout", given.node(format!("{millis}ms"), Style::Text)),
        Err(_) => work.refuse(given, "only a number of milliseconds is understood, for all messages alike"),
    }
}

pub(super) fn message_key(work: &mut Work<'_>, _: &Spot, given: &Given) {
    let text = given.text();
    if !text.is_empty() && super::common::key_of(&text).as_deref() != Some("key") {
        work.refuse(given, "say the key in the code: `#[output(key = \"…\")]`, or `.key(…)`");
    }
}

pub(super) fn bundle(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    if let (Some(index), false) = (spot.binder, given.text().is_empty()) {
        work.binders[index].bundle = Some(given.clone());
    }
}

/// Says what Spring's Kafka binder does by default, and who we are.
pub(super) fn finish(work: &mut Work<'_>, index: usize) {
    access::finish_kafka(work, index);
    let name = work.binders[index].name.clone();
    let base = format!("binders/{name}/default/consumer");
    // Java's client offers `range` first, which every version of it knows; one group needs one strategy.
    if !is_of_broker(work, &["binders", &name, "default"]) {
        work.put_default(&format!("{base}/kafka/assignment"), "eager");
    }
    for channel in work.channels().to_vec() {
        if is_of_broker(work, &["bindings", &channel]) {
            // The broker assigns: what the binder says is taken back.
            let path = ["bindings", &channel, "consumer", "kafka", "assignment"].map(str::to_owned);
            work.tree.put(&path, Node::new(Data::Null, Some(Place::Spring)));
        }
    }
    if work.tree.at(&["binders", &name, "default", "consumer", "transactional"]).is_none() {
        work.put_default(&format!("{base}/kafka/configuration/isolation.level"), "read_uncommitted");
    }
    one_attempt(work, index);
}

/// Whether the broker assigns partitions, so that no strategy may be named.
fn is_of_broker(work: &Work<'_>, base: &[&str]) -> bool {
    let path: Vec<&str> = base.iter().copied().chain(["consumer", "kafka", "group-protocol"]).collect();
    work.tree.at(&path).and_then(Node::as_text) == Some("consumer")
}

/// In Spring one attempt is ten where there are no dead letters.
fn one_attempt(work: &mut Work<'_>, index: usize) {
    let name = work.binders[index].name.clone();
    for channel in work.channels().to_vec() {
        if work.binder_of(&channel).is_none_or(|binder| binder.name != name || binder.kind != Some(Kind::Kafka)) {
            continue;
        }
        let attempts = work.given(&format!("spring.cloud.stream.bindings[{channel}].consumer.max-attempts"));
        let attempts = attempts.or_else(|| work.given("spring.cloud.stream.default.consumer.max-attempts"));
        let letters = work.said(&format!("spring.cloud.stream.kafka.bindings[{channel}].consumer.enable-dlq"));
        let shared = work.binders[index].get("spring.cloud.stream.kafka.default.consumer.enable-dlq");
        let letters = letters.or_else(|| shared.map(Given::text)).is_some_and(|letters| flag(&letters) == Ok(true));
        if let Some(attempts) = attempts.filter(|attempts| attempts.text() == "1" && !letters) {
            work.note(&attempts, "is one attempt here; without dead letters Spring's container would make nine more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_spring_does() {
        assert_eq!(bytes("16384").as_deref(), Ok("16384"));
        assert_eq!(bytes("16KB").as_deref(), Ok("16384"));
        assert_eq!(bytes("2MB").as_deref(), Ok("2097152"));
        for text in ["", "KB", "1kb", "1XB", "-1"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
