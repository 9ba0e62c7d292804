//! One field of a JSON payload, found without reading the rest into values.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Returns what stands at the end of a path of fields, if it can be a key: a text as it is, a number or boolean as JSON writes it. Of a name
/// that an object has twice the last one counts. There is none in bytes that are no JSON, nor below 127 objects.
pub(crate) fn key_at<'a>(json: &'a [u8], path: &[String]) -> Option<Cow<'a, [u8]>> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let found = Below(path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(match found? {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

/// Goes down a path, and takes what stands at its end.
struct Below<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Below<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        match self.0.split_first() {
            None => reader.deserialize_any(Scalar),
            Some((first, rest)) => reader.deserialize_any(Object { first, rest }),
        }
    }
}

/// Takes a scalar as text; what is none is no key.
struct Scalar;

macro_rules! as_text {
    ($($method:ident($type:ty)),*) => {
        $(fn $method<E>(self, value: $type) -> Result<Self::Value, E> {
            Ok(Some(Cow::Owned(Value::from(value).to_string())))
        })*
    };
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    as_text!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// An object is no key. But an application may build `serde_json` so that it hands out numbers as maps, which only a value understands.
    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        let value = Value::deserialize(MapAccessDeserializer::new(fields))?;
        Ok(value.is_number().then(|| Cow::Owned(value.to_string())))
    }
}

/// Looks for a field; what is no object has none.
struct Object<'p> {
    first: &'p str,
    rest: &'p [String],
}

