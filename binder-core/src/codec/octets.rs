//! `application/octet-stream` as a serde format: bytes, a string, a sequence of `u8`, or a newtype struct of these, as they are.

use std::fmt::Display;

use serde::de::value::SeqDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::ser::{Impossible, Serialize, SerializeSeq, SerializeTuple, Serializer};

use super::reason::Reason;
use super::refuse::{refuse_to_read, refuse_to_write};

/// Appends `value` as bytes.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Reason> {
    value.serialize(Writer(out))
}

/// Reads a value from bytes.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Reason> {
    T::deserialize(Reader(bytes))
}

fn refuse(kind: impl Display) -> Reason {
    Reason::new(format!("bytes are bytes, a string or a sequence of `u8`, not {kind}"))
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn refuse(kind: impl Display) -> Reason {
        refuse(kind)
    }
}

impl Serializer for Writer<'_> {
    type Ok = ();
    type Error = Reason;
    type SerializeSeq = Self;
    type SerializeTuple = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Reason> {
        self.0.extend_from_slice(value);
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Reason> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Reason> {
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Reason> {
        self.0.reserve(length.unwrap_or(0));
        Ok(self)
    }

    fn serialize_tuple(self, length: usize) -> Result<Self, Reason> {
        self.serialize_seq(Some(length))
    }

    refuse_to_write! { bool char u8 numbers_beside_u8 option unit unit_variant compounds }
}

impl SerializeSeq for Writer<'_> {
    type Ok = ();
    type Error = Reason;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Reason> {
        value.serialize(Element(self.0))
    }

    fn end(self) -> Result<(), Reason> {
        Ok(())
    }
}

impl SerializeTuple for Writer<'_> {
    type Ok = ();
    type Error = Reason;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Reason> {
        value.serialize(Element(self.0))
    }

    fn end(self) -> Result<(), Reason> {
        Ok(())
    }
}

/// One item of a sequence.
struct Element<'a>(&'a mut Vec<u8>);

impl Element<'_> {
    fn refuse(kind: impl Display) -> Reason {
        refuse(format_args!("a sequence with {kind} in it that is no `u8`"))
    }
}

impl Serializer for Element<'_> {
    type Ok = ();
    type Error = Reason;

    fn serialize_u8(self, value: u8) -> Result<(), Reason> {
        self.0.push(value);
        Ok(())
    }

    refuse_to_write! { bool char str bytes numbers_beside_u8 option unit unit_variant newtype sequences compounds }
}

struct Reader<'de>(&'de [u8]);

impl<'de> Reader<'de> {
    fn refuse(kind: impl Display) -> Reason {
        refuse(kind)
    }

    fn text(&self) -> Result<&'de str, Reason> {
        std::str::from_utf8(self.0).map_err(|cause| Reason::new(cause.to_string()))
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Reason;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_seq(SeqDeserializer::new(self.0.iter().copied()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Reason> {
        if self.0.len() != length {
            return Err(Reason::invalid_length(self.0.len(), &format!("length {length}").as_str()));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Reason> {
        Err(Self::refuse(format!("the enum `{name}`")))
    }

    refuse_to_read! {
        deserialize_bool: "a boolean" deserialize_char: "a character" deserialize_option: "an option"
        deserialize_i8: "an integer" deserialize_i16: "an integer" deserialize_i32: "an integer"
        deserialize_i64: "an integer" deserialize_i128: "an integer"
        deserialize_u8: "an integer" deserialize_u16: "an integer" deserialize_u32: "an integer"
        deserialize_u64: "an integer" deserialize_u128: "an integer"
        deserialize_f32: "a floating point number" deserialize_f64: "a floating point number"
        deserialize_identifier: "an identifier"
    }
    refuse_to_read! { compounds }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Blob(Bytes);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Items(Vec<u8>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Line(String);

    #[derive(Debug, Serialize, Deserialize)]
    enum Action {
        Created,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Pair {
        left: u8,
    }

    fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, bytes: &[u8]) {
        let mut out = b"before ".to_vec();
        write(&value, &mut out).unwrap();
        assert_eq!(out, [b"before ", bytes].concat());
        assert_eq!(read::<T>(bytes).unwrap(), value);
    }

    fn unwritten(value: impl Serialize) -> String {
        write(&value, &mut Vec::new()).unwrap_err().to_string()
    }

    fn unread<T: DeserializeOwned + std::fmt::Debug>(bytes: &[u8]) -> String {
        read::<T>(bytes).unwrap_err().to_string()
    }

    #[test]
    fn bytes_strings_and_sequences_are_themselves() {
        survives(Blob(Bytes::from_static(b"\xff\x00")), b"\xff\x00");
        survives(Items(vec![0xff, 0]), b"\xff\x00");
        survives(Line("ä".to_owned()), "ä".as_bytes());
        survives([1_u8, 2, 3], b"\x01\x02\x03");
    }

    #[test]
    fn an_array_needs_its_length() {
        assert_eq!(unread::<[u8; 4]>(b"abc"), "length 3 where length 4 was expected");
        assert_eq!(unread::<[u8; 2]>(b"abc"), "length 3 where length 2 was expected");
    }

    #[test]
    fn types_that_have_a_binary_form_use_it() {
        #[derive(Debug)]
        struct Form(bool);
        impl<'de> Deserialize<'de> for Form {
            fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
                Ok(Self(reader.is_human_readable()))
            }
        }
        assert!(!read::<Form>(b"").unwrap().0);
    }

    #[test]
    fn what_is_ignored_is_not_read() {
        read::<serde::de::IgnoredAny>(b"7").unwrap();
    }

    #[test]
    fn a_string_needs_utf8() {
        assert!(unread::<Line>(b"\xff").contains("from index 0"));
    }

    #[test]
    fn other_kinds_are_refused_by_name() {
        assert_eq!(
            unwritten(Pair { left: 1 }),
            "bytes are bytes, a string or a sequence of `u8`, not the struct `Pair`"
        );
        assert!(unwritten(7_u8).ends_with("not an integer"));
        assert!(unwritten(Some(Line(String::new()))).ends_with("not an option"));
        assert!(unwritten(Action::Created).ends_with("not the enum `Action`"));
        assert!(unwritten([7_u16].as_slice()).ends_with("not a sequence with an integer in it that is no `u8`"));
        assert!(unread::<Pair>(b"1").ends_with("not the struct `Pair`"));
        assert!(unread::<u8>(b"1").ends_with("not an integer"));
        assert!(unread::<Option<Line>>(b"1").ends_with("not an option"));
        assert!(unread::<Action>(b"1").ends_with("not the enum `Action`"));
    }
}
