//! Payloads that are bytes already.

use std::any::Any;

use bytes::Bytes;

use super::{charset, unfit};
use crate::Result;
use crate::message::ContentType;

/// Writes a payload that is bytes already; `None` for every other type. The comparison of types costs nothing at run time.
#[inline]
pub(super) fn write_raw(value: &dyn Any, content_type: &ContentType, out: &mut Vec<u8>) -> Option<Result<()>> {
    let bytes = if let Some(text) = value.downcast_ref::<String>() {
        if !charset::is_utf8(content_type) {
            return Some(charset::write(content_type, text, out).map_err(|cause| unfit("write", content_type, cause)));
        }
        text.as_bytes()
    } else if let Some(bytes) = value.downcast_ref::<Bytes>() {
        bytes.as_ref()
    } else {
        value.downcast_ref::<Vec<u8>>()?.as_slice()
    };
    out.extend_from_slice(bytes);
    Some(Ok(()))
}

/// Makes a payload that is bytes already; `None` for every other type.
#[inline]
pub(super) fn from_raw<T: 'static>(content_type: &ContentType, bytes: &[u8]) -> Option<Result<T>> {
    let mut found: Option<T> = None;
    let target = &mut found as &mut dyn Any;
    if let Some(slot) = target.downcast_mut::<Option<Bytes>>() {
        *slot = Some(Bytes::copy_from_slice(bytes));
    } else if let Some(slot) = target.downcast_mut::<Option<Vec<u8>>>() {
        *slot = Some(bytes.to_vec());
    } else if let Some(slot) = target.downcast_mut::<Option<String>>() {
        match charset::read(content_type, bytes) {
            Ok(text) => *slot = Some(text.into_owned()),
            Err(cause) => return Some(Err(unfit("read", content_type, cause))),
        }
    }
    found.map(Ok)
}

/// Makes a payload of type [`Bytes`] of what `share` returns; `None` for every other type.
#[inline]
pub(crate) fn from_shared<T: 'static>(share: impl FnOnce() -> Option<Bytes>) -> Option<Option<T>> {
    let mut found: Option<T> = None;
    let slot = (&mut found as &mut dyn Any).downcast_mut::<Option<Bytes>>()?;
    *slot = share();
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codecs, Decode, Encode};

    fn unknown_type() -> ContentType {
        ContentType::parse("application/x-unknown")
    }

    fn sent(payload: &impl Encode) -> Vec<u8> {
        let mut out = b"before ".to_vec();
        payload.encode(&Codecs::new(), &unknown_type(), &mut out).unwrap();
        out
    }

    #[test]
    fn strings_and_bytes_are_sent_as_they_are_whatever_the_content_type() {
        assert_eq!(sent(&"{x".to_owned()), b"before {x");
        assert_eq!(sent(&Bytes::from_static(&[0xff])), b"before \xff");
        assert_eq!(sent(&vec![0_u8, 1]), b"before \x00\x01");
    }

    #[test]
    fn strings_and_bytes_are_received_as_they_are_whatever_the_content_type() {
        let codecs = Codecs::new();
        assert_eq!(String::decode(&codecs, &unknown_type(), b"{x").unwrap(), "{x");
        assert_eq!(Bytes::decode(&codecs, &unknown_type(), b"\xff").unwrap(), Bytes::from_static(b"\xff"));
        assert_eq!(Vec::<u8>::decode(&codecs, &unknown_type(), b"\xff").unwrap(), b"\xff");
    }

    #[test]
    fn only_bytes_are_shared() {
        let bytes = Bytes::from_static(b"x");
        assert_eq!(from_shared::<Bytes>(|| Some(bytes.clone())), Some(Some(bytes)));
        assert_eq!(from_shared::<Bytes>(|| None), Some(None));
        assert_eq!(from_shared::<Vec<u8>>(|| panic!("nobody asks")), None);
    }

    #[test]
    fn a_string_needs_utf8() {
        let error = String::decode(&Codecs::new(), &ContentType::JSON, b"ab\xff").unwrap_err();
        assert!(error.to_string().contains("from index 2"), "{error}");
    }
}
