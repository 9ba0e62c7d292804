//! Headers in front of a payload: how Spring Cloud Stream carried them before Kafka had any, and still does with `headerMode: embeddedHeaders`.
//!
//! The byte `0xff`; how many headers, in a byte; for each how long its name is, in a byte, the name, how long its value is, in four bytes, the
//! value as JSON; then the payload. A record that has a content type of its own has no such front. What is not whole is taken for a payload, as
//! Spring does.

use binder_core::message::{ContentType, HeaderValue, Headers, names};
use binder_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::dead_letters::FAILURE;
use crate::headers;

/// What no text begins with, and so no JSON or XML.
pub(crate) const MARK: u8 = 0xff;

/// What the content type of a payload was before Spring Cloud Stream 1 made text of it.
const ORIGINAL: &str = "originalContentType";

/// A payload with headers in front.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    headers: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a value apart, if it begins with at least one header.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let [MARK, count, rest @ ..] = value else { return None };
        if *count == 0 {
            return None;
        }
        let mut payload = rest;
        for _ in 0..*count {
            let (name, json) = next(&mut payload)?;
            std::str::from_utf8(name).ok()?;
            serde_json::from_slice::<IgnoredAny>(json).ok()?;
        }
        Some(Self { headers: &rest[..rest.len() - payload.len()], payload })
    }

    fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut left = self.headers;
        std::iter::from_fn(move || next(&mut left)).map(|(name, json)| (std::str::from_utf8(name).unwrap_or(""), json))
    }

    fn last(self, name: &str) -> Option<&'a [u8]> {
        self.iter().filter(|(known, _)| *known == name).last().map(|(_, json)| json)
    }

    pub(crate) fn content_type(self) -> Option<ContentType> {
        let json = self.last(ORIGINAL).or_else(|| self.last(names::CONTENT_TYPE))?;
        Some(match serde_json::from_slice::<String>(json) {
            Ok(text) => ContentType::parse(&text),
            Err(_) => ContentType::from_bytes(json),
        })
    }

    /// Reads the last header of this name.
    pub(crate) fn find(self, name: &str) -> Option<HeaderValue> {
        if is_hidden(name) { None } else { self.last(name).map(read) }
    }

    /// Reads all headers of the application.
    pub(crate) fn all(self) -> Headers {
        let pairs = self.iter().filter(|(name, _)| !is_hidden(name));
        pairs.map(|(name, json)| (name.to_owned(), read(json))).collect()
    }
}

/// Takes name and value of a header off the front.
fn next<'a>(left: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (length, rest) = left.split_first()?;
    let (name, rest) = rest.split_at_checked((*length).into())?;
    let (length, rest) = rest.split_first_chunk()?;
    let (json, rest) = rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)?;
    *left = rest;
    Some((name, json))
}

/// Whether a header is not the application's: ours, or of the dead letter that the record was.
fn is_hidden(name: &str) -> bool {
    name == ORIGINAL || headers::is_ours(name) || FAILURE.contains(&name)
}

/// Reads a value; JSON that is too deep, or has a number that is too large, stays as it is.
fn read(json: &[u8]) -> HeaderValue {
    let value = serde_json::from_slice::<Value>(json).map(HeaderValue::from);
    value.unwrap_or_else(|_| HeaderValue::Bytes(Bytes::copy_from_slice(json)))
}

/// Returns whether no payload of this type begins with [`MARK`], so that what does is a front.
pub(crate) fn tells_apart(content_type: &ContentType) -> bool {
    let essence = content_type.essence();
    let is_text = essence.starts_with("text/")
        || ["application/json", "application/xml"].contains(&essence)
        || essence.ends_with("+json")
        || essence.ends_with("+xml");
    let unicode =
        |charset: &str| ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| known.eq_ignore_ascii_case(charset));
    // JSON is in UTF-8 whatever it says
    is_text && (!is_charset_kept(essence) || content_type.parameter("charset").is_none_or(unicode))
}

/// Whether the charset of such a type counts.
fn is_charset_kept(essence: &str) -> bool {
    essence.starts_with("text/") || essence.ends_with("xml")
}

/// Puts headers in front of a payload; those without a value are left out.
///
/// # Errors
/// [`Refused`](ErrorKind::Refused) if there are more than 254, or one has a name of more than 255 bytes.
pub(crate) fn write(content_type: &ContentType, own: &Headers, payload: &[u8]) -> Result<Vec<u8>> {
    let sent = |name: &str| name != ORIGINAL && !headers::is_ours(name);
    let written = || own.iter().filter(|(name, value)| sent(name) && **value != HeaderValue::Null);
    let count = u8::try_from(written().count() + 1).map_err(|_| refused("more than 254 headers".to_owned()))?;
    let mut out = Vec::with_capacity(payload.len() + 64 * usize::from(count));
    out.extend([MARK, count]);
    for (name, value) in written() {
        push(&mut out, name, &value.to_json())?;
    }
    push(&mut out, names::CONTENT_TYPE, &Value::from(content_type.as_str()))?;
    out.extend_from_slice(payload);
    Ok(out)
}

