//! Against what a real Spring Cloud Stream application put on Kafka.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use binder_core::message::{ContentType, HeaderValue, Headers};
use bytes::Bytes;
use rdkafka::message::{Headers as _, OwnedHeaders};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{TYPES, all, content_type, find, insert, last, types, write};
use crate::embedded::{self, Frame};

/// A record as it was captured.
#[derive(Deserialize)]
struct Captured {
    value_b64: Option<String>,
    headers: Vec<CapturedHeader>,
}

#[derive(Deserialize)]
struct CapturedHeader {
    name: String,
    b64: Option<String>,
}

fn bytes(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).expect("base64")
}

impl Captured {
    fn wire(&self) -> OwnedHeaders {
        let empty = OwnedHeaders::new();
        self.headers
            .iter()
            .fold(empty, |wire, CapturedHeader { name, b64 }| insert(wire, name, b64.as_deref().map(bytes).as_deref()))
    }

    fn value(&self) -> Vec<u8> {
        self.value_b64.as_deref().map(bytes).unwrap_or_default()
    }
}

/// Returns all records that were captured, with the name of their case.
fn captured() -> Vec<(String, Captured)> {
    let file: Value =
        serde_json::from_str(include_str!("../../tests/fixtures/spring/kafka-messages.json")).expect("JSON");
    let mut found = Vec::new();
    for case in file["cases"].as_array().expect("cases") {
        let one = Some(&case["message"]).filter(|message| message.is_object());
        let many = case["messages"].as_array().into_iter().flatten();
        for message in one.into_iter().chain(many) {
            let record = Captured::deserialize(message).expect("a record");
            found.push((case["case"].to_string().trim_matches('"').to_owned(), record));
        }
    }
    found
}

fn case(name: &str) -> Captured {
    captured().into_iter().find(|(known, _)| known == name).expect("the case").1
}

#[test]
fn every_record_is_read_and_each_content_type_is_known() {
    let all_of_them = captured();
    assert!(all_of_them.len() > 40, "the file is whole");
    for (name, record) in all_of_them {
        let wire = record.wire();
        let expected = match name.as_str() {
            "header-mode-none" | "header-mode-embedded" | "header-patterns" => None,
            "bytes-bytes" => Some(ContentType::BYTES),
            "text-string" | "text-pojo" | "text-bytes" => Some(ContentType::TEXT),
            _ => Some(ContentType::JSON),
        };
        assert_eq!(content_type(&wire), expected, "{name}");
        let known = types(&wire);
        for (header, value) in all(&wire).iter() {
            let listed = known.contains_key(header);
            assert_eq!(matches!(value, HeaderValue::Bytes(_)), !listed, "{name}: `{header}` is {value:?}");
        }
    }
}

