//! `application/x-protobuf`, by prost.

use prost::Message;

use super::reason::Reason;
use super::{Codecs, Decode, Encode, unfit};
use crate::message::ContentType;
use crate::{Error, ErrorKind, Result};

/// A message of Protocol Buffers, as [prost](https://docs.rs/prost) makes its type: `Output<Protobuf<OrderPlaced>>`.
///
/// It is sent and received as `application/x-protobuf`, `application/protobuf`, `application/vnd.google.protobuf` or any `*+protobuf`; the binding or the
/// message has to say one of them. The frame that serializers of a schema registry put in front (a zero, the number of the schema, where the type
/// stands in it) is passed over: no message of Protocol Buffers begins with a zero. None is written. As prost has it, a message may have 100 messages within
/// each other, and fields that the type does not know are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protobuf<M>(pub M);

impl<M: Message + 'static> Encode for Protobuf<M> {
    fn encode(&self, _: &Codecs, content_type: &ContentType, out: &mut Vec<u8>) -> Result<()> {
        check(content_type)?;
        self.0.encode(out).map_err(|cause| unfit("write", content_type, cause))
    }

    /// A type of prost does not name its fields.
    fn hash_code(&self, _: &[String]) -> Result<i32> {
        let text = "a Protobuf message has no field that a partition key could name: use a header, the key, or `.partition_key(..)`";
        Err(Error::new(ErrorKind::Codec, text))
    }
}

impl<M: Message + Default + 'static> Decode for Protobuf<M> {
    fn decode(_: &Codecs, content_type: &ContentType, bytes: &[u8]) -> Result<Self> {
        check(content_type)?;
        let read = unframed(bytes).and_then(|bytes| M::decode(bytes).map_err(|cause| Reason::new(cause.to_string())));
        read.map(Self).map_err(|reason| unfit("read", content_type, reason))
    }
}

fn check(content_type: &ContentType) -> Result<()> {
    let essence = content_type.essence();
    let known = ["application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf"];
    if known.contains(&essence) || essence.ends_with("+protobuf") {
        return Ok(());
    }
    let text = format!("a Protobuf message is `{}` and not `{content_type}`: say so in `content-type`", known[0]);
    Err(Error::new(ErrorKind::Codec, text))
}

/// Passes over the frame of a schema registry: zero, four bytes of a number, then how many steps lead to the type, and each.
fn unframed(bytes: &[u8]) -> Result<&[u8], Reason> {
    let Some(mut rest) = bytes.strip_prefix(&[0]) else { return Ok(bytes) };
    let broken = || Reason::new("it begins as a frame of a schema registry does, which is not whole");
    rest = rest.get(4..).ok_or_else(broken)?;
    let mut step = || {
        let number = prost::encoding::decode_varint(&mut rest).ok()?;
        // zigzag: none is negative
        (number % 2 == 0).then_some(number / 2)
    };
    for _ in 0..step().ok_or_else(broken)? {
        step().ok_or_else(broken)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Order {
        #[prost(string, tag = "1")]
        product: String,
        #[prost(uint32, tag = "2")]
        quantity: u32,
        #[prost(message, optional, boxed, tag = "3")]
        inner: Option<Box<Order>>,
    }

    fn order() -> Order {
        Order { product: "CATALOG-001".to_owned(), quantity: 2, inner: None }
    }

    fn written(content_type: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        Protobuf(order()).encode(&Codecs::new(), &ContentType::parse(content_type), &mut out).map(|()| out)
    }

    fn read(bytes: &[u8]) -> Result<Order> {
        let content_type = ContentType::parse("application/x-protobuf");
        Protobuf::<Order>::decode(&Codecs::new(), &content_type, bytes).map(|Protobuf(order)| order)
    }

    fn refused(bytes: &[u8]) -> String {
        let error = read(bytes).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Codec);
        error.to_string()
    }

    #[test]
    fn a_message_is_the_bytes_that_every_library_writes() {
        let bytes = written("application/x-protobuf").expect("written");
        assert_eq!(bytes, b"\x0a\x0bCATALOG-001\x10\x02");
        assert_eq!(read(&bytes).expect("read"), order());
        assert_eq!(read(b"").expect("read"), Order::default(), "nothing is a message of defaults");
    }

    #[test]
    fn another_content_type_is_refused() {
        for content_type in ["application/protobuf; v=1", "application/vnd.order.v1+protobuf"] {
            assert!(written(content_type).is_ok(), "{content_type}");
        }
        let error = written("application/json").expect_err("refused").to_string();
        assert!(error.contains("`application/x-protobuf` and not `application/json`"), "{error}");
        let error = Protobuf::<Order>::decode(&Codecs::new(), &ContentType::TEXT, b"").expect_err("refused");
        assert!(error.to_string().contains("not `text/plain`"), "{error}");
    }

    #[test]
    fn the_frame_of_a_registry_is_passed_over() {
        let bytes = written("application/x-protobuf").expect("written");
        // the first type of the file, and the second of the third
        for steps in [&[0][..], &[4, 4, 2]] {
            let framed = [&[0, 0, 0, 0, 7], steps, &bytes].concat();
            assert_eq!(read(&framed).expect("read"), order());
        }
        for cut in [&[0, 0, 0, 0][..], &[0, 0, 0, 0, 7], &[0, 0, 0, 0, 7, 4, 2], &[0, 0, 0, 0, 7, 1]] {
            assert!(refused(cut).contains("frame of a schema registry"), "{cut:?}");
        }
    }

    #[test]
    fn what_is_broken_or_too_deep_says_so_without_the_payload() {
        let text = refused(b"\x0a\x06s3cret\x08\x01\x0a\xff");
        assert!(text.contains("Order.product") && !text.contains("s3cret"), "{text}");
        let deep = (0..200).fold(order(), |inner, _| Order { inner: Some(Box::new(inner)), ..Order::default() });
        assert!(refused(&deep.encode_to_vec()).contains("recursion limit"));
    }

    #[test]
    fn a_partition_key_names_no_field() {
        assert_eq!(Protobuf(order()).hash_code(&["product".to_owned()]).expect_err("refused").kind(), ErrorKind::Codec);
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written(product in any::<String>(), quantity in any::<u32>()) {
            let order = Order { product, quantity, inner: Some(Box::new(order())) };
            prop_assert_eq!(read(&order.encode_to_vec()).expect("read"), order);
        }

        /// Whatever the bytes are, reading them ends.
        #[test]
        fn no_bytes_are_too_much(bytes in any::<Vec<u8>>(), frame in any::<bool>()) {
            let bytes = if frame { [&[0, 0, 0, 0, 1][..], &bytes].concat() } else { bytes };
            let _ = read(&bytes);
        }
    }
}
