//! What a message carries arrives as it was sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use super::cases;
use super::log::Seen;
use super::sides::number;
use super::world::World;
use crate::message::{HeaderValue, Headers, Message};

cases!("roundtrip":
    text_key,
    binary_key,
    content_type_of_each_message,
    header_types,
    header_texts,
    missing_header_is_none,
    duplicate_headers [DuplicateHeaders],
    many_headers,
    tombstone,
    empty_payload_is_no_tombstone,
    bytes_of_all_values,
    large_payload,
    header_mode_none,
);

/// Sends messages and returns what arrives, in order.
async fn exchange(world: &World, messages: Vec<Message<Bytes>>) -> Vec<Seen> {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    let count = messages.len();
    for message in messages {
        source.message(message).await;
    }
    sink.sees(count).await;
    sink.stays_at(count).await;
    sink.seen()
}

async fn exchange_one(world: &World, message: Message<Bytes>) -> Seen {
    exchange(world, vec![message]).await.remove(0)
}

async fn text_key(world: World) {
    let seen = exchange_one(&world, Message::new(number(1)).with_key("order-1 žluť")).await;
    assert_eq!(seen.key(), Some("order-1 žluť"));
    assert_eq!(seen.delivery.key.as_deref(), Some("order-1 žluť".as_bytes()));
}

async fn binary_key(world: World) {
    let keys = [&[0xff_u8, 0x00, 0xfe][..], &[0xc3, 0x28]];
    let messages = keys.map(|key| Message::new(number(1)).with_key(Bytes::from_static(key)));
    let none = Message::new(number(1));
    let seen = exchange(&world, messages.into_iter().chain([none]).collect()).await;
    let arrived: Vec<_> = seen.iter().map(|seen| seen.message.key()).collect();
    assert_eq!(arrived, [Some(keys[0]), Some(keys[1]), None]);
}

async fn content_type_of_each_message(world: World) {
    let types = ["application/json", "text/plain", "application/octet-stream", "application/vnd.order+json;v=2"];
    let messages = types.map(|name| Message::new(number(1)).with_content_type(name));
    let seen = exchange(&world, messages.into()).await;
    let arrived: Vec<_> = seen.iter().filter_map(|seen| Some(seen.message.content_type()?.as_str())).collect();
    assert_eq!(arrived, types);
}

async fn header_types(world: World) {
    let list: HeaderValue =
        [HeaderValue::from("a"), 1.into(), i64::MAX.into(), 1.5.into(), true.into(), HeaderValue::Null]
            .into_iter()
            .collect();
    let values = [
        ("true", HeaderValue::Bool(true)),
        ("false", HeaderValue::Bool(false)),
        ("i32", HeaderValue::I32(i32::MIN)),
        ("i64", HeaderValue::I64(i64::MAX)),
        ("small-i64", HeaderValue::I64(7)),
        ("f64", HeaderValue::F64(0.1)),
        ("whole-f64", HeaderValue::F64(2.0)),
        ("string", HeaderValue::String("text".to_owned())),
        ("number-as-string", HeaderValue::String("12".to_owned())),
        ("bytes", HeaderValue::Bytes(Bytes::from_static(&[0, 0xff, 1]))),
        ("list", list.clone()),
        ("map", BTreeMap::from([("inner".to_owned(), list), ("text".to_owned(), "x".into())]).into()),
    ];
    let uuid = Uuid::from_u128(0x6f1c_2f4e_9d1b_4e57_8f0a_1d2c_3b4a_5968);
    let headers = values.clone().into_iter().collect::<Headers>().with("uuid", uuid);
    let seen = exchange_one(&world, Message::new(number(1)).with_headers(headers)).await;
    for (name, value) in &values {
        assert_eq!(seen.message.headers().get(name), Some(value), "header `{name}`");
    }
    // it may come back as text
    assert_eq!(seen.message.headers().get("uuid").and_then(HeaderValue::as_uuid), Some(uuid));
    assert_eq!(seen.message.headers().len(), values.len() + 1, "{:?}", seen.message.headers());
}

async fn header_texts(world: World) {
    let texts = ["", " ", "\"quoted\"", "{\"json\": true}", "null", "žluťoučký kůň 🐎", "a\nb\tc"];
    let headers: Headers = texts.iter().enumerate().map(|(index, text)| (format!("h{index}"), *text)).collect();
    let seen = exchange_one(&world, Message::new(number(1)).with_headers(headers)).await;
    for (index, text) in texts.iter().enumerate() {
        let value = seen.message.headers().get(&format!("h{index}"));
        assert_eq!(value, Some(&HeaderValue::String((*text).to_owned())), "{text:?}");
    }
}

async fn missing_header_is_none(world: World) {
    let seen = exchange_one(&world, Message::new(number(1)).with_header("there", 1)).await;
    assert_eq!(seen.message.headers().get("there"), Some(&HeaderValue::I32(1)));
    assert_eq!(seen.message.headers().get("missing"), None);
    assert_eq!(seen.message.headers().get("ther"), None);
}

async fn duplicate_headers(world: World) {
    let headers = Headers::new().with("hop", "a").with("other", 1).with("hop", "b").with("hop", "a");
    let seen = exchange_one(&world, Message::new(number(1)).with_headers(headers)).await;
    let hops: Vec<_> = seen.message.headers().get_all("hop").map(HeaderValue::to_text).collect();
    assert_eq!(hops, ["a", "b", "a"]);
}

async fn many_headers(world: World) {
    let headers: Headers = (0..50).map(|index| (format!("header-{index}"), "v".repeat(100))).collect();
    let seen = exchange_one(&world, Message::new(number(1)).with_headers(headers)).await;
    assert_eq!(seen.message.headers().len(), 50);
}

async fn tombstone(world: World) {
    let seen = exchange(&world, vec![Message::tombstone().with_key("gone"), Message::new(number(1))]).await;
    assert!(seen[0].message.is_tombstone());
    assert_eq!((seen[0].key(), seen[1].id), (Some("gone"), Some(1)));
}

async fn empty_payload_is_no_tombstone(world: World) {
    let seen = exchange_one(&world, Message::new(Bytes::new())).await;
    assert_eq!(seen.message.payload(), Some(&Bytes::new()));
}

async fn bytes_of_all_values(world: World) {
    let all: Bytes = (0..=255).collect();
    let seen = exchange_one(&world, Message::new(all.clone())).await;
    assert_eq!(seen.message.payload(), Some(&all));
}

async fn large_payload(world: World) {
    let large: Bytes = (0..700_000_u32).map(|index| ((index * 31) >> 3) as u8).collect();
    let seen = exchange_one(&world, Message::new(large.clone())).await;
    assert!(seen.message.payload() == Some(&large), "another payload of {:?}", seen.message.payload().map(Bytes::len));
}

/// An output without headers sends none, and an input without headers reads none.
async fn header_mode_none(world: World) {
    let reads = world.sink("reads").open().await;
    let reads_not = world.sink("reads-not").consumer(json!({ "header-mode": "none" })).open().await;
    let with = world.plain_source().await;
    let without = world.source().producer(json!({ "header-mode": "none" })).open().await;
    with.message(Message::new(number(0)).with_header("tenant", "acme")).await;
    reads.sees(1).await;
    reads_not.sees(1).await;
    without.message(Message::new(number(1)).with_header("tenant", "acme")).await;
    reads.sees(2).await;
    let counts = |seen: &[Seen]| seen.iter().map(|seen| seen.message.headers().len()).collect::<Vec<_>>();
    assert_eq!(counts(&reads.seen()), [1, 0]);
    assert_eq!(counts(&reads_not.seen())[0], 0);
}
