//! Ids as they stand in paths.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An id of 1 to 100 ASCII letters, digits, `-`, `_` and `.`; other characters are refused where the request is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Id(String);

impl Id {
    const LONGEST: usize = 100;

    /// Makes a new random id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=Self::LONGEST).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if fits && plain { Ok(Self(text)) } else { Err("an id has 1 to 100 letters, digits, `-`, `_` or `.`") }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_are_refused() {
        for odd in ["", "a b", "a/b", "ä", "x\u{0}", "%", &"x".repeat(101)] {
            assert!(Id::try_from(odd.to_owned()).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn uuids_and_the_originals_ids_are_taken() {
        for id in ["e6a625cc-718b-48c2-ac76-1dfdff9a531e", "t9876f8c-c338-4abc-zf6a-ttt1"] {
            assert_eq!(Id::try_from(id.to_owned()).unwrap().as_str(), id);
        }
    }
}
