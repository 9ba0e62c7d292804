//! Durations as people write them: `500ms`, `2s`, `30 min`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// Parses a duration such as `500ms`, `2s`, `1m 30s`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|cause| format!("`{text}` is not a duration such as `500ms` or `2s`: {cause}"))
}

pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*value))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(de::Error::custom)
}
