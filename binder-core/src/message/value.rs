//! Typed header values.

use std::fmt;

use bytes::Bytes;

/// Value of a header. The types are those that both brokers carry.
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

    /// Returns the value as people read it; bytes that are no UTF-8 show as `�`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::I32(number) => number.to_string(),
            Self::I64(number) => number.to_string(),
            Self::F64(number) => number.to_string(),
            Self::String(text) => text.clone(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
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
);

impl<T: Into<HeaderValue>> From<Option<T>> for HeaderValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
