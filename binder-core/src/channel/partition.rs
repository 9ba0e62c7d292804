//! Which partition a message goes to, by Spring Cloud Stream's formula over Java's hash codes.
//!
//! The rule: `h = key.hashCode()`, `abs(h) % partition count`, with 0 for the one number that has no absolute value. A Java and a Rust producer
//! agree if their keys are of the same type: `String`, `i32` (Integer), `i64` (Long), `bool`, `f64` (Double), `f32` (Float), `char`, a UUID, lists
//! of these. What Java hashes by identity (byte arrays) or not at all is refused.

use std::fmt;

use serde::ser::{self, Impossible, SerializeSeq};
use serde::{Serialize, Serializer};

use super::key_source::KeySource;
use crate::message::{HeaderValue, Headers};
use crate::{Error, ErrorKind, Result};

impl KeySource {
    /// Returns the hash code of a message's partition key; `of_payload` finds it in the payload.
    pub(super) fn hash(
        &self,
        key: Option<&[u8]>,
        headers: &Headers,
        of_payload: impl FnOnce(&[String]) -> Result<i32>,
    ) -> Result<i32> {
        match self {
            Self::Key => {
                let text = key.map(std::str::from_utf8).transpose().map_err(|_| no_hash("a key that is no text"))?;
                text.map(of_text).ok_or_else(|| missing(self))
            }
            Self::Header(name) => of_header(headers.get(name).ok_or_else(|| missing(self))?),
            Self::Payload(path) => of_payload(path),
        }
    }
}

/// Returns the partition of a hash code among `count`, at least one.
pub(crate) fn partition_of(hash: i32, count: u32) -> u32 {
    hash.checked_abs().map_or(0, i32::unsigned_abs) % count.max(1)
}

/// Returns the hash code that Java gives to what `value` is in Java.
pub(crate) fn hash_of<T: Serialize + ?Sized>(value: &T) -> Result<i32> {
    hash_at(value, &[])
}

/// Returns the hash code of a field of `value`.
pub(crate) fn hash_at<T: Serialize + ?Sized>(value: &T, path: &[String]) -> Result<i32> {
    value.serialize(At(path)).map_err(|Refused(what)| match what {
        None => missing(&KeySource::Payload(path.to_vec())),
        Some(what) => no_hash(&what),
    })
}

#[cold]
fn missing(key: &KeySource) -> Error {
    Error::new(ErrorKind::Codec, format!("the message has no partition key (`{key}`)"))
}

#[cold]
fn no_hash(what: &str) -> Error {
    let fit = "text, an integer, a number, a boolean, a UUID or a list of these";
    Error::new(ErrorKind::Codec, format!("the partition key is {what}; it must be {fit}"))
}

fn of_header(value: &HeaderValue) -> Result<i32> {
    match value {
        HeaderValue::Null => Err(no_hash("null")),
        HeaderValue::Bool(value) => Ok(of_bool(*value)),
        HeaderValue::I32(number) => Ok(*number),
        HeaderValue::I64(number) => Ok(of_long(*number)),
        HeaderValue::F64(number) => Ok(of_double(*number)),
        HeaderValue::String(text) => Ok(of_text(text)),
        HeaderValue::Bytes(_) => Err(no_hash("bytes")),
        HeaderValue::Uuid(uuid) => Ok(of_uuid(uuid.into_bytes())),
        HeaderValue::List(values) => {
            values.iter().try_fold(1_i32, |hash, value| Ok(hash.wrapping_mul(31).wrapping_add(of_header(value)?)))
        }
        HeaderValue::Map(_) => Err(no_hash("a map")),
    }
}

fn of_text(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

fn of_long(number: i64) -> i32 {
    fold(number.cast_unsigned())
}

fn fold(bits: u64) -> i32 {
    ((bits ^ bits >> 32) as u32).cast_signed()
}

fn of_bool(value: bool) -> i32 {
    if value { 1231 } else { 1237 }
}

fn of_double(number: f64) -> i32 {
    fold(if number.is_nan() { 0x7ff8_0000_0000_0000 } else { number.to_bits() })
}

fn of_float(number: f32) -> i32 {
    (if number.is_nan() { 0x7fc0_0000 } else { number.to_bits() }).cast_signed()
}

/// `java.util.UUID`: both halves, then folded.
fn of_uuid(bytes: [u8; 16]) -> i32 {
    let whole = u128::from_be_bytes(bytes);
    fold((whole >> 64) as u64 ^ whole as u64)
}

/// Why there is no hash code: nothing is there, or what has none.
#[derive(Debug)]
struct Refused(Option<String>);

impl Refused {
    fn what(what: &str) -> Self {
        Self(Some(what.to_owned()))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("nothing"))
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::what("a value that can't be written")
    }
}

