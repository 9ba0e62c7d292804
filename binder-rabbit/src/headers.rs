//! Headers between the library and AMQP's field tables.

use std::borrow::Cow;

use binder_core::binder::RETRY_ATTEMPT;
use binder_core::message::{HeaderValue, Headers, names};
use binder_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};

use crate::{compress, returned};

/// Marks an empty body as a tombstone.
pub(crate) const TOMBSTONE: &str = "messageTombstone";

/// How many lists and maps of a header may stand within each other, as in JSON.
const DEEPEST: usize = 128;

const KAFKA_KEY: &str = "kafka_messageKey";
const DELIVERY_COUNT: &str = "x-delivery-count";

/// Where a message stands in a stream, and where a consumer of one begins.
pub(crate) const STREAM_OFFSET: &str = "x-stream-offset";

/// Headers that say how the broker treated a message: they do not belong to it.
pub(crate) const BROKERS_OWN: [&str; 10] = [
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    DELIVERY_COUNT,
    "x-acquired-count",
    STREAM_OFFSET,
];

const OURS: [&str; 8] = [
    names::CONTENT_TYPE,
    compress::AUTO,
    names::MESSAGE_KEY,
    KAFKA_KEY,
    TOMBSTONE,
    RETRY_ATTEMPT,
    returned::EXCHANGE,
    returned::ROUTING_KEY,
];

/// Makes the table of a message; of several headers of one name the last counts.
pub(crate) fn to_table(headers: &Headers, key: Option<&[u8]>, tombstone: bool) -> Result<Option<FieldTable>> {
    let mut table = FieldTable::default();
    for (name, value) in headers.iter() {
        if name != names::CONTENT_TYPE {
            table.insert(header_name(name)?, to_amqp(value)?);
        }
    }
    if let Some(key) = key {
        insert_key(&mut table, key);
    }
    if tombstone {
        table.insert(TOMBSTONE.into(), AMQPValue::Boolean(true));
    }
    Ok((!table.inner().is_empty()).then_some(table))
}

/// Makes the table of a message that has a key and no headers.
pub(crate) fn key_table(key: &[u8]) -> FieldTable {
    let mut table = FieldTable::default();
    insert_key(&mut table, key);
    table
}

fn insert_key(table: &mut FieldTable, key: &[u8]) {
    let value = match std::str::from_utf8(key) {
        Ok(text) => AMQPValue::LongString(text.into()),
        Err(_) => AMQPValue::ByteArray(key.into()),
    };
    table.insert(names::MESSAGE_KEY.into(), value);
}

fn header_name(name: &str) -> Result<ShortString> {
    ShortString::try_new(name).map_err(|cause| {
        let start: String = name.chars().take(40).collect();
        Error::new(ErrorKind::Refused, format!("the header name `{start}…` is longer than 255 bytes"))
            .with_source(cause)
    })
}

fn to_amqp(value: &HeaderValue) -> Result<AMQPValue> {
    Ok(match value {
        HeaderValue::Null => AMQPValue::Void,
        HeaderValue::Bool(value) => AMQPValue::Boolean(*value),
        HeaderValue::I32(number) => AMQPValue::LongInt(*number),
        HeaderValue::I64(number) => AMQPValue::LongLongInt(*number),
        HeaderValue::F64(number) => AMQPValue::Double(*number),
        HeaderValue::Bytes(bytes) => AMQPValue::ByteArray(bytes.as_ref().into()),
        HeaderValue::String(text) => AMQPValue::LongString(text.as_str().into()),
        HeaderValue::List(values) => {
            let mut array = FieldArray::default();
            for value in values {
                array.push(to_amqp(value)?);
            }
            AMQPValue::FieldArray(array)
        }
        HeaderValue::Map(values) => {
            let mut table = FieldTable::default();
            for (name, value) in values {
                table.insert(header_name(name)?, to_amqp(value)?);
            }
            AMQPValue::FieldTable(table)
        }
        // a UUID is text in AMQP, as Spring writes it
        other => AMQPValue::LongString(other.to_text().into()),
    })
}

/// Reads a value. A decimal, which has no counterpart, becomes text as people write it; what stands deeper than [`DEEPEST`] is left out.
pub(crate) fn from_amqp(value: &AMQPValue) -> HeaderValue {
    read(value, DEEPEST)
}

