//! What becomes of properties of RabbitMQ, and Spring's defaults there.

use std::time::Duration;

use super::binders::Kind;
use super::convert::flag;
use super::work::{Given, Spot, Work};
use super::{address, convert};
use crate::config::place::Place;
use crate::config::tree::{Node, Style};

/// What an input of RabbitMQ can hold unsettled.
const MOST: u32 = u16::MAX as u32;

pub(super) fn auto_bind_dlq(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    super::kafka::enable_dlq(work, spot, given);
}

/// Whether it grows above what is there at the start.
pub(super) fn max_concurrency(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let own = spot.channel.as_deref().and_then(|channel| said(work, channel, "concurrency"));
    let concurrency = own.or_else(|| work.said("spring.cloud.stream.default.consumer.concurrency"));
    let concurrency = concurrency.and_then(|text| text.parse().ok()).unwrap_or(1_u32);
    match given.text().parse::<u32>() {
        _ if given.text().is_empty() => {}
        Ok(most) if most <= concurrency => {}
        _ => work.refuse(given, "an input has as many handlers as `concurrency` says; raise that"),
    }
}

/// It is multiplied by the concurrency, so it is put when both are known.
pub(super) fn prefetch(work: &mut Work<'_>, _: &Spot, given: &Given) {
    if !given.text().is_empty() && !given.text().parse::<u32>().is_ok_and(|count| (1..=MOST).contains(&count)) {
        work.refuse(given, "it is a number from 1 to 65535");
    }
}

pub(super) fn dead_letter_exchange(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    let segments = &given.entry.key.0;
    let is_producer = segments.len().checked_sub(2).is_some_and(|at| segments[at].is("producer"));
    let side = if is_producer { "producer" } else { "consumer" };
    let own = |channel: &str| work.said(&format!("spring.cloud.stream.rabbit.bindings[{channel}].{side}.prefix"));
    if spot.channel.is_none() && work.channels().iter().any(|channel| own(channel).is_some()) {
        return work.refuse(given, "a binding has a `prefix` of its own; say it for each binding");
    }
    let prefix = spot.channel.as_deref().and_then(own);
    let prefix = prefix.or_else(|| work.said(&format!("spring.cloud.stream.rabbit.default.{side}.prefix")));
    let expected = format!("{}DLX", prefix.unwrap_or_default());
    if !given.text().is_empty() && given.text() != expected {
        work.refuse(
            given,
            "the exchange of dead letters is called `DLX`, behind the prefix, which is Spring's default",
        );
    }
}

pub(super) fn connection_timeout(work: &mut Work<'_>, spot: &Spot, given: &Given) {
    match convert::duration(&given.text(), Duration::from_millis(1)) {
        _ if given.text().is_empty() => {}
        Err(why) => work.wrong(given, why),
        Ok(Duration::ZERO) => {
            work.note(given, "has no effect: no wait is for ever here, `connect-timeout` stays what it is")
        }
        Ok(timeout) => work.put(spot, "connect-timeout", given.node(convert::shown(timeout), Style::Text)),
    }
}

/// A property of the common part of an input.
fn said(work: &Work<'_>, channel: &str, key: &str) -> Option<String> {
    work.said(&format!("spring.cloud.stream.bindings[{channel}].consumer.{key}"))
}

/// Says what Spring's RabbitMQ binder does by default.
pub(super) fn finish(work: &mut Work<'_>, index: usize) {
    address::finish(work, index);
    let name = work.binders[index].name.clone();
    let returns = work.said("spring.cloud.stream.default.producer.error-channel-enabled");
    if returns.is_none_or(|returns| flag(&returns) != Ok(true)) {
        work.put_default(&format!("binders/{name}/default/producer/unroutable"), "discard");
    }
    work.put_default(&format!("binders/{name}/default/producer/rabbit/dead-letters"), "false");
    intake(work, index, None);
    for channel in work.channels().to_vec() {
        if work.binder_of(&channel).is_some_and(|binder| binder.name == name && binder.kind == Some(Kind::Rabbit)) {
            intake(work, index, Some(&channel));
            key_of_direct_exchange(work, index, &channel);
            queues_of_required_groups(work, &channel);
        }
    }
}

