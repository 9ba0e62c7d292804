//! Why a payload and a format do not fit, told without the payload.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Expected, Unexpected};
use serde::{de, ser};

/// An error of serde that keeps what a type and a format say of themselves, and never a value.
///
/// Serde's own messages quote what they met (`invalid type: string "4111…"`), and what a type says by `custom` may hold anything.
#[derive(Debug)]
pub(super) struct Reason(Cow<'static, str>);

impl Reason {
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Reason {}

impl ser::Error for Reason {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::new("the type's `Serialize` refused the value")
    }
}

impl de::Error for Reason {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::new("the type's `Deserialize` refused the value")
    }

    fn invalid_type(met: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{} where {expected} was expected", kind(met)))
    }

    fn invalid_value(met: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{} of a wrong value where {expected} was expected", kind(met)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("length {length} where {expected} was expected"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown variant; there are {}", list(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate field `{field}`"))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown field; there are {}", list(expected)))
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn kind(met: Unexpected<'_>) -> &'static str {
    match met {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a floating point number",
        Unexpected::Char(_) => "a character",
        Unexpected::Str(_) => "a string",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit => "null",
        Unexpected::Option => "an option",
        Unexpected::NewtypeStruct => "a newtype struct",
        Unexpected::Seq => "a sequence",
        Unexpected::Map => "a map",
        Unexpected::Enum => "an enum",
        Unexpected::UnitVariant => "a unit variant",
        Unexpected::NewtypeVariant => "a newtype variant",
        Unexpected::TupleVariant => "a tuple variant",
        Unexpected::StructVariant => "a struct variant",
        Unexpected::Other(_) => "something else",
    }
}