fn push(out: &mut Vec<u8>, name: &str, value: &Value) -> Result<()> {
    let length = u8::try_from(name.len()).map_err(|_| {
        let start: String = name.chars().take(40).collect();
        refused(format!("the header name `{start}…`, which is longer than 255 bytes,"))
    })?;
    let json = value.to_string();
    let size =
        i32::try_from(json.len()).map_err(|_| refused(format!("the header `{name}`, which is longer than 2 GiB,")))?;
    out.push(length);
    out.extend_from_slice(name.as_bytes());
    out.extend(size.to_be_bytes());
    out.extend_from_slice(json.as_bytes());
    Ok(())
}

#[cold]
fn refused(what: String) -> Error {
    Error::new(ErrorKind::Refused, format!("{what} can't be embedded in front of a payload"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(headers: &[(&[u8], &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut out = vec![MARK, u8::try_from(headers.len()).expect("few")];
        for (name, json) in headers {
            out.push(u8::try_from(name.len()).expect("short"));
            out.extend_from_slice(name);
            out.extend(i32::try_from(json.len()).expect("short").to_be_bytes());
            out.extend_from_slice(json);
        }
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn what_stood_there_before_text_was_made_of_it_is_the_content_type() {
        let headers: [(&[u8], &[u8]); 2] =
            [(b"contentType", b"\"text/plain\""), (b"originalContentType", b"\"application/json;charset=UTF-8\"")];
        let value = framed(&headers, b"{}");
        let frame = Frame::parse(&value).expect("whole");
        assert_eq!(frame.content_type().expect("a type").as_str(), "application/json;charset=UTF-8");
        assert_eq!((frame.all().len(), frame.find("contentType")), (0, None));
    }

    #[test]
    fn a_content_type_with_quotes_comes_back() {
        for text in ["text/xml; charset=\"UTF-8\"", "application/vnd.x+json;title=\"a\\b\""] {
            let content_type = ContentType::parse(text);
            let value = write(&content_type, &Headers::new(), b"").expect("written");
            assert_eq!(Frame::parse(&value).expect("whole").content_type(), Some(content_type));
        }
    }

    #[test]
    fn what_is_of_a_dead_letter_or_ours_is_hidden_and_what_cannot_be_read_is_kept() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let value =
            framed(&[(b"x-original-topic", b"\"t\""), (b"x-retry-attempt", b"2"), (b"deep", deep.as_bytes())], b"");
        let frame = Frame::parse(&value).expect("whole");
        assert_eq!(frame.all(), Headers::new().with("deep", HeaderValue::from(deep.into_bytes())));
        assert_eq!(frame.find("x-original-topic"), None);
    }

    #[test]
    fn what_is_not_whole_is_a_payload() {
        let whole = framed(&[(b"a", b"1"), (b"b", b"{}")], b"");
        assert!(Frame::parse(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(Frame::parse(&whole[..length]), None, "{length} bytes");
        }
        for broken in [framed(&[], b"payload"), framed(&[(&[0xff], b"1")], b""), framed(&[(b"a", b"no json")], b"")] {
            assert_eq!(Frame::parse(&broken), None);
        }
        let mut negative = framed(&[(b"a", b"1")], b"");
        negative[4] = 0x80;
        assert_eq!(Frame::parse(&negative), None);
    }

    #[test]
    fn only_text_tells_a_front_apart() {
        let json = "application/json;charset=ISO-8859-1";
        for yes in [
            json,
            "text/plain",
            "text/xml; charset=\"UTF-8\"",
            "text/plain;charset=utf8",
            "application/vnd.order.v1+json",
        ] {
            assert!(tells_apart(&ContentType::parse(yes)), "{yes}");
        }
        for no in [
            "application/octet-stream",
            "text/plain;charset=ISO-8859-1",
            "text/plain;charset=UTF-16",
            "application/avro",
        ] {
            assert!(!tells_apart(&ContentType::parse(no)), "{no}");
        }
    }

    #[test]
    fn what_has_no_place_in_front_is_refused() {
        let many: Headers = (0..255).map(|index| (format!("h{index}"), HeaderValue::from(1))).collect();
        let long = Headers::new().with("n".repeat(256), 1);
        for headers in [many, long] {
            let error = write(&ContentType::JSON, &headers, b"").expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        }
        let most: Headers = (0..254).map(|index| (format!("h{index}"), HeaderValue::from(1))).collect();
        let value = write(&ContentType::JSON, &most, b"p").expect("254 fit");
        assert_eq!(Frame::parse(&value).expect("whole").all().len(), 254);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            texts in prop::collection::vec(("[a-zA-Zž-]{1,20}", any::<String>()), 0..8),
            payload in any::<Vec<u8>>(),
        ) {
            let headers: Headers = texts.into_iter().map(|(name, text)| (name, HeaderValue::from(text))).collect();
            let value = write(&ContentType::TEXT, &headers, &payload).expect("written");
            let frame = Frame::parse(&value).expect("whole");
            prop_assert_eq!(frame.payload, &payload[..]);
            prop_assert_eq!(frame.content_type(), Some(ContentType::TEXT));
            prop_assert_eq!(frame.all(), headers);
        }

        /// Whatever the bytes are, reading them ends, and a payload is a part of them.
        #[test]
        fn no_bytes_are_too_much(mut value in any::<Vec<u8>>(), count in 1..4_u8) {
            value.splice(0..0, [MARK, count]);
            if let Some(frame) = Frame::parse(&value) {
                prop_assert!(value.ends_with(frame.payload));
                prop_assert!(frame.all().len() <= usize::from(count));
            }
        }
    }
}
