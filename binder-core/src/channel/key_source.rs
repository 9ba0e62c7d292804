//! Where a key is found in a message, as configurations say it.

use std::fmt;

/// Where the key of a message comes from: `producer.partition-key` and `consumer.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The message's key.
    Key,
    /// A header.
    Header(String),
    /// A field of the payload, or the payload itself.
    Payload(Vec<String>),
}

impl KeySource {
    /// Reads `key`, `header.<name>`, `payload` or `payload.<field>.<field>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once('.') {
            None if text == "key" => Some(Self::Key),
            None if text == "payload" => Some(Self::Payload(Vec::new())),
            Some(("header", name)) if !name.is_empty() => Some(Self::Header(name.to_owned())),
            Some(("payload", path)) if path.split('.').all(|field| !field.is_empty()) => {
                Some(Self::Payload(path.split('.').map(str::to_owned).collect()))
            }
            _ => None,
        }
    }

    /// Reads `header.<name>` or `payload.<field>.<field>`: what a received message may have instead of its record's key.
    pub(crate) fn parse_received(text: &str) -> Option<Self> {
        Self::parse(text).filter(|source| match source {
            Self::Key => false,
            Self::Header(_) => true,
            Self::Payload(path) => !path.is_empty(),
        })
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Header(name) => write!(f, "header.{name}"),
            Self::Payload(path) if path.is_empty() => f.write_str("payload"),
            Self::Payload(path) => write!(f, "payload.{}", path.join(".")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed() {
        assert_eq!(KeySource::parse("key"), Some(KeySource::Key));
        assert_eq!(KeySource::parse("header.a.b"), Some(KeySource::Header("a.b".to_owned())));
        for wrong in ["", "headers.x", "header.", "header", "payload.", "payload..x", "key.x"] {
            assert_eq!(KeySource::parse(wrong), None, "{wrong}");
        }
        for text in ["key", "header.a.b", "payload", "payload.a.b"] {
            assert_eq!(KeySource::parse(text).expect("right").to_string(), text);
        }
    }

    #[test]
    fn a_received_message_has_its_key_in_a_header_or_a_field() {
        for text in ["header.a.b", "payload.a", "payload.a.b"] {
            assert_eq!(KeySource::parse_received(text), KeySource::parse(text));
            assert!(KeySource::parse_received(text).is_some(), "{text}");
        }
        for wrong in ["key", "payload", "payload..x", ""] {
            assert_eq!(KeySource::parse_received(wrong), None, "{wrong}");
        }
    }
}
