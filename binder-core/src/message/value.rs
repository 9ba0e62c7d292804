//! Typed header values.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

/// Value of a header. The types are those that both brokers carry, and a UUID, which is text on RabbitMQ.
///
/// A list or a map may hold any of them. On Kafka both travel as JSON, where bytes are base64 and come back as text, as Java's do.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum HeaderValue {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A 32-bit integer, Java's `Integer`.
    I32(i32),
    /// A 64-bit integer, Java's `Long`.
    I64(i64),
    /// A 64-bit float, Java's `Double`.
    F64(f64),
    /// Text.
    String(String),
    /// Bytes.
    Bytes(Bytes),
    /// A UUID, Java's `UUID`.
    Uuid(Uuid),
    /// A list, Java's `List`.
    List(Vec<HeaderValue>),
    /// Values by name, Java's `Map`, or an object of it.
    Map(BTreeMap<String, HeaderValue>),
}

impl HeaderValue {
    /// Returns the text of a `String`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number of an integer.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::I32(number) => Some((*number).into()),
            Self::I64(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the number of an integer or float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::I32(number) => Some((*number).into()),
            Self::F64(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the value of a `Bool`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the bytes of `Bytes` or `String`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::String(text) => Some(text.as_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns a `Uuid`, also one that stands in a `String`.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match self {
            Self::Uuid(uuid) => Some(*uuid),
            Self::String(text) => Uuid::try_parse(text).ok(),
            _ => None,
        }
    }

    /// Returns the values of a `List`.
    pub fn as_list(&self) -> Option<&[HeaderValue]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// Returns the values of a `Map`.
    pub fn as_map(&self) -> Option<&BTreeMap<String, HeaderValue>> {
        match self {
            Self::Map(values) => Some(values),
            _ => None,
        }
    }

    /// Returns the value as JSON: bytes in base64, numbers that JSON has not as `"NaN"`, `"Infinity"` and `"-Infinity"`, as Jackson does.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::from(*value),
            Self::I32(number) => Value::from(*number),
            Self::I64(number) => Value::from(*number),
            Self::F64(number) if number.is_nan() => Value::from("NaN"),
            Self::F64(number) if number.is_infinite() => {
                Value::from(if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Self::F64(number) => Value::from(*number),
            Self::String(text) => Value::from(text.as_str()),
            Self::Bytes(bytes) => Value::from(STANDARD.encode(bytes)),
            Self::Uuid(uuid) => Value::from(uuid.to_string()),
            Self::List(values) => values.iter().map(Self::to_json).collect(),
            Self::Map(values) => values.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
        }
    }

    /// Returns the value as people read it: a list or a map as JSON; bytes that are no UTF-8 show as `�`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::I32(number) => number.to_string(),
            Self::I64(number) => number.to_string(),
            Self::F64(number) => number.to_string(),
            Self::String(text) => text.clone(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Uuid(uuid) => uuid.to_string(),
            Self::List(_) | Self::Map(_) => self.to_json().to_string(),
        }
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::I32(number) => number.fmt(f),
            Self::I64(number) => number.fmt(f),
            Self::F64(number) => number.fmt(f),
            Self::String(text) => text.fmt(f),
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Uuid(uuid) => fmt::Display::fmt(uuid, f),
            Self::List(values) => values.fmt(f),
            Self::Map(values) => values.fmt(f),
        }
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for HeaderValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

from!(
    bool => Bool, i8 => I32, u8 => I32, i16 => I32, u16 => I32, i32 => I32, u32 => I64, i64 => I64,
    f32 => F64, f64 => F64, &str => String, String => String, &String => String, Bytes => Bytes, Vec<u8> => Bytes,
    Uuid => Uuid, Vec<HeaderValue> => List, BTreeMap<String, HeaderValue> => Map,
);

impl<T: Into<HeaderValue>> From<Option<T>> for HeaderValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<HeaderValue>> FromIterator<T> for HeaderValue {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

/// A whole number is an `I32` where it fits, else an `I64`, as Jackson reads it; one between that and `u64::MAX` is its digits, and any longer one an
/// `F64`, which `serde_json` has made of it before.
impl From<Value> for HeaderValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::String(text) => Self::String(text),
            Value::Number(number) => {
                let whole = number.as_i64().map(|whole| i32::try_from(whole).map_or(Self::I64(whole), Self::I32));
                let other = || match number.as_f64() {
                    Some(float) if !number.is_u64() => Self::F64(float),
                    _ => Self::String(number.to_string()),
                };
                whole.unwrap_or_else(other)
            }
            Value::Array(values) => values.into_iter().collect(),
            Value::Object(members) => {
                Self::Map(members.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_becomes_what_it_is() {
        let json = json!({ "a": [1, 3_000_000_000_i64, 1.5, "x", null, true], "large": u64::MAX });
        let list = vec![
            HeaderValue::I32(1),
            HeaderValue::I64(3_000_000_000),
            1.5.into(),
            "x".into(),
            HeaderValue::Null,
            true.into(),
        ];
        let large = HeaderValue::String("18446744073709551615".to_owned());
        let expected = BTreeMap::from([("a".to_owned(), HeaderValue::List(list)), ("large".to_owned(), large)]);
        assert_eq!(HeaderValue::from(json), expected.into());
    }

    #[test]
    fn what_json_has_not_is_text_in_it() {
        let bytes = HeaderValue::from(vec![0, 255]);
        let values = [f64::NAN.into(), f64::NEG_INFINITY.into(), bytes, Uuid::nil().into()];
        let list: HeaderValue = values.into_iter().collect();
        assert_eq!(list.to_json(), json!(["NaN", "-Infinity", "AP8=", "00000000-0000-0000-0000-000000000000"]));
        assert_eq!(list.to_text(), list.to_json().to_string());
    }

    #[test]
    fn a_uuid_is_found_in_text_too() {
        let uuid = Uuid::from_u128(7);
        assert_eq!(HeaderValue::from(uuid).as_uuid(), Some(uuid));
        assert_eq!(HeaderValue::from(uuid.to_string()).as_uuid(), Some(uuid));
        assert_eq!(HeaderValue::from("7").as_uuid(), None);
    }
}
