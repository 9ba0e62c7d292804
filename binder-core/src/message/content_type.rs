//! MIME types, cheap to clone and to compare.

use std::fmt;
use std::sync::Arc;

/// MIME type of a payload. The usual ones are a number inside, so that a message carries one for free.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ContentType(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Json,
    Text,
    Bytes,
    Other(Arc<str>),
}

impl ContentType {
    /// `application/json`
    pub const JSON: Self = Self(Repr::Json);
    /// `text/plain`
    pub const TEXT: Self = Self(Repr::Text);
    /// `application/octet-stream`
    pub const BYTES: Self = Self(Repr::Bytes);

    /// Reads a content type as it stands on the wire. Blanks around it and the JSON quotes of older Spring versions are dropped.
    pub fn parse(text: &str) -> Self {
        match text.trim().trim_matches('"') {
            "application/json" => Self::JSON,
            "text/plain" => Self::TEXT,
            "application/octet-stream" => Self::BYTES,
            other => Self(Repr::Other(other.into())),
        }
    }

    /// Reads a content type from header bytes; bytes that are no UTF-8 are a type that no codec knows.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        if bytes == b"application/json" {
            return Self::JSON;
        }
        Self::parse(&String::from_utf8_lossy(bytes))
    }

    /// Returns the whole text, parameters included.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Json => "application/json",
            Repr::Text => "text/plain",
            Repr::Bytes => "application/octet-stream",
            Repr::Other(text) => text,
        }
    }

    /// Returns type and subtype without parameters.
    pub fn essence(&self) -> &str {
        let text = self.as_str();
        text.split_once(';').map_or(text, |(essence, _)| essence.trim_end())
    }

    /// Returns a parameter, without its quotes; names are compared without regard to case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.as_str().split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let (_, value) = parameters.find(|(known, _)| known.trim().eq_ignore_ascii_case(name))?;
        Some(value.trim().trim_matches('"'))
    }

    /// Returns whether there may be parameters. Costs nothing for the usual types.
    pub(crate) fn has_parameters(&self) -> bool {
        matches!(&self.0, Repr::Other(text) if text.contains(';'))
    }

    /// Returns whether such a payload is JSON: `application/json`, or a type that ends with `+json`.
    pub(crate) fn is_json(&self) -> bool {
        self.0 == Repr::Json
            || matches!(self.essence(), essence if essence == "application/json" || essence.ends_with("+json"))
    }
}

impl fmt::Debug for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&str> for ContentType {
    fn from(text: &str) -> Self {
        Self::parse(text)
    }
}
