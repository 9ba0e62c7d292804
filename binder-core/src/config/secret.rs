//! Values that nobody may read in a log.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MASK: &str = "***";

/// Parts of a key, in lower case and without punctuation, that tell a secret.
const TELLING: [&str; 10] =
    ["password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "accesskey", "privatekey", "jaas"];

/// Keys that are secret as a whole, spelt like [`TELLING`].
const SECRET_KEYS: [&str; 4] = ["pwd", "pin", "sslkeypem", "sslkeystring"];

/// A text that is printed as `***`, for passwords and tokens in the properties of a binder.
///
/// `Debug`, `Display` and `Serialize` write the mask; only [`expose`](Self::expose) gives the text away.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Creates a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself, to hand it to a client.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Returns whether what stands under a dotted path looks secret by one of its keys.
pub(super) fn is_secret_path(path: &str) -> bool {
    let plain: String = path.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if TELLING.iter().any(|part| plain.contains(part)) {
        return true;
    }
    path.split('.').any(|key| SECRET_KEYS.contains(&key.to_ascii_lowercase().as_str()))
        || SECRET_KEYS.iter().any(|key| key.len() > 3 && plain.ends_with(key))
}

/// Returns a value as it may be shown: secrets by key or by content are masked.
pub(super) fn shown<'a>(path: &str, value: &'a str) -> Cow<'a, str> {
    let lower = value.to_ascii_lowercase();
    let telling = ["password", "passwd", "secret", "token", "apikey"];
    let assigned = telling.iter().any(|word| lower.contains(&format!("{word}=")));
    if assigned || is_secret_path(path) { Cow::Borrowed(MASK) } else { mask_userinfo(value) }
}

/// Masks user and password of every address such as `amqp://user:password@host`.
///
/// An address ends at white space or a quote, its user information at the last `@`: rather too much is masked than too little.
pub(super) fn mask_userinfo(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'')) {
        match (word.find("://"), word.rfind('@')) {
            (Some(scheme), Some(at)) if scheme < at => {
                masked.push_str(&word[..scheme + 3]);
                masked.push_str(MASK);
                masked.push_str(&word[at..]);
            }
            _ => masked.push_str(word),
        }
    }
    Cow::Owned(masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_printed_as_a_mask() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap()), "*** *** \"***\"");
    }

    #[test]
    fn a_key_that_looks_secret_hides_its_value() {
        for path in
            ["a.password", "sasl.password", "a.api-key", "x.clientSecret", "x.token", "sasl.jaas.config", "a.pwd"]
        {
            assert_eq!(shown(path, "value"), MASK, "{path}");
        }
        for path in ["stream.bindings.orders.group", "x.key", "consumer.prefetch", "binders.pinguin.hosts"] {
            assert_eq!(shown(path, "value"), "value", "{path}");
        }
    }

    #[test]
    fn user_information_of_an_address_is_hidden() {
        for (given, expected) in [
            ("amqp://me:p@ss@mq:5672/v", "amqp://***@mq:5672/v"),
            ("amqp://me:pa/ss@mq", "amqp://***@mq"),
            ("see `amqp://a:b@c` and amqp://d:e@f", "see `amqp://***@c` and amqp://***@f"),
            ("amqp://mq:5672", "amqp://mq:5672"),
            ("me@example.org", "me@example.org"),
        ] {
            assert_eq!(shown("uri", given), expected, "{given}");
        }
    }

    #[test]
    fn a_value_that_assigns_a_password_is_hidden() {
        assert_eq!(shown("uri", "mq:5672?password=x"), MASK);
    }
}
