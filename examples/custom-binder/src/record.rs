//! A message as a line of JSON.

use std::collections::BTreeMap;

use binder_core::binder::Outgoing;
use binder_core::message::{HeaderValue, Headers};
use binder_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A message in a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) payload: Option<Bytes>,
    pub(crate) key: Option<Bytes>,
    pub(crate) content_type: String,
    headers: Vec<(String, Value)>,
}

/// A header's value with its type.
#[derive(Debug, Serialize, Deserialize)]
enum Value {
    Null,
    Bool(bool),
    I32(i32),
    I64(i64),
    F64(f64),
    String(String),
    Bytes(Bytes),
    Uuid(Uuid),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Record {
    pub(crate) fn of(message: &Outgoing<'_>, with_headers: bool) -> Self {
        let headers = if with_headers { message.headers.clone() } else { Headers::new() };
        Self::new(message.payload, message.key, message.content_type.as_str(), &headers)
    }

    pub(crate) fn new(payload: Option<&[u8]>, key: Option<&[u8]>, content_type: &str, headers: &Headers) -> Self {
        Self {
            payload: payload.map(Bytes::copy_from_slice),
            key: key.map(Bytes::copy_from_slice),
            content_type: content_type.to_owned(),
            headers: headers.iter().map(|(name, value)| (name.to_owned(), written(value))).collect(),
        }
    }

    /// Appends the line.
    pub(crate) fn write(&self, lines: &mut Vec<u8>) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|cause| Error::new(ErrorKind::Refused, "the message can't be written as JSON").with_source(cause));
        lines.extend(text?);
        lines.push(b'\n');
        Ok(())
    }

    pub(crate) fn read(line: &[u8]) -> Result<Self> {
        serde_json::from_slice(line).map_err(|cause| {
            Error::new(ErrorKind::Unexpected, "the file has a line that is no message").with_source(cause)
        })
    }

    pub(crate) fn headers(&self) -> Headers {
        self.headers.iter().map(|(name, value)| (name.clone(), read(value))).collect()
    }
}

fn written(value: &HeaderValue) -> Value {
    match value {
        HeaderValue::Null => Value::Null,
        HeaderValue::Bool(value) => Value::Bool(*value),
        HeaderValue::I32(number) => Value::I32(*number),
        HeaderValue::I64(number) => Value::I64(*number),
        HeaderValue::F64(number) => Value::F64(*number),
        HeaderValue::Bytes(bytes) => Value::Bytes(bytes.clone()),
        HeaderValue::Uuid(uuid) => Value::Uuid(*uuid),
        HeaderValue::List(values) => Value::List(values.iter().map(written).collect()),
        HeaderValue::Map(values) => {
            Value::Map(values.iter().map(|(name, value)| (name.clone(), written(value))).collect())
        }
        other => Value::String(other.to_text()),
    }
}

fn read(value: &Value) -> HeaderValue {
    match value {
        Value::Null => HeaderValue::Null,
        Value::Bool(value) => HeaderValue::Bool(*value),
        Value::I32(number) => HeaderValue::I32(*number),
        Value::I64(number) => HeaderValue::I64(*number),
        Value::F64(number) => HeaderValue::F64(*number),
        Value::String(text) => HeaderValue::String(text.clone()),
        Value::Bytes(bytes) => HeaderValue::Bytes(bytes.clone()),
        Value::Uuid(uuid) => HeaderValue::Uuid(*uuid),
        Value::List(values) => values.iter().map(read).collect(),
        Value::Map(values) => {
            HeaderValue::Map(values.iter().map(|(name, value)| (name.clone(), read(value))).collect())
        }
    }
}