/// Goes down a path of fields, and hashes what stands at its end.
///
/// Asks for the compact form, in which a UUID is 16 bytes; as text it would hash as a `String`.
#[derive(Clone, Copy)]
struct At<'a>(&'a [String]);

impl At<'_> {
    /// Returns the hash code of a value that has no fields.
    fn leaf(self, hash: impl FnOnce() -> i32) -> Result<i32, Refused> {
        if self.0.is_empty() { Ok(hash()) } else { Err(Refused(None)) }
    }
}

macro_rules! leaves {
    ($($method:ident($type:ty) = $hash:expr;)*) => {
        $(fn $method(self, value: $type) -> Result<i32, Refused> {
            self.leaf(|| ($hash)(value))
        })*
    };
}

impl<'a> Serializer for At<'a> {
    type Ok = i32;
    type Error = Refused;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Impossible<i32, Refused>;
    type SerializeMap = Fields<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<i32, Refused>;

    leaves! {
        serialize_bool(bool) = of_bool;
        serialize_i8(i8) = i32::from;
        serialize_i16(i16) = i32::from;
        serialize_i32(i32) = std::convert::identity;
        serialize_i64(i64) = of_long;
        serialize_u8(u8) = i32::from;
        serialize_u16(u16) = i32::from;
        serialize_u32(u32) = |number| of_long(i64::from(number));
        serialize_f32(f32) = of_float;
        serialize_f64(f64) = of_double;
        serialize_str(&str) = of_text;
    }

    fn serialize_u64(self, value: u64) -> Result<i32, Refused> {
        let long = i64::try_from(value).map_err(|_| Refused::what("a number above Java's `Long`"))?;
        self.serialize_i64(long)
    }

    fn serialize_char(self, value: char) -> Result<i32, Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<i32, Refused> {
        let uuid = value.try_into().map_err(|_| Refused::what("bytes"))?;
        self.leaf(|| of_uuid(uuid))
    }

