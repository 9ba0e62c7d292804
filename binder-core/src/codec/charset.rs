//! Character sets of `text/*`: those that every Java has, by the names that Java gives them.
//!
//! Nothing is replaced: what a character set does not have is an error, in both directions.

use std::borrow::Cow;

use super::reason::Reason;
use crate::message::ContentType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
    /// Big-endian, unless a byte order mark says otherwise; written with one.
    Utf16,
    Utf16Be,
    Utf16Le,
}

impl Charset {
    const ALL: [(&'static str, Self); 8] = [
        ("UTF-8", Self::Utf8),
        ("UTF8", Self::Utf8),
        ("US-ASCII", Self::Ascii),
        ("ASCII", Self::Ascii),
        ("ISO-8859-1", Self::Latin1),
        ("UTF-16", Self::Utf16),
        ("UTF-16BE", Self::Utf16Be),
        ("UTF-16LE", Self::Utf16Le),
    ];

    /// Returns the character set of a payload; what is no text, or does not say, is UTF-8.
    fn of(content_type: &ContentType) -> Result<Self, Reason> {
        let Some(name) = content_type.parameter("charset").filter(|_| content_type.essence().starts_with("text/"))
        else {
            return Ok(Self::Utf8);
        };
        let known = Self::ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, charset)| charset).ok_or_else(|| {
            Reason::new(format!(
                "no charset `{name}`; there are UTF-8, US-ASCII, ISO-8859-1, UTF-16, UTF-16BE and UTF-16LE"
            ))
        })
    }
}

/// Returns whether the payload is UTF-8. Costs nothing for types without parameters.
pub(super) fn is_utf8(content_type: &ContentType) -> bool {
    !content_type.has_parameters() || Charset::of(content_type).is_ok_and(|charset| charset == Charset::Utf8)
}

/// Reads a text.
pub(super) fn read<'a>(content_type: &ContentType, bytes: &'a [u8]) -> Result<Cow<'a, str>, Reason> {
    if !content_type.has_parameters() {
        return utf8(bytes);
    }
    match Charset::of(content_type)? {
        Charset::Utf8 => utf8(bytes),
        Charset::Ascii => match bytes.iter().position(|byte| !byte.is_ascii()) {
            Some(index) => Err(Reason::new(format!("the byte at index {index} is no US-ASCII"))),
            None => utf8(bytes),
        },
        Charset::Latin1 => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Charset::Utf16 => match bytes {
            [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] | rest => utf16(rest, u16::from_be_bytes),
        },
        Charset::Utf16Be => utf16(bytes, u16::from_be_bytes),
        Charset::Utf16Le => utf16(bytes, u16::from_le_bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, Reason> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|cause| Reason::new(cause.to_string()))
}

fn utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, Reason> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Reason::new(format!("UTF-16 has an even number of bytes, not {}", bytes.len())));
    }
    let mut index = 0;
    let mut text = String::with_capacity(pairs.len());
    for read in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        let read = read.map_err(|_| Reason::new(format!("half of a pair of UTF-16 at index {index}")))?;
        index += 2 * read.len_utf16();
        text.push(read);
    }
    Ok(Cow::Owned(text))
}

/// Appends a text.
pub(super) fn write(content_type: &ContentType, text: &str, out: &mut Vec<u8>) -> Result<(), Reason> {
    let foreign = |name: &str| Reason::new(format!("the text has a character that {name} has not"));
    match Charset::of(content_type)? {
        Charset::Utf8 => out.extend_from_slice(text.as_bytes()),
        Charset::Ascii if text.is_ascii() => out.extend_from_slice(text.as_bytes()),
        Charset::Ascii => return Err(foreign("US-ASCII")),
        Charset::Latin1 => {
            for character in text.chars() {
                out.push(u8::try_from(character).map_err(|_| foreign("ISO-8859-1"))?);
            }
        }
        Charset::Utf16 => {
            out.extend_from_slice(&[0xfe, 0xff]);
            out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        }
        Charset::Utf16Be => out.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
        Charset::Utf16Le => out.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
    }
    Ok(())
}

