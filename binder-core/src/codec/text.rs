//! `text/plain` as a serde format: one string, character, number, boolean or unit variant, as it is displayed.
//!
//! `None` is the empty text, and the empty text is read as `None` where an `Option` is asked for.

use std::fmt::Display;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::ser::{Impossible, Serialize, Serializer};

use super::reason::Reason;
use super::refuse::{refuse_to_read, refuse_to_write};

/// Appends `value` as text.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Reason> {
    value.serialize(Writer(out))
}

/// Reads a value from text.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Reason> {
    T::deserialize(Reader(text))
}

fn refuse(kind: impl Display) -> Reason {
    Reason::new(format!("a text is one string, character, number, boolean or enum variant without data, not {kind}"))
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn refuse(kind: impl Display) -> Reason {
        refuse(kind)
    }

    fn display(self, value: impl Display) -> Result<(), Reason> {
        use std::io::Write;
        write!(self.0, "{value}").map_err(|_| Reason::new("the value's `Display` failed"))
    }
}

macro_rules! display {
    ($($method:ident $type:ident)*) => {
        $(fn $method(self, value: $type) -> Result<(), Reason> {
            self.display(value)
        })*
    };
}

impl Serializer for Writer<'_> {
    type Ok = ();
    type Error = Reason;

    display! {
        serialize_bool bool serialize_char char serialize_f32 f32 serialize_f64 f64
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
    }

    fn serialize_str(self, value: &str) -> Result<(), Reason> {
        self.0.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Reason> {
        self.display(value)
    }

    fn serialize_none(self) -> Result<(), Reason> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Reason> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Reason> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Reason> {
        self.serialize_str(variant)
    }

    refuse_to_write! { bytes unit sequences compounds }
}

struct Reader<'de>(&'de str);

impl Reader<'_> {
    fn refuse(kind: impl Display) -> Reason {
        refuse(kind)
    }
}

macro_rules! parse {
    ($($method:ident $visit:ident $type:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
            let value: $type = self.0.parse().map_err(|_| Reason::new(concat!("the text is no `", stringify!($type), "`")))?;
            visitor.$visit(value)
        })*
    };
}

macro_rules! string {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
            visitor.visit_borrowed_str(self.0)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Reason;

    string! { deserialize_any deserialize_str deserialize_string deserialize_identifier }

    parse! {
        deserialize_bool visit_bool bool
        deserialize_char visit_char char
        deserialize_f32 visit_f32 f32
        deserialize_f64 visit_f64 f64
        deserialize_i8 visit_i8 i8
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_i128 visit_i128 i128
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
        deserialize_u128 visit_u128 u128
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Reason> {
        visitor.visit_enum(BorrowedStrDeserializer::new(self.0))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Reason> {
        visitor.visit_unit()
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Reason> {
        Err(Self::refuse("a tuple"))
    }

    refuse_to_read! { deserialize_bytes: "bytes" deserialize_byte_buf: "bytes" deserialize_seq: "a sequence" }
    refuse_to_read! { compounds }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Id(u64);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    enum Action {
        Created,
        Moved { from: u8 },
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Pair {
        left: u8,
    }

    fn written(value: impl Serialize) -> String {
        let mut out = Vec::new();
        write(&value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn unwritten(value: impl Serialize) -> String {
        write(&value, &mut Vec::new()).unwrap_err().to_string()
    }

    fn unread<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
        read::<T>(text).unwrap_err().to_string()
    }

    fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, text: &str) {
        assert_eq!(written(&value), text);
        assert_eq!(read::<T>(text).unwrap(), value);
    }

    #[test]
    fn strings_and_characters_are_themselves() {
        survives("ä b".to_owned(), "ä b");
        survives('ä', "ä");
    }

    #[test]
    fn numbers_and_booleans_are_displayed_and_parsed() {
        survives(-7_i8, "-7");
        survives(u64::MAX, "18446744073709551615");
        survives(i128::MIN, "-170141183460469231731687303715884105728");
        survives(1.5_f64, "1.5");
        survives(true, "true");
    }

    #[test]
    fn none_is_the_empty_text() {
        survives(None::<u8>, "");
        survives(Some(7_u8), "7");
    }

    #[test]
    fn a_newtype_is_what_it_holds() {
        survives(Id(7), "7");
    }

    #[test]
    fn a_unit_variant_is_its_name() {
        survives(Action::Created, "CREATED");
    }

    #[test]
    fn what_is_displayed_needs_no_copy() {
        assert_eq!(written(std::net::Ipv4Addr::LOCALHOST), "127.0.0.1");
        assert_eq!(read::<std::net::Ipv4Addr>("127.0.0.1").unwrap(), std::net::Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn an_untyped_value_is_a_string() {
        assert_eq!(read::<serde_json::Value>("7").unwrap(), serde_json::Value::from("7"));
    }

    #[test]
    fn what_is_ignored_is_not_read() {
        read::<serde::de::IgnoredAny>("7").unwrap();
    }

    #[test]
    fn other_kinds_are_refused_by_name() {
        assert_eq!(
            unwritten(Pair { left: 1 }),
            "a text is one string, character, number, boolean or enum variant without data, not the struct `Pair`"
        );
        assert!(unwritten(Action::Moved { from: 1 }).ends_with("not the variant `Action::MOVED`, which holds data"));
        assert!(unwritten(BTreeMap::from([(1, 2)])).ends_with("not a map"));
        assert!(unwritten([1_u8].as_slice()).ends_with("not a sequence"));
        assert!(unwritten((1, 2)).ends_with("not a tuple"));
        assert!(unwritten(()).ends_with("not a unit"));
        assert!(unread::<Pair>("1").ends_with("not the struct `Pair`"));
        assert!(unread::<BTreeMap<u8, u8>>("1").ends_with("not a map"));
        assert!(unread::<Vec<u8>>("1").ends_with("not a sequence"));
        assert!(unread::<(u8, u8)>("1").ends_with("not a tuple"));
    }

    #[test]
    fn text_that_does_not_parse_names_the_type() {
        assert_eq!(unread::<i32>("seven"), "the text is no `i32`");
        assert_eq!(unread::<bool>("TRUE"), "the text is no `bool`");
        assert_eq!(unread::<char>("ab"), "the text is no `char`");
    }

    #[test]
    fn an_unknown_variant_names_the_known_ones() {
        assert_eq!(unread::<Action>("GONE"), "unknown variant; there are `CREATED`, `MOVED`");
        assert!(unread::<Action>("MOVED").starts_with("a unit variant where"));
    }

    #[test]
    fn text_needs_utf8() {}
}
