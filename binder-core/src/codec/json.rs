//! What is wrong with JSON, told without the payload.
//!
//! The messages of `serde_json` quote strings that they met, so a failed payload is read once more, into an error that cannot.

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::reason::Reason;
use super::unfit;
use crate::message::ContentType;
use crate::{Error, Result};

/// Makes the error of a payload that `serde_json` could not write.
#[cold]
pub(super) fn unwritten(content_type: &ContentType, cause: &serde_json::Error) -> Error {
    match cause.classify() {
        Category::Data => unfit("write", content_type, <Reason as serde::ser::Error>::custom("")),
        _ => unfit("write", content_type, Reason::new(cause.to_string())),
    }
}

/// Makes the error of a payload that `serde_json` could not read.
#[cold]
pub(super) fn unread<T: DeserializeOwned>(
    content_type: &ContentType,
    bytes: &[u8],
    cause: &serde_json::Error,
) -> Error {
    if cause.classify() != Category::Data {
        let hint = match bytes {
            [0xff, ..] => ": it begins as embedded headers do, which were not read",
            [0x1f, 0x8b, ..] => ": it begins as gzip does",
            _ => "",
        };
        return unfit("read", content_type, Reason::new(format!("{cause}{hint}")));
    }
    let again = serde_json::from_slice(bytes).map(|value| T::deserialize(Again(value)).err());
    let reason = again.ok().flatten().unwrap_or_else(|| Reason::new("the type does not fit"));
    unfit("read", content_type, Reason::new(format!("{reason} at line {} column {}", cause.line(), cause.column())))
}

/// JSON that is read a second time, to learn why it does not fit.
struct Again(Value);

/// Fields of an object, to be read once more.
fn again<'de>(fields: Map<String, Value>) -> MapDeserializer<'de, impl Iterator<Item = (String, Again)>, Reason> {
    MapDeserializer::new(fields.into_iter().map(|(name, value)| (name, Again(value))))
}

impl<'de> IntoDeserializer<'de, Reason> for Again {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Again {
    type Error = Reason;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::String(value) => visitor.visit_string(value),
            Value::Number(value) => match (value.as_u64(), value.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (_, Some(value)) => visitor.visit_i64(value),
                _ => visitor.visit_f64(value.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Again))),
            Value::Object(fields) => visitor.visit_map(again(fields)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Reason> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(variant.into_deserializer()),
            Value::Object(fields) => visitor.visit_enum(MapAccessDeserializer::new(again(fields))),
            _ => Err(Reason::new(format!("no variant of `{name}`"))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