#[test]
fn each_type_of_header_is_what_it_is_in_java() {
    let text = |text: &str| HeaderValue::String(text.to_owned());
    let list = |values: &[HeaderValue]| HeaderValue::List(values.to_vec());
    let raw = |bytes: &'static [u8]| HeaderValue::Bytes(Bytes::from_static(bytes));
    let map = |members: Value| HeaderValue::from(members);
    let expected = Headers::new()
        .with("hChar", "x")
        .with("hBigDecimal", "12.340")
        .with("b3", raw(b"80f198ee56343ba8-05e3ac9a4f6e3b90-1"))
        .with("hBoolTrue", true)
        .with("hBoolFalse", false)
        .with("X-B3-TraceId", raw(b"80f198ee56343ba8"))
        .with("hStringQuoted", "quoted")
        .with("hIntArray", list(&[1.into(), 2.into()]))
        .with("sequenceNumber", 2)
        .with("hUuid", Uuid::parse_str("6f1c2f4e-9d1b-4e57-8f0a-1d2c3b4a5968").expect("a UUID"))
        .with("hStringArray", list(&[text("x"), text("y")]))
        .with("hStringEmpty", "")
        .with("hListString", list(&[text("a"), text("b")]))
        .with("hStringUnicode", "žluťoučký 🐎")
        .with("priority", 4)
        .with("hBytes", raw(&[0, 1, 2, 0xff]))
        .with("kafka_custom", "kc")
        .with("hInstant", "2023-11-14T22:13:20.123Z")
        .with("hAtomic", 5)
        .with("amqp_custom", "ac")
        .with("hMimeType", "text/xml")
        .with("hDouble", 3.5)
        .with("sequenceSize", 5)
        .with("hByte", -3)
        .with("hShort", 7)
        .with("scst_custom", "sc")
        .with("hFloat", 1.25)
        .with("hStringNum", "42")
        .with("hStringJson", "{\"a\":1}")
        .with("hPojo", map(serde_json::json!({ "level": 3, "name": "gold" })))
        .with("hEnum", "SECONDS")
        .with("hUri", "http://x/y")
        .with("hBigInteger", "123456789012345678901234567890")
        .with("hLong", 1_234_567_890_123_i64)
        .with("hArrayList", list(&[text("a"), 1.into(), true.into()]))
        .with("correlationId", "corr-header")
        .with("hString", "plain text")
        .with("hLocalDate", "2024-02-29")
        .with("hIntegerNeg", -7)
        .with("hInteger", 42)
        .with("hMap", map(serde_json::json!({ "k": 1 })))
        .with("replyChannelName", "rcn")
        .with("hDate", "2023-11-14T22:13:20.123Z")
        .with("spring_custom", "spc")
        .with("traceparent", raw(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
        .with("x-custom", "x dash");
    let wire = case("headers-all-types").wire();
    let read = all(&wire);
    for (name, value) in expected.iter() {
        assert_eq!(read.get(name), Some(value), "`{name}`");
        assert_eq!(find(&wire, name).as_ref(), Some(value), "`{name}` alone");
    }
    assert_eq!(read.len(), expected.len());
}

/// What is read of Spring's and sent on is on the wire as it was, where the class is one that this side knows.
#[test]
fn what_spring_wrote_is_written_the_same() {
    let kept = [
        "hBoolTrue",
        "hBoolFalse",
        "sequenceNumber",
        "hUuid",
        "hStringEmpty",
        "hStringUnicode",
        "hBytes",
        "hDouble",
        "hStringNum",
        "hStringJson",
        "hLong",
        "hArrayList",
        "correlationId",
        "hString",
        "hIntegerNeg",
        "hMap",
        "x-custom",
    ];
    let wire = case("headers-all-types").wire();
    let headers: Headers = all(&wire).into_iter().filter(|(name, _)| kept.contains(&name.as_ref())).collect();
    assert_eq!(headers.len(), kept.len());
    let written = write(&ContentType::JSON, &headers);
    for name in kept.iter().chain(&["contentType"]) {
        assert_eq!(last(&written, name), last(&wire, name), "`{name}`");
        assert_eq!(types(&written).get(*name), types(&wire).get(*name), "class of `{name}`");
    }
    let names: Vec<_> = written.iter().map(|header| header.key).collect();
    assert_eq!(names.last(), Some(&TYPES), "the classes stand last, as Spring's do");
}

#[test]
fn a_message_without_headers_of_its_own_is_written_byte_for_byte() {
    let wire = case("pojo-default").wire();
    let written = write(&ContentType::JSON, &Headers::new());
    let shown = |headers: &OwnedHeaders| -> Vec<_> {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    };
    assert_eq!(shown(&written), shown(&wire));
}

#[test]
fn embedded_headers_are_read_and_written_byte_for_byte() {
    let value = case("header-mode-embedded").value();
    let frame = Frame::parse(&value).expect("headers in front");
    let expected = Headers::new().with("correlationId", "cc").with("sequenceSize", 3).with("sequenceNumber", 2);
    assert_eq!((frame.content_type(), frame.all()), (Some(ContentType::JSON), expected.clone()));
    assert_eq!(frame.find("sequenceSize"), Some(3.into()));
    let json: Value = serde_json::from_slice(frame.payload).expect("JSON");
    assert_eq!(json["organizationId"], "org-0");
    assert_eq!(embedded::write(&ContentType::JSON, &expected, frame.payload).expect("written"), value);
}

#[test]
fn embedded_headers_of_a_dead_letter_are_read() {
    let file: Value = serde_json::from_str(include_str!("../../tests/fixtures/spring/kafka-dlq.json")).expect("JSON");
    let letter = &file["dead_letters"]["error.goldk4.emb.goldg1"];
    let letter = letter.as_array().and_then(|all| all.first()).unwrap_or(letter);
    let value = Captured::deserialize(letter).expect("a record").value();
    let frame = Frame::parse(&value).expect("headers in front");
    assert_eq!(frame.find("correlationId"), Some("cc".into()));
    assert_eq!(frame.find("x-original-topic"), None, "it tells of the letter, and is not the message's");
    assert_eq!(frame.content_type(), Some(ContentType::JSON));
    assert!(frame.payload.starts_with(b"{\"action\":\"FAIL\""));
}
