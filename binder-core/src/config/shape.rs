//! What keys a struct of properties has, asked of the struct itself.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

/// The keys below a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A value.
    Leaf,
    /// A struct: its keys, in the order of its fields.
    Keys(Vec<(&'static str, Shape)>),
}

impl Shape {
    /// Returns the shape of a type.
    pub(super) fn of<T: DeserializeOwned>() -> Self {
        Self::below::<T>(&mut Vec::new())
    }

    fn below<T: DeserializeOwned>(path: &mut Vec<&'static str>) -> Self {
        let found = Cell::new(None);
        // It always ends in `Stop`: what counts is what it found on the way.
        let _stopped = T::deserialize(Probe { path, found: &found });
        let Some(fields) = found.get() else { return Self::Leaf };
        let keys = fields.iter().map(|field| {
            path.push(field);
            let shape = Self::below::<T>(path);
            path.pop();
            (*field, shape)
        });
        Self::Keys(keys.collect())
    }

    /// Returns the keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries().iter().map(|(key, _)| *key)
    }

    pub(super) fn entries(&self) -> &[(&'static str, Self)] {
        match self {
            Self::Leaf => &[],
            Self::Keys(keys) => keys,
        }
    }
}

#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Walks down `path` and notes the fields of the struct that it meets there.
struct Probe<'a> {
    path: &'a [&'static str],
    found: &'a Cell<Option<&'static [&'static str]>>,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if self.path.is_empty() {
            self.found.set(Some(fields));
            return Err(Stop);
        }
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Probe<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some(key) = self.path.first() else { return Err(Stop) };
        seed.deserialize(de::value::BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let path = self.path.get(1..).ok_or(Stop)?;
        seed.deserialize(Probe { path, found: self.found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BindingProperties, Provision};

    #[test]
    fn a_struct_tells_its_keys_to_the_bottom() {
        let shape = Shape::of::<BindingProperties>();
        assert_eq!(shape.keys().take(3).collect::<Vec<_>>(), ["destination", "group", "binder"]);
        let (_, consumer) = shape.entries().iter().find(|(key, _)| *key == "consumer").unwrap();
        let (_, backoff) = consumer.entries().iter().find(|(key, _)| *key == "backoff").unwrap();
        assert_eq!(backoff.keys().collect::<Vec<_>>(), ["initial", "multiplier", "max", "jitter"]);
        assert_eq!(backoff.entries()[0].1, Shape::Leaf);
    }

    #[test]
    fn a_value_has_no_keys() {
        assert_eq!(Shape::of::<String>(), Shape::Leaf);
        assert_eq!(Shape::of::<Option<Provision>>(), Shape::Leaf);
    }
}
