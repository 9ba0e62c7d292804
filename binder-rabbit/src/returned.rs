//! Messages that come back to their queue, through the default exchange: what they were stands in a few headers of ours.

use std::time::Duration;

use binder_core::binder::RETRY_ATTEMPT;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::headers;

/// Exchange and routing key with which the message was published at first.
pub(crate) const EXCHANGE: &str = "x-retry-exchange";
pub(crate) const ROUTING_KEY: &str = "x-retry-routing-key";

/// Returns the queue in which messages of a queue wait so long.
pub(crate) fn rung(queue: &str, wait: Duration) -> String {
    format!("{queue}.retry.{}", wait.as_millis())
}

/// Returns exchange and routing key of the first time, if the message has come back.
pub(crate) fn origin(delivery: &Delivery) -> Option<(ShortString, ShortString)> {
    if !delivery.exchange.as_str().is_empty() {
        return None;
    }
    let text = |name: &str| match headers::raw(&delivery.properties, name)? {
        AMQPValue::LongString(text) => ShortString::try_new(String::from_utf8_lossy(text.as_bytes()).as_ref()).ok(),
        _ => None,
    };
    text(EXCHANGE).zip(text(ROUTING_KEY))
}

/// Returns which attempt this is.
pub(crate) fn attempt(delivery: &Delivery) -> u32 {
    if origin(delivery).is_none() {
        return 1;
    }
    let attempt = headers::get(&delivery.properties, RETRY_ATTEMPT).and_then(|attempt| attempt.as_i64());
    attempt.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(1)
}

/// Puts in where the message came from at first.
pub(crate) fn insert_origin(table: &mut FieldTable, exchange: &ShortString, routing_key: &ShortString) {
    for (name, value) in [(EXCHANGE, exchange), (ROUTING_KEY, routing_key)] {
        table.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
    }
}

/// Returns the properties as they were before the message waited.
pub(crate) fn without_traces(properties: &BasicProperties, queue: &str) -> BasicProperties {
    let Some(table) = properties.headers() else { return properties.clone() };
    let rungs = format!("{queue}.retry.");
    let of_rung =
        |value: &AMQPValue| matches!(headers::from_amqp(value).as_str(), Some(text) if text.starts_with(&rungs));
    let inner = table.inner();
    let first = inner.get("x-first-death-queue").is_some_and(of_rung);
    let last = inner.get("x-last-death-queue").is_some_and(of_rung);
    let mut kept = FieldTable::default();
    for (name, value) in inner {
        let name_text = name.as_str();
        let ours = [EXCHANGE, ROUTING_KEY, RETRY_ATTEMPT].contains(&name_text);
        if ours || first && name_text.starts_with("x-first-death-") || last && name_text.starts_with("x-last-death-") {
            continue;
        }
        match value {
            AMQPValue::FieldArray(deaths) if name_text == "x-death" => {
                let of_rung = |death: &AMQPValue| match death {
                    AMQPValue::FieldTable(death) => death.inner().get("queue").is_some_and(of_rung),
                    _ => false,
                };
                let others: Vec<AMQPValue> =
                    deaths.as_slice().iter().filter(|death| !of_rung(death)).cloned().collect();
                if !others.is_empty() {
                    kept.insert(name.clone(), AMQPValue::FieldArray(others.into()));
                }
            }
            _ => {
                kept.insert(name.clone(), value.clone());
            }
        }
    }
    properties.clone().with_headers(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    fn death(queue: &str) -> AMQPValue {
        let mut table = FieldTable::default();
        table.insert("queue".into(), text(queue));
        AMQPValue::FieldTable(table)
    }

    #[test]
    fn only_the_traces_of_the_wait_go() {
        let mut table = FieldTable::default();
        table.insert("tenant".into(), text("acme"));
        let original = BasicProperties::default().with_headers(table.clone());
        insert_origin(&mut table, &"orders".into(), &"key".into());
        table.insert(RETRY_ATTEMPT.into(), AMQPValue::LongLongInt(2));
        table.insert("x-first-death-queue".into(), text("orders.g.retry.1000"));
        table.insert("x-first-death-reason".into(), text("expired"));
        table.insert("x-death".into(), AMQPValue::FieldArray(vec![death("orders.g.retry.1000")].into()));
        let waited = BasicProperties::default().with_headers(table.clone());
        assert_eq!(without_traces(&waited, "orders.g"), original);
        let both = vec![death("orders.g.retry.1000"), death("elsewhere")];
        table.insert("x-death".into(), AMQPValue::FieldArray(both.into()));
        table.insert("x-first-death-queue".into(), text("elsewhere"));
        let kept = without_traces(&BasicProperties::default().with_headers(table), "orders.g");
        let kept = kept.headers().clone().expect("headers");
        let names: Vec<_> = kept.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(names, ["tenant", "x-death", "x-first-death-queue", "x-first-death-reason"]);
        assert_eq!(kept.inner().get("x-death"), Some(&AMQPValue::FieldArray(vec![death("elsewhere")].into())));
    }
}
