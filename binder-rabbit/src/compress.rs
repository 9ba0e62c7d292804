//! Bodies in gzip, as Spring Cloud Stream packs them with `compress: true`: `content_encoding` says so, before what it said otherwise, and the
//! header `springAutoDecompress` is `true`. A dead letter, and a message that waits for another attempt, stay packed.

use std::io::{Read, Write};
use std::ops::Deref;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, ShortString};

/// Asks Spring's consumers to unpack.
pub(crate) const AUTO: &str = "springAutoDecompress";

const GZIP: &str = "gzip";

/// Packs a body.
pub(crate) fn pack(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    packed.write_all(body)?;
    packed.finish()
}

/// Says that the body is packed.
pub(crate) fn packed(properties: BasicProperties) -> BasicProperties {
    let mut table = properties.headers().clone().unwrap_or_default();
    table.insert(AUTO.into(), AMQPValue::Boolean(true));
    properties.with_content_encoding(GZIP.into()).with_headers(table)
}

/// A delivery, and its body if that was packed.
#[derive(Debug)]
pub(crate) struct Received {
    delivery: Delivery,
    unpacked: Option<Vec<u8>>,
}

impl Received {
    /// Unpacks a body that is packed, if it has no more than `limit` bytes then; with 0 nothing is unpacked.
    pub(crate) fn new(delivery: Delivery, limit: usize) -> Self {
        let is_packed = limit > 0 && delivery.properties.content_encoding().as_ref().is_some_and(is_gzip);
        let unpacked = if is_packed { unpacked(&delivery, limit) } else { None };
        Self { delivery, unpacked }
    }

    /// Returns the body, unpacked where it was packed.
    pub(crate) fn body(&self) -> &[u8] {
        self.unpacked.as_deref().unwrap_or(&self.delivery.data)
    }

    /// Returns how much was unpacked.
    pub(crate) fn unpacked_len(&self) -> usize {
        self.unpacked.as_ref().map_or(0, Vec::len)
    }

    /// Returns the body as it came, if it was unpacked.
    pub(crate) fn packed(&self) -> Option<&[u8]> {
        self.unpacked.as_ref().map(|_| &self.delivery.data[..])
    }
}

impl Deref for Received {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

/// Whether an encoding is gzip, or gzip of another: Spring has put a colon between them, and puts a comma.
fn is_gzip(encoding: &ShortString) -> bool {
    let last = encoding.as_str().split([':', ',']).next().unwrap_or_default();
    last.trim().eq_ignore_ascii_case(GZIP)
}

#[cold]
fn unpacked(delivery: &Delivery, limit: usize) -> Option<Vec<u8>> {
    let read = read(&delivery.data, limit);
    if let Err(cause) = &read {
        let id = delivery.properties.message_id().as_ref().map(ShortString::as_str);
        tracing::warn!(id, routing_key = delivery.routing_key.as_str(), "a body in gzip is left packed: {cause}");
    }
    read.ok()
}

fn read(packed: &[u8], limit: usize) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    MultiGzDecoder::new(packed).take(most.saturating_add(1)).read_to_end(&mut body)?;
    if body.len() > limit {
        return Err(std::io::Error::other(format!("it has more than the {limit} bytes of `unpack-limit`")));
    }
    body.shrink_to_fit();
    Ok(body)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn received(encoding: &str, body: Vec<u8>, limit: usize) -> Received {
        let properties = BasicProperties::default().with_content_encoding(encoding.into());
        Received::new(Delivery { properties, ..Delivery::mock(1, "e".into(), "k".into(), false, body) }, limit)
    }

    #[test]
    fn what_spring_packed_is_unpacked() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/spring/rabbit-messages.json")).expect("JSON");
        let cases = file["cases"].as_array().expect("cases");
        let case = cases.iter().find(|case| case["case"] == "compress").expect("the case");
        let body = STANDARD.decode(case["message"]["body_b64"].as_str().expect("a body")).expect("base64");
        let received = received("gzip", body.clone(), 1024);
        let json: serde_json::Value = serde_json::from_slice(received.body()).expect("JSON");
        assert_eq!((json["action"].as_str(), received.packed()), (Some("UPDATE"), Some(&body[..])));
    }

    #[test]
    fn what_is_packed_is_unpacked_whatever_it_was_before() {
        for encoding in ["gzip", "GZIP", "gzip:utf-8", "gzip, utf-8"] {
            let received = received(encoding, pack(b"hello").expect("packed"), 5);
            assert_eq!((received.body(), received.unpacked_len()), (&b"hello"[..], 5), "{encoding}");
        }
    }

    #[test]
    fn what_is_too_large_or_broken_or_in_something_else_is_left_as_it_is() {
        let whole = pack(&[0; 10_000]).expect("packed");
        let cut = whole[..whole.len() - 4].to_vec();
        let plain = b"{}".to_vec();
        let left = [
            ("gzip", whole.clone(), 9_999),
            ("gzip", cut, 10_000),
            ("gzip", plain.clone(), 10_000),
            ("gzipped", plain, 10_000),
            ("utf-8, gzip", whole.clone(), 10_000),
            ("gzip", whole, 0),
        ];
        for (encoding, body, limit) in left {
            let received = received(encoding, body.clone(), limit);
            assert_eq!(
                (received.body(), received.packed(), received.unpacked_len()),
                (&body[..], None, 0),
                "{encoding}"
            );
        }
    }
}
