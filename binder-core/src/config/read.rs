//! A tree read into a type; what a value means is decided by the type.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::{Fault, Step};
use super::place::Mistakes;
use super::tree::{Data, Map, Node, Scalar, Style};

/// Reads a tree and notes everything that is wrong in it; what is wrong counts as not given.
///
/// `known` are keys that may stand beside those of `T` and were taken out before; they are named in suggestions.
pub(super) fn read<T: DeserializeOwned + Default>(node: &Node, known: &[&str], mistakes: &mut Mistakes) -> T {
    let mut node = node.clone().without_nulls();
    if node.is_null() {
        return T::default();
    }
    loop {
        match T::deserialize(Reader { node: &node }) {
            Ok(value) => return value,
            Err(fault) => {
                let wrong = fault.node(&node);
                mistakes.add(wrong.place.as_ref(), wrong.path.as_ref(), fault.tell(&node, known));
                if !fault.cut(&mut node) {
                    return T::default();
                }
            }
        }
    }
}

struct Reader<'n> {
    node: &'n Node,
}

impl<'n> Reader<'n> {
    fn scalar(&self, what: &str) -> Result<&'n Scalar, Fault> {
        match &self.node.data {
            Data::Scalar(scalar) => Ok(scalar),
            _ => Err(Fault::expected(what)),
        }
    }

    /// The text of what is not quoted.
    fn typed(&self, what: &str) -> Result<&'n str, Fault> {
        match self.scalar(what)? {
            scalar if scalar.style == Style::Text => Err(Fault::expected(what)),
            scalar => Ok(scalar.text.trim()),
        }
    }

    fn integer<T: TryFrom<i128>>(&self, what: &str) -> Result<T, Fault> {
        let number = integer(self.typed(what)?).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| Fault::expected(what))
    }

    fn items(&self) -> Result<Vec<Cow<'n, Node>>, Fault> {
        match &self.node.data {
            Data::List(items) => Ok(items.iter().map(Cow::Borrowed).collect()),
            Data::Scalar(scalar) if scalar.style == Style::Untyped => Ok(self.split(&scalar.text)),
            _ => Err(Fault::expected("a list")),
        }
    }

    fn split(&self, text: &str) -> Vec<Cow<'n, Node>> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let mut node = Node::scalar(part, Style::Untyped, self.node.place.clone());
                node.path = Arc::clone(&self.node.path);
                Cow::Owned(node)
            })
            .collect()
    }
}

/// Reads a whole number, also with `0x`, `0o` or `0b` before it.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    i128::from_str_radix(digits, radix).ok().map(|number| sign * number)
}

fn float(text: &str) -> Option<f64> {
    match text {
        ".inf" | "+.inf" | "inf" | "+inf" => Some(f64::INFINITY),
        "-.inf" | "-inf" => Some(f64::NEG_INFINITY),
        ".nan" | "nan" => Some(f64::NAN),
        _ if text.contains(|c: char| c.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),* $(,)?) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                let what = format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
                visitor.$visit(self.integer::<$type>(&what)?)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    integers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.data {
            Data::Null => visitor.visit_unit(),
            Data::Scalar(scalar) => visit_guessed(scalar, visitor),
            Data::List(_) => self.deserialize_seq(visitor),
            Data::Map(map) => visitor.visit_map(Entries::new(map, &[])),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let what = "`true` or `false`";
        visitor.visit_bool(boolean(self.typed(what)?).ok_or_else(|| Fault::expected(what))?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(float(self.typed("a number")?).ok_or_else(|| Fault::expected("a number"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(&self.scalar("a text")?.text)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items { items: self.items()?.into_iter().enumerate() })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.data {
            Data::Map(map) => visitor.visit_map(Entries::new(map, fields)),
            _ => Err(Fault::expected("a map of keys")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.data {
            Data::Scalar(scalar) => visitor.visit_enum(StrDeserializer::<Fault>::new(scalar.text.trim())),
            Data::Map(map) => visitor.visit_enum(MapAccessDeserializer::new(Entries::new(map, &[]))),
            _ => Err(Fault::expected("a name")),
        }
    }

    /// What a struct would ignore is an unknown key, also where its author forgot `deny_unknown_fields`.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::unknown_key(&[]))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    forward_to_deserialize_any! { bytes byte_buf unit unit_struct tuple_struct }
}

/// Reads a scalar where no type is asked for. Without quotes it is a boolean, a number or a text; that of a variable becomes a
/// number only if it is written back the same.
fn visit_guessed<'de, V: Visitor<'de>>(scalar: &Scalar, visitor: V) -> Result<V::Value, Fault> {
    let text = scalar.text.as_str();
    let lossless = scalar.style == Style::Untyped;
    if scalar.style == Style::Text {
        return visitor.visit_str(text);
    }
    if let Some(value) = boolean(text) {
        return visitor.visit_bool(value);
    }
    if let Some(number) = integer(text).filter(|number| !lossless || number.to_string() == text) {
        return match (u64::try_from(number), i64::try_from(number)) {
            (Ok(number), _) => visitor.visit_u64(number),
            (_, Ok(number)) => visitor.visit_i64(number),
            _ => visitor.visit_str(text),
        };
    }
    match float(text).filter(|number| !lossless || number.to_string() == text) {
        Some(number) => visitor.visit_f64(number),
        None => visitor.visit_str(text),
    }
}

struct Items<'n> {
    items: std::iter::Enumerate<std::vec::IntoIter<Cow<'n, Node>>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Reader { node: &item }).map(Some).map_err(|fault| fault.below(Step::Index(index)))
    }
}

struct Entries<'n> {
    entries: std::collections::btree_map::Iter<'n, String, Node>,
    current: Option<(&'n String, &'n Node)>,
    fields: &'static [&'static str],
}

impl<'n> Entries<'n> {
    fn new(map: &'n Map, fields: &'static [&'static str]) -> Self {
        Self { entries: map.iter(), current: None, fields }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        let read = seed.deserialize(key.as_str().into_deserializer());
        read.map(Some).map_err(|fault: Fault| fault.below(Step::Key(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.current else { return Err(Fault::expected("a value")) };
        let read = seed.deserialize(Reader { node });
        read.map_err(|fault| fault.known(self.fields).below(Step::Key(key.clone())))
    }
}
