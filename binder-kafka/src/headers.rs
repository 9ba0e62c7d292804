//! Headers on the wire, as Spring Cloud Stream writes and reads them.
//!
//! A record's header is bytes. What type a value has stands in one more header, `spring_json_header_types`: a JSON object of names and Java
//! classes. A header that is not listed there is bytes; a listed one is JSON, but for text, which stands as it is. Text that begins with a
//! quote is written as a JSON string, because a reader takes it for one: so it arrives as it was sent, in Java too.
//!
//! A class decides which value is read, and no more: nothing is made by its name, so there is none to be trusted or not. One that is not known
//! here is read for its JSON: an enum, a date or an object of the application is text, a number, a list or a map.

use std::collections::HashMap;

use binder_core::message::{ContentType, HeaderValue, Headers, names};
use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};
use serde_json::Value;

use crate::returned;

/// Name of the header that lists the types of the others.
pub(crate) const TYPES: &str = "spring_json_header_types";

const STRING: &str = "java.lang.String";

/// Headers as they are on the wire.
pub(crate) type Raw = Vec<(String, Option<Bytes>)>;

/// Writes the headers of a message: content type, those of the application, and the types last.
pub(crate) fn write(content_type: &ContentType, headers: &Headers) -> OwnedHeaders {
    let written = OwnedHeaders::new_with_capacity(headers.len() + 2);
    let written = insert(written, names::CONTENT_TYPE, Some(content_type.as_str().as_bytes()));
    write_behind(written, String::from("{\"contentType\":\"java.lang.String\""), headers)
}

/// Writes the headers of a message that may say no content type.
pub(crate) fn write_some(content_type: Option<&ContentType>, headers: &Headers) -> OwnedHeaders {
    match content_type {
        Some(content_type) => write(content_type, headers),
        None => write_behind(OwnedHeaders::new_with_capacity(headers.len() + 1), String::from("{"), headers),
    }
}

/// Writes the headers of the application behind others, and then the types, which end with those of the others.
fn write_behind(mut written: OwnedHeaders, mut types: String, headers: &Headers) -> OwnedHeaders {
    for (name, value) in headers.iter().filter(|(name, _)| !is_ours(name)) {
        written = write_one(written, name, value);
        if let Some(class) = class_of(name, value) {
            if types.len() > 1 {
                types.push(',');
            }
            types.push_str(&Value::from(name).to_string());
            types.push(':');
            types.push('"');
            types.push_str(class);
            types.push('"');
        }
    }
    types.push('}');
    insert(written, TYPES, Some(types.as_bytes()))
}

/// Appends headers that are on the wire already.
pub(crate) fn copy(raw: &Raw) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(raw.len() + 8);
    raw.iter().fold(empty, |written, (name, value)| insert(written, name, value.as_deref()))
}

/// Appends one header.
pub(crate) fn insert(headers: OwnedHeaders, name: &str, value: Option<&[u8]>) -> OwnedHeaders {
    headers.insert(Header { key: name, value })
}

pub(crate) fn is_ours(name: &str) -> bool {
    name == names::CONTENT_TYPE || name == TYPES || returned::is_ours(name)
}

/// Reads the last header of this name as the text that it is on the wire.
pub(crate) fn plain<'a>(wire: &'a impl Wire, name: &str) -> Option<&'a str> {
    last(wire, name).flatten().and_then(|bytes| std::str::from_utf8(bytes).ok())
}

fn write_one(written: OwnedHeaders, name: &str, value: &HeaderValue) -> OwnedHeaders {
    match value {
        HeaderValue::Null => insert(written, name, None),
        HeaderValue::Bytes(bytes) => insert(written, name, Some(bytes)),
        HeaderValue::String(text) if text.starts_with('"') && !is_trace(name) => {
            insert(written, name, Some(Value::from(text.as_str()).to_string().as_bytes()))
        }
        HeaderValue::String(text) => insert(written, name, Some(text.as_bytes())),
        HeaderValue::I32(_) | HeaderValue::I64(_) | HeaderValue::Bool(_) => {
            insert(written, name, Some(value.to_text().as_bytes()))
        }
        other => insert(written, name, Some(other.to_json().to_string().as_bytes())),
    }
}

/// Trace headers are raw and not listed, whoever writes them.
fn is_trace(name: &str) -> bool {
    name == "b3" || name == "traceparent" || name.starts_with("X-B3-")
}

fn class_of(name: &str, value: &HeaderValue) -> Option<&'static str> {
    match value {
        HeaderValue::String(_) if is_trace(name) => None,
        HeaderValue::String(_) => Some(STRING),
        HeaderValue::I32(_) => Some("java.lang.Integer"),
        HeaderValue::I64(_) => Some("java.lang.Long"),
        HeaderValue::F64(_) => Some("java.lang.Double"),
        HeaderValue::Bool(_) => Some("java.lang.Boolean"),
        HeaderValue::Uuid(_) => Some("java.util.UUID"),
        HeaderValue::List(_) => Some("java.util.ArrayList"),
        HeaderValue::Map(_) => Some("java.util.LinkedHashMap"),
        _ => None,
    }
}

