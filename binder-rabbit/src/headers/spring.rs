//! Against what a real Spring Cloud Stream application put on RabbitMQ.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use binder_core::message::{HeaderValue, Headers};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable};
use serde_json::Value;

use super::{BROKERS_OWN, OURS, application, content_type, get, to_table};

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn number<N: TryFrom<i64>>(value: &Value) -> N {
    N::try_from(value.as_i64().expect("an integer")).unwrap_or_else(|_| panic!("{value} is too large"))
}

fn amqp(header: &Value) -> AMQPValue {
    let value = &header["value"];
    let bytes = || STANDARD.decode(text(&header["b64"])).expect("base64");
    match text(&header["amqp_type"]) {
        "S" => AMQPValue::LongString(bytes().into()),
        "x" => AMQPValue::ByteArray(bytes().into()),
        "I" => AMQPValue::LongInt(number(value)),
        "l" => AMQPValue::LongLongInt(number(value)),
        "s" => AMQPValue::ShortInt(number(value)),
        "b" => AMQPValue::ShortShortInt(number(value)),
        "d" => AMQPValue::Double(value.as_f64().expect("a number")),
        "f" => AMQPValue::Float(value.as_f64().expect("a number") as f32),
        "t" => AMQPValue::Boolean(value.as_bool().expect("a boolean")),
        "T" => AMQPValue::Timestamp(number(value)),
        "D" => {
            AMQPValue::DecimalValue(DecimalValue { scale: number(&value["scale"]), value: number(&value["unscaled"]) })
        }
        "A" => {
            let values: Vec<_> = value.as_array().expect("a list").iter().map(amqp).collect();
            AMQPValue::FieldArray(FieldArray::from(values))
        }
        "F" => AMQPValue::FieldTable(table(value)),
        "V" => AMQPValue::Void,
        other => panic!("a type that is not known: {other}"),
    }
}

fn table(headers: &Value) -> FieldTable {
    let mut table = FieldTable::default();
    for header in headers.as_array().into_iter().flatten() {
        table.insert(text(&header["name"]).into(), amqp(header));
    }
    table
}

/// Returns all messages that were captured, with the name of their case.
fn captured() -> Vec<(String, Value)> {
    let file: Value =
        serde_json::from_str(include_str!("../../tests/fixtures/spring/rabbit-messages.json")).expect("JSON");
    let mut found = Vec::new();
    for case in file["cases"].as_array().expect("cases") {
        let one = Some(&case["message"]).filter(|message| message.is_object());
        let many = case["messages"].as_array().into_iter().flatten();
        let name = case["case"].to_string();
        found.extend(one.into_iter().chain(many).map(|message| (name.trim_matches('"').to_owned(), message.clone())));
    }
    found
}

fn properties(message: &Value) -> BasicProperties {
    let properties = BasicProperties::default().with_headers(table(&message["headers"]));
    match message["properties"]["content_type"].as_str() {
        Some(text) => properties.with_content_type(text.into()),
        None => properties,
    }
}

fn case(name: &str) -> BasicProperties {
    properties(&captured().into_iter().find(|(known, _)| known == name).expect("the case").1)
}

#[test]
fn every_message_is_read_and_each_content_type_is_known() {
    let all = captured();
    assert!(all.len() > 30, "the file is whole");
    for (name, message) in all {
        let properties = properties(&message);
        let expected = match name.as_str() {
            "header-patterns" | "bytes-bytes" => "application/octet-stream",
            "text-string" | "text-pojo" | "text-bytes" => "text/plain",
            _ => "application/json",
        };
        assert_eq!(content_type(&properties).as_deref(), Some(expected), "{name}");
        let names = message["headers"].as_array().into_iter().flatten().map(|header| text(&header["name"]));
        let count = names.filter(|name| !BROKERS_OWN.contains(name) && !OURS.contains(name)).count();
        assert_eq!(application(&properties).len(), count, "{name}: every header is the application's");
    }
}

#[test]
fn each_type_of_header_is_what_it_is_in_java() {
    let strings = |texts: &[&str]| texts.iter().copied().collect::<HeaderValue>();
    let expected = Headers::new()
        .with("hChar", "x")
        .with("hByte", -3)
        .with("hShort", 7)
        .with("hBigDecimal", "12.340")
        .with("hFloat", 1.25)
        .with("hBoolTrue", true)
        .with("hBoolFalse", false)
        .with("hStringNum", "42")
        .with("hEnum", "SECONDS")
        .with("hBigInteger", "123456789012345678901234567890")
        .with("hLong", 1_234_567_890_123_i64)
        .with("hArrayList", [HeaderValue::from("a"), 1.into(), true.into()].into_iter().collect::<HeaderValue>())
        .with("hStringQuoted", "\"quoted\"")
        .with("hIntegerNeg", -7)
        .with("hUuid", "6f1c2f4e-9d1b-4e57-8f0a-1d2c3b4a5968")
        .with("hMap", BTreeMap::from([("k".to_owned(), 1.into())]))
        .with("hStringArray", strings(&["x", "y"]))
        .with("hListString", strings(&["a", "b"]))
        .with("hStringEmpty", "")
        .with("hStringUnicode", "žluťoučký 🐎")
        .with("hDate", 1_700_000_000_000_i64)
        .with("hBytes", vec![0, 1, 2, 0xff])
        .with("hDouble", 3.5);
    let properties = case("headers-all-types");
    for (name, value) in expected.iter() {
        assert_eq!(get(&properties, name).as_ref(), Some(value), "`{name}`");
    }
    assert!(get(&properties, "hUuid").and_then(|value| value.as_uuid()).is_some());
}

/// What is read of Spring's and sent on is on the wire as it was, but for the types that this side has not: shorter numbers, dates, decimals.
#[test]
fn what_spring_wrote_is_written_the_same() {
    let properties = case("headers-all-types");
    let read = application(&properties);
    let written = to_table(&read, None, false).expect("valid").expect("headers");
    let other = ["hByte", "hShort", "hFloat", "hDate", "hBigDecimal"];
    let spring = properties.headers().as_ref().expect("headers");
    assert_eq!(written.inner().len(), spring.inner().len());
    for (name, value) in spring.inner() {
        let same = written.inner().get(name) == Some(value);
        assert_eq!(same, !other.contains(&name.as_str()), "`{name}`: {value:?} is {:?}", written.inner().get(name));
    }
}