    fn serialize_none(self) -> Result<i32, Refused> {
        Err(Refused(None))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<i32, Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<i32, Refused> {
        Err(Refused(None))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<i32, Refused> {
        Err(Refused(None))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<i32, Refused> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<i32, Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<i32, Refused> {
        match self.0 {
            [first, rest @ ..] if first == variant => value.serialize(At(rest)),
            [] => Err(Refused::what("an object")),
            _ => Err(Refused(None)),
        }
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements, Refused> {
        if self.0.is_empty() { Ok(Elements(1)) } else { Err(Refused(None)) }
    }

    fn serialize_tuple(self, count: usize) -> Result<Elements, Refused> {
        self.serialize_seq(Some(count))
    }

    fn serialize_tuple_struct(self, _: &'static str, count: usize) -> Result<Elements, Refused> {
        self.serialize_seq(Some(count))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        Err(Refused::what("an object"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'a>, Refused> {
        let (first, rest) = self.0.split_first().ok_or_else(|| Refused::what("an object"))?;
        Ok(Fields { first, rest, found: None, here: false })
    }

    fn serialize_struct(self, _: &'static str, count: usize) -> Result<Fields<'a>, Refused> {
        self.serialize_map(Some(count))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        Err(Refused::what("an object"))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// `java.util.List`: 31 times what was before, plus the element.
struct Elements(i32);

impl Elements {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.0 = self.0.wrapping_mul(31).wrapping_add(value.serialize(At(&[]))?);
        Ok(())
    }
}

macro_rules! elements {
    ($($trait:ident::$method:ident),*) => {
        $(impl ser::$trait for Elements {
            type Ok = i32;
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.add(value)
            }

            fn end(self) -> Result<i32, Refused> {
                Ok(self.0)
            }
        })*
    };
}

elements!(SerializeTuple::serialize_element, SerializeTupleStruct::serialize_field);

impl SerializeSeq for Elements {
    type Ok = i32;
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.add(value)
    }

    fn end(self) -> Result<i32, Refused> {
        Ok(self.0)
    }
}

/// Looks for one field of an object.
struct Fields<'a> {
    first: &'a String,
    rest: &'a [String],
    found: Option<i32>,
    here: bool,
}

impl Fields<'_> {
    fn end(self) -> Result<i32, Refused> {
        self.found.ok_or(Refused(None))
    }
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = i32;
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        if name == self.first {
            self.found = Some(value.serialize(At(self.rest))?);
        }
        Ok(())
    }

    fn end(self) -> Result<i32, Refused> {
        Self::end(self)
    }
}

impl ser::SerializeMap for Fields<'_> {
    type Ok = i32;
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Refused> {
        self.here = serde_json::to_value(name).is_ok_and(|name| name.as_str() == Some(self.first));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if std::mem::take(&mut self.here) {
            self.found = Some(value.serialize(At(self.rest))?);
        }
        Ok(())
    }

    fn end(self) -> Result<i32, Refused> {
        Self::end(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hash_codes_are_javas() {
        assert_eq!(hash_of("").expect("a hash"), 0);
        assert_eq!(hash_of("org-1").expect("a hash"), 106_007_432);
        assert_eq!(hash_of("polygenelubricants").expect("a hash"), i32::MIN);
        assert_eq!(hash_of(&-7_i32).expect("a hash"), -7);
        assert_eq!(hash_of(&-7_i64).expect("a hash"), 6);
        assert_eq!(hash_of(&true).expect("a hash"), 1231);
        assert_eq!(hash_of(&1.5_f64).expect("a hash"), 1_073_217_536);
        assert_eq!(hash_of(&1.5_f32).expect("a hash"), 1_069_547_520);
        assert_eq!(hash_of(&f64::NAN).expect("a hash"), 2_146_959_360);
        assert_eq!(hash_of(&'a').expect("a hash"), 97);
        assert_eq!(hash_of(&("a", 1)).expect("a hash"), (31 + 97) * 31 + 1);
        assert_eq!(hash_of(&Vec::<i32>::new()).expect("a hash"), 1);
        assert_eq!(hash_of(&3_u32).expect("a hash"), 3);
    }

    #[test]
    fn the_number_without_an_absolute_value_is_zero() {
        assert_eq!(partition_of(i32::MIN, 7), 0);
        assert_eq!(partition_of(-8, 7), 1);
        assert_eq!(partition_of(8, 0), 0);
    }

    proptest! {
        /// `String.hashCode` is a polynomial in 31 over UTF-16 units, `List.hashCode` the same over its elements, from 1.
        #[test]
        fn texts_and_lists_are_polynomials(texts in prop::collection::vec(any::<String>(), 0..4)) {
            let polynomial = |first: i128, terms: Vec<i128>| {
                let value = terms.iter().fold(first, |sum, term| (sum * 31 + term).rem_euclid(1 << 32));
                (value as u32).cast_signed()
            };
            let of_text = |text: &str| polynomial(0, text.encode_utf16().map(i128::from).collect());
            for text in &texts {
                prop_assert_eq!(hash_of(text).expect("a hash"), of_text(text));
            }
            let of_list = polynomial(1, texts.iter().map(|text| i128::from(of_text(text))).collect());
            prop_assert_eq!(hash_of(&texts).expect("a hash"), of_list);
        }

        /// `Long.hashCode` is the exclusive or of both halves; a partition is among those there are, and the same for a hash and its negative.
        #[test]
        fn a_number_goes_to_one_of_the_partitions(number in any::<i64>(), count in 1..10_000_u32) {
            let halves = number.cast_unsigned();
            let hash = hash_of(&number).expect("a hash");
            prop_assert_eq!(hash.cast_unsigned(), (halves >> 32) as u32 ^ halves as u32);
            let partition = partition_of(hash, count);
            prop_assert!(partition < count);
            prop_assert_eq!(partition, partition_of(hash.wrapping_neg(), count));
        }
    }

    #[derive(Serialize)]
    struct Order {
        customer: Customer,
        labels: BTreeMap<String, i64>,
        note: Option<String>,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Customer {
        home_town: &'static str,
    }

    fn order() -> Order {
        Order {
            customer: Customer { home_town: "Ulm" },
            labels: BTreeMap::from([("a.b".to_owned(), 1), ("size".to_owned(), 42)]),
            note: None,
        }
    }

    fn at(path: &str) -> Result<i32> {
        let KeySource::Payload(path) = KeySource::parse(path).expect("a path") else { panic!("a payload") };
        hash_at(&order(), &path)
    }

    #[test]
    fn a_field_is_found_by_its_name_on_the_wire() {
        assert_eq!(at("payload.customer.homeTown").expect("a hash"), of_text("Ulm"));
        assert_eq!(at("payload.labels.size").expect("a hash"), 42);
    }

    #[test]
    fn what_is_missing_or_has_no_hash_is_an_error_that_says_so() {
        for path in ["payload.note", "payload.customer.town", "payload.customer.homeTown.x", "payload.x"] {
            let error = at(path).expect_err("nothing there");
            assert!(error.message().contains(&format!("no partition key (`{path}`)")), "{error}");
        }
        assert!(at("payload").expect_err("an object").message().contains("is an object"));
        assert!(hash_of(serde_bytes_like(&[1, 2, 3])).expect_err("bytes").message().contains("is bytes"));
        assert!(hash_of(&u64::MAX).expect_err("too large").message().contains("above Java's `Long`"));
    }

    /// Serializes as bytes, as a byte buffer does.
    fn serde_bytes_like(bytes: &'static [u8]) -> &'static bytes::Bytes {
        Box::leak(Box::new(bytes::Bytes::from_static(bytes)))
    }
}