/// Headers of a received record.
pub(crate) trait Wire {
    /// Returns how many there are.
    fn count(&self) -> usize;
    /// Returns name and value of one.
    fn get(&self, index: usize) -> (&str, Option<&[u8]>);
}

impl<H: rdkafka::message::Headers> Wire for H {
    fn count(&self) -> usize {
        rdkafka::message::Headers::count(self)
    }

    fn get(&self, index: usize) -> (&str, Option<&[u8]>) {
        let header = rdkafka::message::Headers::get(self, index);
        (header.key, header.value)
    }
}

/// Reads the content type; quotes of older Spring versions are dropped.
pub(crate) fn content_type(wire: &impl Wire) -> Option<ContentType> {
    last(wire, names::CONTENT_TYPE).flatten().map(ContentType::from_bytes)
}

/// Reads the last header of this name.
pub(crate) fn find(wire: &impl Wire, name: &str) -> Option<HeaderValue> {
    if is_ours(name) {
        return None;
    }
    let value = last(wire, name)?;
    let types = types(wire);
    Some(read(value, types.get(name).map(String::as_str)))
}

/// Reads all headers of the application.
pub(crate) fn all(wire: &impl Wire) -> Headers {
    let types = types(wire);
    let pairs = (0..wire.count()).map(|index| wire.get(index)).filter(|(name, _)| !is_ours(name));
    pairs.map(|(name, value)| (name.to_owned(), read(value, types.get(name).map(String::as_str)))).collect()
}

/// Copies all headers as they are.
pub(crate) fn raw(wire: &impl Wire, mut keep: impl FnMut(&[u8]) -> Bytes) -> Raw {
    let pairs = (0..wire.count()).map(|index| wire.get(index));
    pairs.map(|(name, value)| (name.to_owned(), value.map(&mut keep))).collect()
}

pub(crate) fn last<'a>(wire: &'a impl Wire, name: &str) -> Option<Option<&'a [u8]>> {
    let mut pairs = (0..wire.count()).rev().map(|index| wire.get(index));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Types that can't be read leave all headers bytes, as in Spring.
fn types(wire: &impl Wire) -> HashMap<String, String> {
    let listed = last(wire, TYPES).flatten();
    listed.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
}