fn read(value: &AMQPValue, depth: usize) -> HeaderValue {
    match value {
        AMQPValue::Void => HeaderValue::Null,
        AMQPValue::Boolean(value) => HeaderValue::Bool(*value),
        AMQPValue::ShortShortInt(number) => HeaderValue::I32((*number).into()),
        AMQPValue::ShortShortUInt(number) => HeaderValue::I32((*number).into()),
        AMQPValue::ShortInt(number) => HeaderValue::I32((*number).into()),
        AMQPValue::ShortUInt(number) => HeaderValue::I32((*number).into()),
        AMQPValue::LongInt(number) => HeaderValue::I32(*number),
        AMQPValue::LongUInt(number) => HeaderValue::I64((*number).into()),
        AMQPValue::LongLongInt(number) => HeaderValue::I64(*number),
        AMQPValue::Float(number) => HeaderValue::F64((*number).into()),
        AMQPValue::Double(number) => HeaderValue::F64(*number),
        AMQPValue::Timestamp(seconds) => {
            HeaderValue::I64(i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1000))
        }
        AMQPValue::ShortString(text) => HeaderValue::String(text.to_string()),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => HeaderValue::String(text.to_owned()),
            Err(_) => HeaderValue::Bytes(Bytes::copy_from_slice(text.as_bytes())),
        },
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(Bytes::copy_from_slice(bytes.as_slice())),
        AMQPValue::DecimalValue(_) => HeaderValue::String(decimal(value)),
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth == 0 => HeaderValue::Null,
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(|value| read(value, depth - 1)).collect(),
        AMQPValue::FieldTable(table) => {
            let values = table.inner().iter().map(|(name, value)| (name.to_string(), read(value, depth - 1)));
            HeaderValue::Map(values.collect())
        }
    }
}

fn decimal(value: &AMQPValue) -> String {
    let AMQPValue::DecimalValue(decimal) = value else { return String::new() };
    let scale = usize::from(decimal.scale);
    // The wire knows a signed number, the client reads it unsigned.
    let number = i64::from(decimal.value.cast_signed());
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if number < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn table(properties: &BasicProperties) -> Option<&FieldTable> {
    properties.headers().as_ref()
}

pub(crate) fn raw<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    table(properties)?.inner().get(name)
}

/// Reads one header, also the broker's own.
pub(crate) fn get(properties: &BasicProperties, name: &str) -> Option<HeaderValue> {
    raw(properties, name).map(from_amqp)
}

/// Reads the headers of the application.
pub(crate) fn application(properties: &BasicProperties) -> Headers {
    let Some(table) = table(properties) else { return Headers::new() };
    let of_application = |name: &str| !OURS.contains(&name) && !BROKERS_OWN.contains(&name);
    let pairs = table.inner().iter().filter(|(name, _)| of_application(name.as_str()));
    pairs.map(|(name, value)| (Cow::Owned(name.to_string()), from_amqp(value))).collect()
}

/// Reads the key.
pub(crate) fn key(properties: &BasicProperties) -> Option<&[u8]> {
    let bytes = |name: &str| match raw(properties, name)? {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice()),
        _ => None,
    };
    bytes(names::MESSAGE_KEY).or_else(|| bytes(KAFKA_KEY))
}

/// Reads the content type: a header of that name wins over the property, as in Spring Cloud Stream.
pub(crate) fn content_type(properties: &BasicProperties) -> Option<Cow<'_, str>> {
    match raw(properties, names::CONTENT_TYPE) {
        Some(AMQPValue::LongString(text)) => Some(String::from_utf8_lossy(text.as_bytes())),
        _ => properties.content_type().as_ref().map(|text| Cow::Borrowed(text.as_str())),
    }
}

/// Returns whether an empty body is a tombstone.
pub(crate) fn is_tombstone(properties: &BasicProperties) -> bool {
    matches!(raw(properties, TOMBSTONE), Some(AMQPValue::Boolean(true)))
}

/// Returns where the message stands in its stream, if it comes from one.
pub(crate) fn stream_offset(properties: &BasicProperties) -> Option<u64> {
    let offset = get(properties, STREAM_OFFSET)?.as_i64()?;
    u64::try_from(offset).ok()
}

/// Returns how often the broker had delivered the message before, if its queue counts it.
pub(crate) fn delivery_count(properties: &BasicProperties) -> Option<u32> {
    let count = get(properties, DELIVERY_COUNT)?.as_i64()?;
    u32::try_from(count).ok()
}

/// Returns how many bytes the properties take on the wire. They have to fit into one frame: the broker closes the whole connection
/// otherwise.
pub(crate) fn encoded_len(properties: &BasicProperties) -> usize {
    let short = |text: &Option<ShortString>| text.as_ref().map_or(0, |text| 1 + text.as_str().len());
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    let fixed = 2 + 1 + 1 + 8;
    let headers = table(properties).map_or(0, |table| 4 + table_len(table));
    fixed + headers + texts.into_iter().map(short).sum::<usize>()
}

fn table_len(table: &FieldTable) -> usize {
    table.inner().iter().map(|(name, value)| 1 + name.as_str().len() + value_len(value)).sum()
}

fn value_len(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(items) => 4 + items.as_slice().iter().map(value_len).sum::<usize>(),
        AMQPValue::FieldTable(table) => 4 + table_len(table),
    }
}

