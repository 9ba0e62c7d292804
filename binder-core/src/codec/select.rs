//! Content types beside `application/json`, and that one with parameters.

use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

use super::reason::Reason;
#[cfg(feature = "xml")]
use super::xml;
use super::{Codecs, charset, json, octets, quiet, text, unfit};
use crate::message::ContentType;
use crate::{Error, ErrorKind, Result};

/// Who reads and writes a content type.
enum Format<'a> {
    Json,
    Text,
    Octets,
    #[cfg(feature = "xml")]
    Xml,
    Added(&'a dyn super::Codec),
}

/// The three exact built-in types first, then what the application added, then the other formats, then every other `text/*` as plain text.
fn select<'a>(codecs: &'a Codecs, content_type: &ContentType) -> Result<Format<'a>> {
    let essence = content_type.essence();
    match essence {
        "application/json" => return Ok(Format::Json),
        "text/plain" => return Ok(Format::Text),
        "application/octet-stream" => return Ok(Format::Octets),
        _ => {}
    }
    match codecs.find(essence) {
        Some(codec) => Ok(Format::Added(codec)),
        None if essence.ends_with("+json") => Ok(Format::Json),
        #[cfg(feature = "xml")]
        None if essence == "application/xml" || essence == "text/xml" || essence.ends_with("+xml") => Ok(Format::Xml),
        None if essence.starts_with("text/") => Ok(Format::Text),
        None => Err(unknown(content_type)),
    }
}

#[cold]
pub(super) fn encode_other<T: Serialize>(
    value: &T,
    codecs: &Codecs,
    content_type: &ContentType,
    out: &mut Vec<u8>,
) -> Result<()> {
    match select(codecs, content_type)? {
        Format::Json => serde_json::to_writer(out, value).map_err(|cause| json::unwritten(content_type, &cause)),
        Format::Text => write_text(content_type, out, |out| text::write(value, out)),
        Format::Octets => octets::write(value, out).map_err(|cause| unfit("write", content_type, cause)),
        #[cfg(feature = "xml")]
        Format::Xml => write_text(content_type, out, |out| xml::write(value, out)),
        Format::Added(codec) => codec.encode(content_type, &value, out),
    }
}

/// Appends what `write` writes as UTF-8, in the charset of the content type.
fn write_text(
    content_type: &ContentType,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Reason>,
) -> Result<()> {
    let written = if charset::is_utf8(content_type) {
        write(out)
    } else {
        let mut text = Vec::new();
        write(&mut text).and_then(|()| charset::rewrite(content_type, &text, out))
    };
    written.map_err(|cause| unfit("write", content_type, cause))
}

fn read_text<T>(content_type: &ContentType, bytes: &[u8], read: impl FnOnce(&str) -> Result<T, Reason>) -> Result<T> {
    let read = charset::read(content_type, bytes).and_then(|text| read(&text));
    read.map_err(|cause| unfit("read", content_type, cause))
}

#[cold]
pub(super) fn decode_other<T: DeserializeOwned>(
    codecs: &Codecs,
    content_type: &ContentType,
    bytes: &[u8],
) -> Result<T> {
    match select(codecs, content_type)? {
        Format::Json => serde_json::from_slice(bytes).map_err(|cause| json::unread::<T>(content_type, bytes, &cause)),
        Format::Text => read_text(content_type, bytes, text::read),
        Format::Octets => octets::read(bytes).map_err(|cause| unfit("read", content_type, cause)),
        #[cfg(feature = "xml")]
        Format::Xml if charset::is_utf8(content_type) => {
            xml::read(bytes).map_err(|cause| unfit("read", content_type, cause))
        }
        #[cfg(feature = "xml")]
        Format::Xml => read_text(content_type, bytes, |text| xml::read(text.as_bytes())),
        Format::Added(codec) => decode_added(codec, content_type, bytes),
    }
}

fn decode_added<T: DeserializeOwned>(codec: &dyn super::Codec, content_type: &ContentType, bytes: &[u8]) -> Result<T> {
    let (mut payload, mut said) = (None, None);
    let decoded = codec.decode(content_type, bytes, &mut |reader| {
        let mut by_codec = false;
        let tell = |_: &erased_serde::Error| {
            by_codec = true;
            Reason::new("the codec refused it")
        };
        payload = Some(quiet::read(reader, tell).map_err(|reason| {
            let error = erased_serde::Error::custom(&reason);
            // the codec tells its own errors itself
            said = (!by_codec).then_some(reason);
            error
        })?);
        Ok(())
    });
    match (decoded, said) {
        (Err(_), Some(reason)) => Err(unfit("read", content_type, reason)),
        (Err(error), None) => Err(error),
        (Ok(()), _) => {
            payload.ok_or_else(|| Error::new(ErrorKind::Codec, format!("the codec of `{content_type}` read nothing")))
        }
    }
}

fn unknown(content_type: &ContentType) -> Error {
    let xml = if cfg!(feature = "xml") { "application/xml, text/xml, *+xml, " } else { "" };
    let there_are = format!(
        "application/json, *+json, {xml}text/*, application/octet-stream and those that were added to the application"
    );
    Error::new(ErrorKind::Codec, format!("no codec for content type `{content_type}`; there are {there_are}"))
}