fn read(value: Option<&[u8]>, class: Option<&str>) -> HeaderValue {
    let Some(bytes) = value else { return HeaderValue::Null };
    let typed = match class {
        Some(STRING) => text(bytes).map(HeaderValue::String),
        Some("java.lang.Integer" | "java.lang.Short" | "java.lang.Byte") => json(bytes).map(HeaderValue::I32),
        Some("java.lang.Long") => json(bytes).map(HeaderValue::I64),
        Some("java.lang.Double" | "java.lang.Float") => number(bytes).map(HeaderValue::F64),
        Some("java.lang.Boolean") => json(bytes).map(HeaderValue::Bool),
        Some("java.util.UUID") => {
            json::<Value>(bytes).and_then(|value| HeaderValue::from(value).as_uuid()).map(HeaderValue::Uuid)
        }
        Some("java.math.BigDecimal" | "java.math.BigInteger") => digits(bytes).map(HeaderValue::String),
        Some(_) => json::<Value>(bytes).map(HeaderValue::from),
        None => None,
    };
    typed.unwrap_or_else(|| HeaderValue::Bytes(Bytes::copy_from_slice(bytes)))
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn text(bytes: &[u8]) -> Option<String> {
    let quoted = if bytes.first() == Some(&b'"') { json(bytes) } else { None };
    quoted.or_else(|| std::str::from_utf8(bytes).ok().map(str::to_owned))
}

/// A number of any length, as it is written.
fn digits(bytes: &[u8]) -> Option<String> {
    let number = json::<Value>(bytes)?.is_number().then(|| std::str::from_utf8(bytes).ok())??;
    Some(number.trim().to_owned())
}

fn number(bytes: &[u8]) -> Option<f64> {
    json(bytes).or_else(|| match json::<String>(bytes)?.as_str() {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    })
}

#[cfg(test)]
mod spring;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rdkafka::message::Headers as _;

    use super::*;

    fn shown(headers: &OwnedHeaders) -> Vec<(String, String)> {
        let text =
            |value: Option<&[u8]>| value.map_or("null".to_owned(), |bytes| String::from_utf8_lossy(bytes).into());
        headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn headers_are_written_as_spring_does() {
        let headers = Headers::new()
            .with("tenant", "acme")
            .with("hops", 2)
            .with("total", 3_i64)
            .with("rate", 2.0)
            .with("ok", true)
            .with("raw", vec![1])
            .with("gone", HeaderValue::Null)
            .with("b3", "1-2-3")
            .with("contentType", "ignored");
        let expected = [
            pair("contentType", "text/plain"),
            pair("tenant", "acme"),
            pair("hops", "2"),
            pair("total", "3"),
            pair("rate", "2.0"),
            pair("ok", "true"),
            pair("raw", "\u{1}"),
            pair("gone", "null"),
            pair("b3", "1-2-3"),
            pair(
                TYPES,
                "{\"contentType\":\"java.lang.String\",\"tenant\":\"java.lang.String\",\"hops\":\"java.lang.Integer\",\
                 \"total\":\"java.lang.Long\",\"rate\":\"java.lang.Double\",\"ok\":\"java.lang.Boolean\"}",
            ),
        ];
        assert_eq!(shown(&write(&ContentType::TEXT, &headers)), expected);
    }

    #[test]
    fn what_is_written_is_read_back_in_order_with_duplicates() {
        let headers = Headers::new()
            .with("a", "one")
            .with("a", "two")
            .with("quoted", "\"q\"")
            .with("half", "\"")
            .with("empty", "")
            .with("number", i64::MIN)
            .with("infinite", f64::INFINITY)
            .with("null", HeaderValue::Null)
            .with("bytes", vec![0, 255]);
        let written = write(&ContentType::JSON, &headers);
        assert_eq!(all(&written), headers);
        assert_eq!(content_type(&written), Some(ContentType::JSON));
        assert_eq!(find(&written, "a"), Some("two".into()));
        assert_eq!(find(&written, "contentType"), None);
    }

    #[test]
    fn what_is_not_listed_or_does_not_fit_stays_bytes() {
        let types = r#"{"n":"java.lang.Integer","u":"java.util.UUID","d":"java.math.BigDecimal","o":"shop.Order"}"#;
        let wire = [
            ("n", "abc"),
            ("u", "\"6f1c\""),
            ("d", "1.0.0"),
            ("o", "{\"a\":"),
            ("t", "text"),
            (TYPES, types),
            ("contentType", "\"text/plain\""),
        ];
        let empty = OwnedHeaders::new();
        let wire = wire.iter().fold(empty, |wire, (name, value)| insert(wire, name, Some(value.as_bytes())));
        let bytes = |text: &'static str| HeaderValue::Bytes(Bytes::from_static(text.as_bytes()));
        let expected = Headers::new()
            .with("n", bytes("abc"))
            .with("u", bytes("\"6f1c\""))
            .with("d", bytes("1.0.0"))
            .with("o", bytes("{\"a\":"))
            .with("t", bytes("text"));
        assert_eq!(all(&wire), expected);
        assert_eq!(content_type(&wire), Some(ContentType::TEXT));
        let broken = insert(insert(OwnedHeaders::new(), "t", Some(b"x")), TYPES, Some(b"{"));
        assert_eq!(all(&broken), Headers::new().with("t", bytes("x")));
    }

    /// A header value, and how it comes back.
    fn value() -> impl Strategy<Value = HeaderValue> {
        let leaf = prop_oneof![
            Just(HeaderValue::Null),
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i32>().prop_map(HeaderValue::I32),
            any::<i64>().prop_map(HeaderValue::I64),
            any::<f64>().prop_map(HeaderValue::F64),
            any::<String>().prop_map(HeaderValue::String),
            any::<Vec<u8>>().prop_map(HeaderValue::from),
            any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).into()),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(HeaderValue::List),
                prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(HeaderValue::Map),
            ]
        })
    }

    proptest! {
        /// Each comes back as it was; within a list or a map as its JSON says.
        #[test]
        fn each_value_is_read_as_it_was_written(name in "[a-zA-Zž ]{1,12}", value in value()) {
            prop_assume!(!is_trace(&name) && !is_ours(&name));
            let sent = Headers::new().with(name.clone(), value.clone());
            let read = find(&write(&ContentType::JSON, &sent), &name).expect("it is there");
            match &value {
                HeaderValue::List(_) | HeaderValue::Map(_) => prop_assert_eq!(read, value.to_json().into()),
                HeaderValue::F64(number) if number.is_nan() => prop_assert!(read.as_f64().is_some_and(f64::is_nan)),
                _ => prop_assert_eq!(read, value),
            }
        }

        /// Whatever is on the wire, reading it ends.
        #[test]
        fn no_bytes_are_too_much(value in any::<Vec<u8>>(), class in any::<String>(), types in any::<Vec<u8>>()) {
            let listed = serde_json::json!({ "h": class }).to_string();
            for types in [listed.as_bytes(), &types[..]] {
                let wire = insert(insert(OwnedHeaders::new(), "h", Some(&value)), TYPES, Some(types));
                prop_assert_eq!(all(&wire).len(), 1);
            }
        }
    }
}