#[cfg(test)]
mod spring;
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lapin::types::DecimalValue;
    use uuid::Uuid;

    use super::*;

    fn properties(table: FieldTable) -> BasicProperties {
        BasicProperties::default().with_headers(table)
    }

    #[test]
    fn typed_headers_come_back_as_they_were() {
        let sent = Headers::new()
            .with("bool", true)
            .with("bytes", vec![0xff_u8, 0])
            .with("double", 1.5)
            .with("int", 7)
            .with("long", i64::MAX)
            .with("nothing", None::<bool>)
            .with("text", "žluť");
        let table = to_table(&sent, None, false).expect("valid").expect("headers");
        assert_eq!(application(&properties(table)), sent);
    }

    #[test]
    fn lists_and_maps_are_arrays_and_tables_and_a_uuid_is_text() {
        let list: HeaderValue = [1, 2].into_iter().collect();
        let inner = BTreeMap::from([("n".to_owned(), HeaderValue::Null), ("l".to_owned(), list)]);
        let values = [HeaderValue::from("a"), HeaderValue::F64(2.5), HeaderValue::Map(inner), vec![7_u8].into()];
        let list: HeaderValue = values.into_iter().collect();
        let sent = Headers::new().with("list", list).with("uuid", Uuid::from_u128(7));
        let table = to_table(&sent, None, false).expect("valid").expect("headers");
        assert!(matches!(table.inner().get("list"), Some(AMQPValue::FieldArray(_))));
        let seen = application(&properties(table));
        assert_eq!(seen.get("list"), sent.get("list"));
        assert_eq!(seen.get("uuid").and_then(HeaderValue::as_str), Some("00000000-0000-0000-0000-000000000007"));
        let long = BTreeMap::from([("n".repeat(256), HeaderValue::Null)]);
        assert!(to_table(&Headers::new().with("map", long), None, false).is_err());
    }

    #[test]
    fn what_stands_too_deep_is_left_out() {
        let deep = (0..DEEPEST + 5).fold(AMQPValue::LongInt(1), |inner, _| AMQPValue::FieldArray(vec![inner].into()));
        let (mut depth, read) = (0, from_amqp(&deep));
        let mut inner = &read;
        while let Some([next]) = inner.as_list() {
            (depth, inner) = (depth + 1, next);
        }
        assert_eq!((depth, inner), (DEEPEST, &HeaderValue::Null));
    }

    #[test]
    fn the_last_of_several_headers_is_sent() {
        let sent = Headers::new().with("hops", 1).with("hops", 2);
        let table = to_table(&sent, None, false).expect("valid").expect("headers");
        assert_eq!(get(&properties(table), "hops"), Some(HeaderValue::I32(2)));
    }

    #[test]
    fn a_key_is_text_or_bytes_and_no_header() {
        for sent in [&b"order-1"[..], &[0xff, 0x00]] {
            let table = to_table(&Headers::new(), Some(sent), false).expect("valid").expect("headers");
            let properties = properties(table);
            assert_eq!(key(&properties), Some(sent));
            assert!(application(&properties).is_empty());
        }
        let mut table = FieldTable::default();
        table.insert(KAFKA_KEY.into(), AMQPValue::LongString("java".into()));
        assert_eq!(key(&properties(table)), Some(&b"java"[..]));
    }

    #[test]
    fn a_content_type_header_wins_over_the_property() {
        let mut table = FieldTable::default();
        table.insert(names::CONTENT_TYPE.into(), AMQPValue::LongString("text/plain".into()));
        let properties = properties(table).with_content_type("application/json".into());
        assert_eq!(content_type(&properties).as_deref(), Some("text/plain"));
        assert!(application(&properties).is_empty());
    }

    #[test]
    fn the_brokers_own_headers_are_readable_but_not_forwarded() {
        let mut death = FieldTable::default();
        death.insert("queue".into(), AMQPValue::LongString("orders.billing".into()));
        death.insert("count".into(), AMQPValue::LongLongInt(2));
        let mut table = FieldTable::default();
        table.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
        table.insert("x-tenant".into(), AMQPValue::LongString("acme".into()));
        let properties = properties(table);
        let seen = get(&properties, "x-death").expect("readable");
        let death = BTreeMap::from([("count".to_owned(), 2_i64.into()), ("queue".to_owned(), "orders.billing".into())]);
        assert_eq!(seen.as_list(), Some(&[HeaderValue::Map(death)][..]));
        let names: Vec<_> = application(&properties).iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["x-tenant"]);
    }

    #[test]
    fn foreign_types_are_read() {
        let value = |value| from_amqp(&value);
        assert_eq!(value(AMQPValue::Timestamp(1_700_000_000)), HeaderValue::I64(1_700_000_000_000));
        assert_eq!(value(AMQPValue::ShortInt(-3)), HeaderValue::I32(-3));
        assert_eq!(value(AMQPValue::Float(0.5)), HeaderValue::F64(0.5));
        let number = |scale, value: i32| AMQPValue::DecimalValue(DecimalValue { scale, value: value.cast_unsigned() });
        assert_eq!(value(number(2, 1234)).as_str(), Some("12.34"));
        assert_eq!(value(number(3, -5)).as_str(), Some("-0.005"));
        assert_eq!(value(number(0, 7)).as_str(), Some("7"));
    }

    #[test]
    fn a_header_name_that_is_too_long_is_refused() {
        let headers = Headers::new().with("n".repeat(256), 1);
        assert_eq!(to_table(&headers, None, false).expect_err("too long").kind(), ErrorKind::Refused);
    }
}
