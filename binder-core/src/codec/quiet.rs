//! Reading with an error that holds nothing of the payload.
//!
//! What a type says when it refuses a value goes through the error of the format that is read, and most of those make a text of it, with the value
//! in it. Here the type says a [`Reason`], which is kept aside while the format only hears that something is wrong. An error of the format itself
//! waits in the same way while the type hears of it.

use std::cell::RefCell;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, Expected, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::reason::Reason;

/// Reads a value; `tell` says what an error of the format means, without the payload.
pub(super) fn read<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    format: D,
    tell: impl FnOnce(&D::Error) -> Reason,
) -> Result<T, Reason> {
    let (heard, error) = (RefCell::new(None), RefCell::new(None));
    T::deserialize(Quiet { inner: format, heard: &heard, error: &error }).map_err(|reason| {
        match (heard.take(), error.take()) {
            // what the format says then is only that the type has said something
            (Some(reason), _) => reason,
            (None, Some(error)) => tell(&error),
            (None, None) => reason,
        }
    })
}

/// A part of a format, which speaks to a type: its errors wait aside.
struct Quiet<'a, T, E> {
    inner: T,
    /// What the type has said.
    heard: &'a RefCell<Option<Reason>>,
    /// What the format has said.
    error: &'a RefCell<Option<E>>,
}

impl<T, E> Quiet<'_, T, E> {
    /// Keeps what the format says, and returns what the type hears.
    #[cold]
    fn aside(error: &RefCell<Option<E>>, said: E) -> Reason {
        error.replace(Some(said));
        Reason::new("the format refused it")
    }
}

/// A part of a type, which speaks to a format.
struct Listening<'a, T> {
    inner: T,
    heard: &'a RefCell<Option<Reason>>,
}

impl<T> Listening<'_, T> {
    /// Keeps what the type says, and returns what the format hears.
    #[cold]
    fn aside<E: Error>(heard: &RefCell<Option<Reason>>, reason: Reason) -> E {
        heard.replace(Some(reason));
        E::custom("")
    }

    /// Hands a part of the format to the type.
    fn hand<P, R, E: Error>(
        heard: &RefCell<Option<Reason>>,
        part: P,
        to: impl FnOnce(Quiet<'_, P, E>) -> Result<R, Reason>,
    ) -> Result<R, E> {
        let error = RefCell::new(None);
        let result = to(Quiet { inner: part, heard, error: &error });
        result.map_err(|reason| error.take().unwrap_or_else(|| Self::aside(heard, reason)))
    }
}

macro_rules! ask {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self $(, $name: $type)*, visitor: V) -> Result<V::Value, Reason> {
            let Self { inner, heard, error } = self;
            inner.$method($($name,)* Listening { inner: visitor, heard }).map_err(|said| Self::aside(error, said))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Quiet<'_, D, D::Error> {
    type Error = Reason;

    ask! {
        deserialize_any() deserialize_bool() deserialize_char() deserialize_str() deserialize_string()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_bytes() deserialize_byte_buf() deserialize_option()
        deserialize_unit() deserialize_seq() deserialize_map() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident $type:ty;)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value).map_err(|reason| Self::aside(self.heard, reason))
        })*
    };
}

macro_rules! visit_part {
    ($($method:ident $part:ident;)*) => {
        $(fn $method<P: $part<'de>>(self, part: P) -> Result<V::Value, P::Error> {
            Self::hand(self.heard, part, |part| self.inner.$method(part))
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Listening<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Expected::fmt(&self.inner, f)
    }

    visit! {
        visit_bool bool; visit_char char; visit_str &str; visit_borrowed_str &'de str; visit_string String;
        visit_i8 i8; visit_i16 i16; visit_i32 i32; visit_i64 i64; visit_i128 i128;
        visit_u8 u8; visit_u16 u16; visit_u32 u32; visit_u64 u64; visit_u128 u128; visit_f32 f32; visit_f64 f64;
        visit_bytes &[u8]; visit_borrowed_bytes &'de [u8]; visit_byte_buf Vec<u8>;
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none().map_err(|reason| Self::aside(self.heard, reason))
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit().map_err(|reason| Self::aside(self.heard, reason))
    }

    visit_part! {
        visit_some Deserializer; visit_newtype_struct Deserializer; visit_seq SeqAccess; visit_map MapAccess; visit_enum EnumAccess;
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Listening<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, format: D) -> Result<S::Value, D::Error> {
        Self::hand(self.heard, format, |format| self.inner.deserialize(format))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Quiet<'_, A, A::Error> {
    type Error = Reason;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Reason> {
        let seed = Listening { inner: seed, heard: self.heard };
        self.inner.next_element_seed(seed).map_err(|said| Self::aside(self.error, said))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Quiet<'_, A, A::Error> {
    type Error = Reason;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Reason> {
        let seed = Listening { inner: seed, heard: self.heard };
        self.inner.next_key_seed(seed).map_err(|said| Self::aside(self.error, said))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Reason> {
        let seed = Listening { inner: seed, heard: self.heard };
        self.inner.next_value_seed(seed).map_err(|said| Self::aside(self.error, said))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Quiet<'a, A, A::Error> {
    type Error = Reason;
    type Variant = Quiet<'a, A::Variant, A::Error>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), Reason> {
        let Self { inner, heard, error } = self;
        match inner.variant_seed(Listening { inner: seed, heard }) {
            Ok((value, variant)) => Ok((value, Quiet { inner: variant, heard, error })),
            Err(said) => Err(Self::aside(error, said)),
        }
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Quiet<'_, A, A::Error> {
    type Error = Reason;

    fn unit_variant(self) -> Result<(), Reason> {
        self.inner.unit_variant().map_err(|said| Self::aside(self.error, said))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Reason> {
        let seed = Listening { inner: seed, heard: self.heard };
        self.inner.newtype_variant_seed(seed).map_err(|said| Self::aside(self.error, said))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Reason> {
        let visitor = Listening { inner: visitor, heard: self.heard };
        self.inner.tuple_variant(length, visitor).map_err(|said| Self::aside(self.error, said))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Reason> {
        let visitor = Listening { inner: visitor, heard: self.heard };
        self.inner.struct_variant(fields, visitor).map_err(|said| Self::aside(self.error, said))
    }
}
