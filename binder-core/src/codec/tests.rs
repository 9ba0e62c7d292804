//! Which codec is used, and what its errors may say.

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Card {
    number: u32,
}

/// JSON behind a mark, so that it is seen who wrote it.
#[derive(Debug)]
struct Marked(&'static str);

impl Codec for Marked {
    fn accepts(&self, essence: &str) -> bool {
        essence != "application/x"
    }

    fn encode(&self, _: &ContentType, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.0.as_bytes());
        let mut json = serde_json::Serializer::new(out);
        value.erased_serialize(&mut <dyn erased_serde::Serializer>::erase(&mut json)).map_err(|_| refused())
    }

    fn decode(
        &self,
        _: &ContentType,
        bytes: &[u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> erased_serde::Result<()>,
    ) -> Result<()> {
        let json = bytes.strip_prefix(self.0.as_bytes()).ok_or_else(refused)?;
        let mut json = serde_json::Deserializer::from_slice(json);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json)).map_err(|_| refused())
    }
}

/// A codec that never calls back.
#[derive(Debug)]
struct Idle;

impl Codec for Idle {
    fn accepts(&self, _: &str) -> bool {
        true
    }

    fn encode(&self, _: &ContentType, _: &dyn erased_serde::Serialize, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn decode(
        &self,
        _: &ContentType,
        _: &[u8],
        _: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> erased_serde::Result<()>,
    ) -> Result<()> {
        Ok(())
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::Codec, "not marked")
}

fn written(codecs: &Codecs, content_type: &str, payload: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    payload.encode(codecs, &ContentType::parse(content_type), &mut out).unwrap();
    out
}

fn read<T: Decode>(codecs: &Codecs, content_type: &str, bytes: &[u8]) -> Result<T> {
    T::decode(codecs, &ContentType::parse(content_type), bytes)
}

#[test]
fn json_is_chosen_by_its_essence() {
    let codecs = Codecs::new();
    for content_type in ["application/json", "application/json;charset=UTF-8"] {
        assert_eq!(written(&codecs, content_type, &Card { number: 7 }), br#"{"number":7}"#);
        assert_eq!(read::<Card>(&codecs, content_type, br#"{"number":7}"#).unwrap(), Card { number: 7 });
    }
}

#[test]
fn what_ends_with_json_is_json() {
    let codecs = Codecs::new();
    assert_eq!(written(&codecs, "application/hal+json", &Card { number: 7 }), br#"{"number":7}"#);
    assert_eq!(read::<Card>(&codecs, "application/vnd.card.v1+json", br#"{"number":7}"#).unwrap(), Card { number: 7 });
    assert_eq!(written(&codecs.with(Marked("<")), "application/hal+json", &true), b"<true", "unless a codec was added");
}

#[cfg(feature = "xml")]
#[test]
fn xml_is_chosen_by_its_essence() {
    let codecs = Codecs::new();
    for content_type in ["application/xml", "text/xml;charset=UTF-8", "application/atom+xml"] {
        assert_eq!(written(&codecs, content_type, &Card { number: 7 }), b"<Card><number>7</number></Card>");
        let card = read::<Card>(&codecs, content_type, b"<Card><number>7</number></Card>");
        assert_eq!(card.unwrap(), Card { number: 7 });
    }
    assert_eq!(written(&codecs.with(Marked("<")), "text/xml", &true), b"<true", "unless a codec was added");
}

#[test]
fn text_is_chosen_by_its_essence() {
    let codecs = Codecs::new();
    for content_type in ["text/plain", "text/plain; charset=utf-8", "text/markdown"] {
        assert_eq!(written(&codecs, content_type, &'x'), b"x");
        assert_eq!(read::<char>(&codecs, content_type, b"x").unwrap(), 'x');
    }
}

#[test]
fn bytes_are_chosen_by_their_essence() {
    let codecs = Codecs::new();
    assert_eq!(written(&codecs, "application/octet-stream", &[1_u8, 0xff]), [1, 0xff]);
    assert_eq!(read::<[u8; 2]>(&codecs, "application/octet-stream", &[1, 0xff]).unwrap(), [1, 0xff]);
}

#[test]
fn an_added_codec_writes_and_reads_its_type() {
    let codecs = Codecs::new().with(Marked("<"));
    assert_eq!(written(&codecs, "application/marked; v=1", &Card { number: 7 }), br#"<{"number":7}"#);
    assert_eq!(read::<Card>(&codecs, "application/marked", br#"<{"number":7}"#).unwrap(), Card { number: 7 });
}

#[test]
fn the_codec_that_was_added_last_goes_first() {
    let codecs = Codecs::new().with(Marked("1")).with(Marked("2"));
    assert_eq!(written(&codecs, "application/marked", &true), b"2true");
}

#[test]
fn an_added_codec_does_not_replace_a_built_in_one() {
    let codecs = Codecs::new().with(Marked("<"));
    assert_eq!(written(&codecs, "application/json;charset=UTF-8", &true), b"true");
    assert_eq!(written(&codecs, "text/plain", &true), b"true");
    assert_eq!(written(&codecs, "application/octet-stream", &"true"), b"true");
}

#[test]
fn an_added_codec_goes_before_text_of_any_kind() {
    let codecs = Codecs::new().with(Marked("<"));
    assert_eq!(written(&codecs, "text/csv", &true), b"<true");
}

#[test]
fn an_added_codec_is_not_asked_for_strings_and_bytes() {
    let codecs = Codecs::new().with(Marked("<"));
    assert_eq!(written(&codecs, "application/marked", &"as it is".to_owned()), b"as it is");
}

#[test]
fn a_codec_that_reads_nothing_is_an_error() {
    let error = read::<Card>(&Codecs::new().with(Idle), "application/x", b"").unwrap_err();
    assert_eq!(error.to_string(), "the codec of `application/x` read nothing");
}

#[test]
fn a_content_type_without_codec_is_named() {
    let error = read::<Card>(&Codecs::new(), "application/x-avro", b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().starts_with("no codec for content type `application/x-avro`; there are"), "{error}");
}

mod secrets {
    use super::*;

    /// Everything that an error may print.
    fn text_of<T: Decode + fmt::Debug>(content_type: &str, bytes: &[u8]) -> String {
        let error = read::<T>(&Codecs::new(), content_type, bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        format!("{error} {error:?}")
    }

    fn json<T: Decode + fmt::Debug>(bytes: &str) -> String {
        let text = text_of::<T>("application/json", bytes.as_bytes());
        assert!(!text.contains("s3cret"), "{text}");
        text
    }

    #[test]
    fn json_of_a_wrong_type_says_what_was_expected_and_where() {
        let text = json::<Card>(r#"{"number": "s3cret, expected u8"}"#);
        assert!(text.contains("a string where u32 was expected at line 1 column 32"), "{text}");
    }

    #[test]
    fn json_that_lacks_a_field_names_it() {
        assert!(json::<Card>(r#"{"s3cret": 1}"#).contains("missing field `number` at line 1 column 13"));
    }

    #[test]
    fn json_with_an_unknown_field_names_the_known_ones() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "read by serde only")]
        struct Strict {
            number: u32,
        }
        assert!(json::<Strict>(r#"{"s3cret": 1}"#).contains("unknown field; there are `number` at line 1"));
    }

    #[test]
    fn json_with_an_unknown_variant_names_the_known_ones() {
        #[derive(Debug, Deserialize)]
        enum Action {
            Created,
            Moved(#[expect(dead_code, reason = "read by serde only")] u8),
        }
        assert!(json::<Action>(r#""s3cret""#).contains("unknown variant; there are `Created`, `Moved`"));
        assert!(json::<Action>(r#"{"Moved": "s3cret"}"#).contains("a string where u8 was expected"));
    }

    #[test]
    fn what_a_type_says_of_a_json_value_is_not_repeated() {
        #[derive(Debug)]
        struct Chatty;
        impl<'de> Deserialize<'de> for Chatty {
            fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(reader)?;
                Err(serde::de::Error::custom(format!("invalid type: {text}, expected {text}")))
            }
        }
        assert!(json::<Chatty>(r#""s3cret""#).contains("the type's `Deserialize` refused the value at line"));
    }

    #[test]
    fn json_that_only_the_first_reading_refuses_has_a_place() {
        assert!(json::<Card>(r#"{"number": 1, "number": 2}"#).contains("the type does not fit at line 1 column 22"));
    }

    #[test]
    fn broken_json_says_where_and_what_it_looks_like() {
        let read =
            |bytes: &[u8]| Card::decode(&Codecs::new(), &ContentType::JSON, bytes).expect_err("broken").to_string();
        assert!(read(b"\xff\x01\x01a").contains("as embedded headers do"));
        assert!(read(b"\x1f\x8b\x08").contains("as gzip does"));
        assert!(json::<Card>(r#"{"s3cret"!"#).contains("expected `:` at line 1 column 10"));
    }

    #[test]
    fn what_a_type_says_when_it_is_written_is_not_repeated() {
        struct Chatty;
        impl Serialize for Chatty {
            fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("s3cret"))
            }
        }
        for content_type in [ContentType::JSON, ContentType::TEXT, ContentType::BYTES] {
            let error = Chatty.encode(&Codecs::new(), &content_type, &mut Vec::new()).unwrap_err();
            let text = format!("{error:?}");
            assert!(text.contains("refused the value") && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn what_a_type_says_to_an_added_codec_is_not_repeated() {
        let read = |json: &str| read::<Card>(&Codecs::new().with(Marked("")), "application/marked", json.as_bytes());
        let error = read(r#"{"s3cret": 1}"#).unwrap_err();
        let text = "can't read the payload as `application/marked`: missing field `number`";
        assert_eq!(error.to_string(), text);
        let error = read(r#"{"number": 1,,}"#).unwrap_err();
        assert_eq!(error.to_string(), "not marked", "a codec tells its own errors itself");
    }

    #[cfg(feature = "xml")]
    #[test]
    fn what_a_type_says_when_it_is_written_as_xml_is_not_repeated() {
        struct Chatty;
        impl Serialize for Chatty {
            fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("s3cret"))
            }
        }
        let error = Chatty.encode(&Codecs::new(), &ContentType::parse("application/xml"), &mut Vec::new()).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("refused the value") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn json_that_can_not_be_written_says_why() {
        let map = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = map.encode(&Codecs::new(), &ContentType::JSON, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "can't write the payload as `application/json`: key must be a string");
    }

    #[test]
    fn text_that_does_not_parse_is_not_quoted() {
        let text = text_of::<u32>("text/plain", b"s3cret");
        assert!(text.contains("the text is no `u32`") && !text.contains("s3cret"), "{text}");
    }
}