/// Spring makes a queue for each partition if there is a key, we if there are several partitions.
fn queues_of_required_groups(work: &mut Work<'_>, channel: &str) {
    let find = |key: &str| {
        let own = work.given(&format!("spring.cloud.stream.bindings[{channel}].producer.{key}"));
        own.or_else(|| work.given(&format!("spring.cloud.stream.default.producer.{key}")))
    };
    let Some(groups) = find("required-groups") else { return };
    let several = find("partition-count").is_some_and(|count| count.text().parse::<u32>().is_ok_and(|count| count > 1));
    if several != find("partition-key-expression").is_some() {
        work.wrong(
            &groups,
            format!(
                "is refused for `{channel}`: Spring makes a queue for each partition if there is a `partition-key-expression`, here they are made if \
                 `partition-count` is above 1; say both, or neither"
            ),
        );
    }
}

/// What decides how many messages an input has at once, and whether it keeps their order.
struct Intake {
    concurrency: u32,
    prefetch: u32,
    keeps_order: bool,
}

/// Says `prefetch` and `ordering` at one level, if something there decides them.
fn intake(work: &mut Work<'_>, index: usize, channel: Option<&str>) {
    const COMMON: [&str; 2] = ["concurrency", "partitioned"];
    const OF_RABBIT: [&str; 3] = ["prefetch", "max-priority", "single-active-consumer"];
    let mut deciding: Option<Given> = None;
    let mut find = |key: &str, is_common: bool| -> Option<String> {
        let part = if is_common { "" } else { "rabbit." };
        let own = channel
            .and_then(|channel| work.given(&format!("spring.cloud.stream.{part}bindings[{channel}].consumer.{key}")));
        if let Some(own) = own {
            let text = own.text();
            deciding.get_or_insert(own);
            return Some(text);
        }
        let shared = format!("spring.cloud.stream.{part}default.consumer.{key}");
        if is_common { work.said(&shared) } else { Some(work.binders[index].get(&shared)?.text()) }
    };
    let [concurrency, partitioned] = COMMON.map(|key| find(key, true));
    let [prefetch, priority, single] = OF_RABBIT.map(|key| find(key, false));
    let is_on = |text: Option<String>| text.is_some_and(|text| flag(&text) == Ok(true));
    let number =
        |text: Option<String>| text.and_then(|text| text.parse().ok()).filter(|number| *number > 0).unwrap_or(1_u32);
    let instances = number(work.said("spring.cloud.stream.instance-count"));
    let (partitioned, single) = (is_on(partitioned), is_on(single));
    let concurrency = number(concurrency);
    let competes = concurrency > 1 || instances > 1 && !partitioned;
    let intake =
        Intake { concurrency, prefetch: number(prefetch), keeps_order: priority.is_none() && (single || !competes) };
    let (base, place) = match (channel, deciding) {
        (None, _) => {
            (vec!["binders".to_owned(), work.binders[index].name.clone(), "default".to_owned()], Place::Spring)
        }
        (Some(channel), Some(given)) => (vec!["bindings".to_owned(), channel.to_owned()], given.entry.place),
        (Some(_), None) => return,
    };
    put(work, &base, place, &intake);
}

/// Spring has a consumer for each of `concurrency`, each with its own `prefetch`, and no order between them.
fn put(work: &mut Work<'_>, base: &[String], place: Place, intake: &Intake) {
    let path = |key: &str| [base, &["consumer".to_owned(), key.to_owned()]].concat();
    let node = |text: &str| Node::scalar(text, Style::Plain, Some(place.clone()));
    let unsettled = intake.prefetch.saturating_mul(intake.concurrency).min(MOST).max(intake.concurrency);
    work.tree.put(&path("prefetch"), node(&unsettled.to_string()));
    work.tree.put(&path("ordering"), node(if intake.keeps_order { "partition" } else { "none" }));
}

/// Spring binds a queue with `#` to a direct exchange too, where it is no pattern.
fn key_of_direct_exchange(work: &mut Work<'_>, index: usize, channel: &str) {
    let of = |key: &str| {
        let own = work.given(&format!("spring.cloud.stream.rabbit.bindings[{channel}].consumer.{key}"));
        own.or_else(|| work.binders[index].get(&format!("spring.cloud.stream.rabbit.default.consumer.{key}")).cloned())
    };
    let direct = of("exchange-type").filter(|given| given.text().eq_ignore_ascii_case("direct"));
    let partitioned = said(work, channel, "partitioned").is_some_and(|text| flag(&text) == Ok(true));
    if let (Some(given), None, false) = (direct, of("binding-routing-key"), partitioned) {
        work.note(
            &given,
            "binds the queue with its destination here; Spring binds it with `#`, which a direct exchange takes literally (say a `binding-routing-key`)",
        );
    }
}