macro_rules! no_object {
    ($($method:ident($type:ty)),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok(None)
        })*
    };
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = fields.next_key_seed(Named(self.first))? {
            if is_it {
                found = fields.next_value_seed(Below(self.rest))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    no_object!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
}

/// Returns whether a field has this name.
struct Named<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Named<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    fn at(json: &str, way: &str) -> Option<String> {
        key_at(json.as_bytes(), &path(way)).map(|key| String::from_utf8(key.into_owned()).expect("text"))
    }

    fn assert_at(json: &str, way: &str, key: &str) {
        assert_eq!(at(json, way).as_deref(), Some(key), "{way} of {json}");
    }

    #[test]
    fn a_field_is_found_at_every_depth() {
        assert_at(r#"{"id":"a"}"#, "id", "a");
        assert_at(r#" { "x" : [1], "org" : { "y" : {} , "id" : "a" , "z" : 1 } , "id" : "b" } "#, "org.id", "a");
        assert_at(r#"{"a":{"b":{"c":{"d":"deep"}}}}"#, "a.b.c.d", "deep");
    }

    #[test]
    fn names_and_texts_are_what_their_escapes_mean() {
        assert_at(r#"{"i\u0064":"a\n\"\u00e9\ud83d\ude00\\"}"#, "id", "a\n\"é😀\\");
        assert_at(r#"{"žluť":{"日":"本"}}"#, "žluť.日", "本");
        assert_at(r#"{"id":""}"#, "id", "");
        assert_at(r#"{"id":"\\"}"#, "id", "\\");
        assert_eq!(at(r#"{"id":"\ud83d"}"#, "id"), None, "half a character");
    }

    #[test]
    fn numbers_and_booleans_are_their_text() {
        for text in ["0", "7", "-7", "9223372036854775807", "18446744073709551615", "1.5", "-0.25", "true", "false"] {
            assert_at(&format!(r#"{{"id": {text} }}"#), "id", text);
        }
        for (text, key) in [("1.50", "1.5"), ("1e3", "1000.0"), ("-0", "-0.0"), ("1.0", "1.0")] {
            assert_at(&format!(r#"{{"id":{text}}}"#), "id", key);
        }
        // beyond 64 bits a number is a float
        assert_at(r#"{"id":18446744073709551616}"#, "id", "1.8446744073709552e+19");
        assert_at(r#"{"id":"7"}"#, "id", "7");
    }

    #[test]
    fn what_is_no_scalar_or_not_there_is_no_key() {
        for json in [
            r#"{"id":null}"#,
            r#"{"id":{}}"#,
            r#"{"id":{"id":"a"}}"#,
            r#"{"id":[]}"#,
            r#"{"id":["a"]}"#,
            r#"{"ID":"a"}"#,
            r#"{"x":{"id":"a"}}"#,
            r#"[{"id":"a"}]"#,
            "{}",
            "[]",
            "null",
            "true",
            "7",
            "-7",
            "1.5",
            r#""id""#,
        ] {
            assert_eq!(at(json, "id"), None, "{json}");
        }
        for json in
            [r#"{"a":"x"}"#, r#"{"a":1}"#, r#"{"a":[{"b":1}]}"#, r#"{"a":null}"#, r#"{"a":true}"#, r#"{"a.b":"x"}"#]
        {
            assert_eq!(at(json, "a.b"), None, "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_no_key() {
        for json in [
            "",
            " ",
            "id",
            r#"{"id":"a""#,
            r#"{"id":"a"}x"#,
            r#"{"id":"a"}{}"#,
            r#"{"id":"a",}"#,
            r#"{"id":"a","x":nil}"#,
            r#"{"id":"a","x":[1,}"#,
            r#"{"id":07}"#,
            r#"{"id":-}"#,
            r#"{"id":tru}"#,
            r#"{"id":"\x"}"#,
            "{\"id\":\"a\nb\"}",
            r#"{id:"a"}"#,
        ] {
            assert_eq!(at(json, "id"), None, "{json}");
        }
        assert_eq!(key_at(b"{\"id\":\"\xff\"}", &path("id")), None);
        assert_eq!(key_at(b"\xff\xfe", &path("id")), None);
    }

    #[test]
    fn of_a_name_that_is_there_twice_the_last_counts() {
        assert_at(r#"{"id":"a","id":"b"}"#, "id", "b");
        assert_eq!(at(r#"{"id":"a","id":null}"#, "id"), None);
        assert_at(r#"{"o":{"id":"a"},"o":{"id":"b","x":1}}"#, "o.id", "b");
        assert_eq!(at(r#"{"o":{"id":"a"},"o":{}}"#, "o.id"), None);
        for earlier in [r#""x""#, "1", "-1", "1.5", "true", "null", r#"["x",1]"#, "{}"] {
            assert_at(&format!(r#"{{"o":{earlier},"o":{{"id":"a"}}}}"#), "o.id", "a");
        }
    }

    #[test]
    fn arrays_and_objects_on_the_way_are_skipped_however_deep() {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        assert_at(&format!(r#"{{"x":{open}{close},"id":"a"}}"#), "id", "a");
        assert_at(&format!(r#"{{"o":{open}{close},"o":{{"id":"a"}}}}"#), "o.id", "a");
        let open = r#"{"id":"#.repeat(100_000);
        assert_at(&format!(r#"{{"x":{open}1{},"id":"a"}}"#, "}".repeat(100_000)), "id", "a");
        let numbers = vec!["1"; 100_000].join(",");
        assert_at(&format!(r#"{{"x":[{numbers}],"id":"a","y":[{numbers}]}}"#), "id", "a");
        assert_eq!(at(&format!("[{numbers}]"), "id"), None);
    }

    #[test]
    fn a_path_is_followed_through_127_objects_and_no_further() {
        let nested = |depth| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let way = |depth| vec!["a"; depth].join(".");
        assert_at(&nested(127), &way(127), "1");
        assert_eq!(at(&nested(128), &way(128)), None);
        assert_eq!(at(&nested(100_000), &way(100_000)), None);
    }

    fn values() -> impl Strategy<Value = Value> {
        let names = || prop_oneof![Just("a".to_owned()), Just("b".to_owned()), "\\PC{0,3}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(names(), inner, 0..4).prop_map(|fields| json!(fields)),
            ]
        })
    }

    proptest! {
        /// The same as by way of a tree of values.
        #[test]
        fn it_is_what_the_codec_reads(value in values(), way in prop::collection::vec("[ab]", 1..4)) {
            let bytes = serde_json::to_vec(&value).expect("JSON");
            let read = way.iter().try_fold(&value, |value, name| value.as_object()?.get(name));
            let expected = match read {
                Some(Value::String(text)) => Some(text.clone()),
                Some(scalar @ (Value::Bool(_) | Value::Number(_))) => Some(scalar.to_string()),
                _ => None,
            };
            let key = key_at(&bytes, &way).map(|key| String::from_utf8(key.into_owned()).expect("text"));
            prop_assert_eq!(key, expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            key_at(&bytes, &path("a.b"));
        }
    }
}
