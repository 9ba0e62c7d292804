//! The methods of serde's traits by which a small format says no.
//!
//! Each calls `Self::refuse(kind)` of the type whose `impl` it stands in.

/// Methods of `serde::Serializer`, by group.
macro_rules! refuse_to_write {
    ($($group:ident)*) => { $(refuse_to_write!(@$group);)* };

    (@bool) => { refuse_to_write!(@value serialize_bool(bool), "a boolean"); };
    (@char) => { refuse_to_write!(@value serialize_char(char), "a character"); };
    (@str) => { refuse_to_write!(@value serialize_str(&str), "a string"); };
    (@bytes) => { refuse_to_write!(@value serialize_bytes(&[u8]), "bytes"); };
    (@u8) => { refuse_to_write!(@value serialize_u8(u8), "an integer"); };
    (@numbers_beside_u8) => {
        refuse_to_write!(@value serialize_i8(i8), "an integer");
        refuse_to_write!(@value serialize_i16(i16), "an integer");
        refuse_to_write!(@value serialize_i32(i32), "an integer");
        refuse_to_write!(@value serialize_i64(i64), "an integer");
        refuse_to_write!(@value serialize_i128(i128), "an integer");
        refuse_to_write!(@value serialize_u16(u16), "an integer");
        refuse_to_write!(@value serialize_u32(u32), "an integer");
        refuse_to_write!(@value serialize_u64(u64), "an integer");
        refuse_to_write!(@value serialize_u128(u128), "an integer");
        refuse_to_write!(@value serialize_f32(f32), "a floating point number");
        refuse_to_write!(@value serialize_f64(f64), "a floating point number");
    };
    (@value $method:ident($type:ty), $kind:literal) => {
        fn $method(self, _: $type) -> Result<(), Reason> {
            Err(Self::refuse($kind))
        }
    };
    (@option) => {
        fn serialize_none(self) -> Result<(), Reason> {
            Err(Self::refuse("an option"))
        }
        fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Reason> {
            Err(Self::refuse("an option"))
        }
    };
    (@unit) => {
        fn serialize_unit(self) -> Result<(), Reason> {
            Err(Self::refuse("a unit"))
        }
        fn serialize_unit_struct(self, name: &'static str) -> Result<(), Reason> {
            Err(Self::refuse(format!("the unit struct `{name}`")))
        }
    };
    (@unit_variant) => {
        fn serialize_unit_variant(self, name: &'static str, _: u32, _: &'static str) -> Result<(), Reason> {
            Err(Self::refuse(format!("the enum `{name}`")))
        }
    };
    (@newtype) => {
        fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, _: &T) -> Result<(), Reason> {
            Err(Self::refuse(format!("the newtype struct `{name}`")))
        }
    };
    (@sequences) => {
        type SerializeSeq = Impossible<(), Reason>;
        type SerializeTuple = Impossible<(), Reason>;
        fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Reason> {
            Err(Self::refuse("a sequence"))
        }
        fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Reason> {
            Err(Self::refuse("a tuple"))
        }
    };
    (@compounds) => {
        type SerializeTupleStruct = Impossible<(), Reason>;
        type SerializeTupleVariant = Impossible<(), Reason>;
        type SerializeMap = Impossible<(), Reason>;
        type SerializeStruct = Impossible<(), Reason>;
        type SerializeStructVariant = Impossible<(), Reason>;
        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self, name: &'static str, _: u32, variant: &'static str, _: &T,
        ) -> Result<(), Reason> {
            Err(Self::refuse(format!("the variant `{name}::{variant}`, which holds data")))
        }
        fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Reason> {
            Err(Self::refuse(format!("the tuple struct `{name}`")))
        }
        fn serialize_tuple_variant(
            self, name: &'static str, _: u32, variant: &'static str, _: usize,
        ) -> Result<Self::SerializeTupleVariant, Reason> {
            Err(Self::refuse(format!("the variant `{name}::{variant}`, which holds data")))
        }
        fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Reason> {
            Err(Self::refuse("a map"))
        }
        fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeStruct, Reason> {
            Err(Self::refuse(format!("the struct `{name}`")))
        }
        fn serialize_struct_variant(
            self, name: &'static str, _: u32, variant: &'static str, _: usize,
        ) -> Result<Self::SerializeStructVariant, Reason> {
            Err(Self::refuse(format!("the variant `{name}::{variant}`, which holds data")))
        }
    };
}

/// Methods of `serde::Deserializer`, by name.
macro_rules! refuse_to_read {
    ($($method:ident: $kind:literal)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Reason> {
            Err(Self::refuse($kind))
        })*
    };
    (compounds) => {
        refuse_to_read! { deserialize_unit: "a unit" deserialize_map: "a map" }
        fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, _: V) -> Result<V::Value, Reason> {
            Err(Self::refuse(format!("the unit struct `{name}`")))
        }
        fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, _: usize, _: V) -> Result<V::Value, Reason> {
            Err(Self::refuse(format!("the tuple struct `{name}`")))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self, name: &'static str, _: &'static [&'static str], _: V,
        ) -> Result<V::Value, Reason> {
            Err(Self::refuse(format!("the struct `{name}`")))
        }
    };
}

pub(super) use {refuse_to_read, refuse_to_write};