/// Appends a text that was written as UTF-8.
pub(super) fn rewrite(content_type: &ContentType, text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    write(content_type, &utf8(text)?, out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{Codecs, Decode, Encode};

    fn text(charset: &str) -> ContentType {
        ContentType::parse(&format!("text/plain; charset={charset}"))
    }

    fn sent(content_type: &ContentType, payload: &impl Encode) -> Vec<u8> {
        let mut out = Vec::new();
        payload.encode(&Codecs::new(), content_type, &mut out).expect("encoded");
        out
    }

    fn received<T: Decode>(content_type: &ContentType, bytes: &[u8]) -> T {
        T::decode(&Codecs::new(), content_type, bytes).expect("decoded")
    }

    #[test]
    fn a_text_is_in_its_charset() {
        for (charset, bytes) in [
            ("UTF-8", &b"\xc3\xa4"[..]),
            ("iso-8859-1", b"\xe4"),
            ("\"UTF-16\"", b"\xfe\xff\x00\xe4"),
            ("UTF-16LE", b"\xe4\x00"),
            ("UTF-16BE", b"\x00\xe4"),
        ] {
            let content_type = text(charset);
            assert_eq!(sent(&content_type, &"ä".to_owned()), bytes, "{charset}");
            assert_eq!(sent(&content_type, &'ä'), bytes, "{charset}");
            assert_eq!(received::<String>(&content_type, bytes), "ä", "{charset}");
            assert_eq!(received::<char>(&content_type, bytes), 'ä', "{charset}");
        }
        assert_eq!(received::<String>(&text("UTF-16"), b"\xff\xfe\xe4\x00"), "ä");
        assert_eq!(received::<String>(&text("UTF-16"), b"\x00\xe4"), "ä");
        assert_eq!(received::<u32>(&text("UTF-16"), b"\x00\x37"), 7);
    }

    #[test]
    fn bytes_and_what_is_no_text_have_none() {
        assert_eq!(received::<Vec<u8>>(&text("UTF-16"), b"\xe4"), b"\xe4");
        let json = ContentType::parse("application/json;charset=ISO-8859-1");
        assert_eq!(received::<String>(&json, b"\xc3\xa4"), "ä");
    }

    #[test]
    fn what_a_charset_does_not_have_is_told_and_not_shown() {
        let told = |charset: &str, bytes: &[u8]| {
            String::decode(&Codecs::new(), &text(charset), bytes).expect_err("refused").to_string()
        };
        assert!(told("EBCDIC", b"x").contains("no charset `EBCDIC`; there are UTF-8"), "{}", told("EBCDIC", b"x"));
        assert!(told("US-ASCII", b"ab\xe4").ends_with("the byte at index 2 is no US-ASCII"));
        assert!(told("UTF-16", b"\x00a\x00").ends_with("not 3"));
        assert!(told("UTF-16LE", b"a\x00\x00\xd8").ends_with("half of a pair of UTF-16 at index 2"));
        for charset in ["US-ASCII", "ISO-8859-1"] {
            let error = "a€".to_owned().encode(&Codecs::new(), &text(charset), &mut Vec::new()).expect_err("refused");
            assert!(error.to_string().ends_with(&format!("a character that {charset} has not")), "{error}");
        }
    }

    #[cfg(feature = "xml")]
    #[test]
    fn xml_that_is_text_is_in_its_charset() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        struct Name {
            first: String,
        }
        let (content_type, name) =
            (ContentType::parse("text/xml;charset=ISO-8859-1"), Name { first: "Jürg".to_owned() });
        let bytes = sent(&content_type, &name);
        assert_eq!(bytes, b"<Name><first>J\xfcrg</first></Name>");
        assert_eq!(received::<Name>(&content_type, &bytes), name);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in ".*", charset in 0..Charset::ALL.len()) {
            let content_type = text(Charset::ALL[charset].0);
            let mut out = Vec::new();
            if write(&content_type, &value, &mut out).is_ok() {
                prop_assert_eq!(read(&content_type, &out).expect("read"), value);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, charset in 0..Charset::ALL.len()) {
            let _ = read(&text(Charset::ALL[charset].0), &bytes);
        }
    }
}
