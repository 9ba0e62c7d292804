//! What is on the wire.

use binder_core::ErrorKind;
use binder_core::binder::{DeadLetter, Envelope, Outgoing, OutgoingBatch, TrySend};
use binder_core::config::HeaderMode;
use binder_core::message::{ContentType, HeaderValue, Headers};
use libtest_mimic::Trial;
use rdkafka::Message as _;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use serde_json::json;

use crate::support::*;

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("a_message_comes_back_as_it_was_sent", ready, a_message_comes_back_as_it_was_sent),
        case("content_type_is_plain_and_types_come_last", ready, content_type_is_plain_and_types_come_last),
        case("header_mode_none_neither_writes_nor_reads", ready, header_mode_none_neither_writes_nor_reads),
        case("foreign_headers_are_read_leniently", ready, foreign_headers_are_read_leniently),
        case("keys_choose_partitions_as_in_java", ready, keys_choose_partitions_as_in_java),
        case("an_explicit_partition_wins", ready, an_explicit_partition_wins),
        case("a_topic_that_grows_is_followed", ready, a_topic_that_grows_is_followed),
        case("too_large_is_an_error_of_its_own", ready, too_large_is_an_error_of_its_own),
        case("a_batch_names_what_failed", ready, a_batch_names_what_failed),
        case("a_full_client_loses_no_receipt", ready, a_full_client_loses_no_receipt),
        case("a_batch_that_fills_the_client_has_all_answers", ready, a_batch_that_fills_the_client_has_all_answers),
        case("a_dead_letter_keeps_the_record_and_says_why", ready, a_dead_letter_keeps_the_record_and_says_why),
        case("a_dead_letter_falls_back_to_fewer_partitions", ready, a_dead_letter_falls_back_to_fewer_partitions),
        case("a_closed_output_refuses", ready, a_closed_output_refuses),
    ]
}

async fn a_message_comes_back_as_it_was_sent() {
    let (binder, topic) = (binder(), unique("round"));
    let sender = producer(&binder, &topic, 1).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let headers = Headers::new()
        .with("tenant", "acme")
        .with("hops", 1)
        .with("hops", 2)
        .with("total", 1_i64 << 40)
        .with("rate", 0.5)
        .with("ok", true)
        .with("quoted", "\"q\"")
        .with("raw", vec![0, 255])
        .with("gone", HeaderValue::Null);
    let content_type = ContentType::parse("text/plain;charset=utf-8");
    let full = Outgoing {
        payload: Some(b"hi"),
        key: Some(b"k\xff"),
        content_type: &content_type,
        headers: &headers,
        partition: None,
    };
    send(&*sender, full).await.unwrap();
    send(&*sender, Outgoing { payload: None, headers: &Headers::new(), ..full }).await.unwrap();
    send(&*sender, Outgoing { payload: Some(b""), key: None, headers: &Headers::new(), ..full }).await.unwrap();
    let parcels = receive(&mut receiver, 3).await;
    assert_eq!(parcels[0].payload.as_deref(), Some(&b"hi"[..]));
    assert_eq!(parcels[0].key.as_deref(), Some(&b"k\xff"[..]));
    assert_eq!(parcels[0].headers, headers);
    assert_eq!(parcels[0].content_type, Some(content_type.clone()));
    assert_eq!(parcels[0].metadata.destination.as_ref(), topic);
    assert_eq!((parcels[0].metadata.partition, parcels[0].metadata.offset), (Some(0), Some(0)));
    let age = parcels[0].metadata.timestamp.unwrap().elapsed().unwrap_or_default();
    assert!(age.as_secs() < 60, "{age:?}");
    assert_eq!(parcels[1].payload, None);
    assert_eq!(parcels[1].key.as_deref(), Some(&b"k\xff"[..]));
    assert_eq!(parcels[2].payload.as_deref(), Some(&b""[..]));
    assert_eq!(parcels[2].key, None);
    assert_eq!(parcels.iter().map(|parcel| parcel.token.sequence).collect::<Vec<_>>(), [0, 1, 2]);
}

async fn content_type_is_plain_and_types_come_last() {
    let (binder, topic) = (binder(), unique("wire"));
    let sender = producer(&binder, &topic, 1).await;
    let headers = Headers::new().with("n", 1).with("b", vec![1]);
    let message = Outgoing { content_type: &ContentType::JSON, headers: &headers, ..text("{}", None) };
    send(&*sender, message).await.unwrap();
    send(&*sender, Outgoing { headers: &Headers::new(), ..message }).await.unwrap();
    let records = raw_read(&topic, 0, 2).await;
    let shown = |index: usize| {
        let headers = records[index].headers().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        headers.iter().map(|h| format!("{}={}", h.key, text(h.value.unwrap()))).collect::<Vec<_>>()
    };
    let types = r#"spring_json_header_types={"contentType":"java.lang.String","n":"java.lang.Integer"}"#;
    assert_eq!(shown(0), ["contentType=application/json", "n=1", "b=\u{1}", types]);
    let types = r#"spring_json_header_types={"contentType":"java.lang.String"}"#;
    assert_eq!(shown(1), ["contentType=application/json", types]);
}

async fn header_mode_none_neither_writes_nor_reads() {
    let (binder, topic) = (binder(), unique("bare"));
    let mut binding = output(&topic);
    binding.properties.header_mode = HeaderMode::None;
    let sender = binder.bind_producer(&binding).await.unwrap();
    send(&*sender, Outgoing { headers: &Headers::new().with("a", 1), ..text("x", None) }).await.unwrap();
    assert!(raw_read(&topic, 0, 1).await[0].headers().is_none());
    send(&*producer(&binder, &topic, 1).await, Outgoing { headers: &Headers::new().with("a", 1), ..text("y", None) })
        .await
        .unwrap();
    let mut binding = input(&topic, Some(&topic));
    binding.properties.header_mode = HeaderMode::None;
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let parcels = receive(&mut receiver, 2).await;
    assert_eq!((parcels[1].content_type.clone(), parcels[1].headers.clone()), (None, Headers::new()));
}

async fn foreign_headers_are_read_leniently() {
    let (binder, topic) = (binder(), unique("foreign"));
    drop(producer(&binder, &topic, 1).await);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "contentType", value: Some("\"text/plain\"") })
        .insert(Header { key: "free", value: Some("text") })
        .insert(Header { key: "id", value: Some("\"6f1c\"") })
        .insert(Header { key: "spring_json_header_types", value: Some(r#"{"id":"java.util.UUID"}"#) });
    raw_send(&topic, vec![(None, headers, b"1"), (None, OwnedHeaders::new(), b"2")]).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let parcels = receive(&mut receiver, 2).await;
    assert_eq!(parcels[0].content_type, Some(ContentType::TEXT));
    let bytes = |text: &'static str| HeaderValue::Bytes(bytes::Bytes::from_static(text.as_bytes()));
    assert_eq!(parcels[0].headers, Headers::new().with("free", bytes("text")).with("id", bytes("\"6f1c\"")));
    assert_eq!(parcels[1].content_type, None);
}

async fn keys_choose_partitions_as_in_java() {
    let (binder, topic) = (binder(), unique("keys"));
    let sender = producer(&binder, &topic, 4).await;
    // murmur2 of the key, as kafka-clients 4.1 computed it
    let expected = [("key-0", 1), ("key-1", 0), ("key-2", 2), ("key-3", 3), ("key-4", 1), ("key-5", 0)];
    for (key, _) in expected {
        send(&*sender, text("x", Some(key))).await.unwrap();
    }
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    for parcel in receive(&mut receiver, expected.len()).await {
        let key = String::from_utf8(parcel.key.unwrap().to_vec()).unwrap();
        let (_, partition) = expected.iter().find(|(known, _)| *known == key).unwrap();
        assert_eq!(parcel.metadata.partition, Some(*partition), "{key}");
    }
}

async fn an_explicit_partition_wins() {
    let (binder, topic) = (binder(), unique("explicit"));
    let sender = producer(&binder, &topic, 3).await;
    for partition in [2, 0, 1] {
        send(&*sender, Outgoing { partition: Some(partition), ..text("x", Some("k")) }).await.unwrap();
    }
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let mut found: Vec<_> = receive(&mut receiver, 3).await.iter().map(|p| p.metadata.partition.unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2]);
    let error = send(&*sender, Outgoing { partition: Some(3), ..text("x", None) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
}

async fn a_topic_that_grows_is_followed() {
    let (binder, topic) = (binder(), unique("grows"));
    let sender = producer(&binder, &topic, 2).await;
    assert_eq!(sender.partitions(), Some(2));
    grow(&topic, 5).await;
    until("the count follows", async || sender.partitions() == Some(5)).await;
    send(&*sender, Outgoing { partition: Some(4), ..text("to the last", None) }).await.unwrap();
    assert_eq!(raw_read(&topic, 4, 1).await.len(), 1);
}

async fn too_large_is_an_error_of_its_own() {
    let (binder, topic) = (binder(), unique("large"));
    let sender = producer(&binder, &topic, 1).await;
    let large = "x".repeat(3_000_000);
    let error = send(&*sender, text(&large, None)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TooLarge, false), "refused by the client: {error:?}");
    send(&*sender, text("small", None)).await.unwrap();
    let mut binding = output(&topic);
    binding.section = section(json!({ "configuration": { "message.max.bytes": 10_000_000 } }));
    let sender = binder.bind_producer(&binding).await.unwrap();
    let error = send(&*sender, text(&large, None)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TooLarge, false), "refused by the broker: {error:?}");
    send(&*sender, text("small again", None)).await.unwrap();
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    assert_eq!(payloads(&receive(&mut receiver, 2).await), ["small", "small again"]);
}

fn batch(payloads: impl IntoIterator<Item = String>) -> OutgoingBatch {
    let mut batch = OutgoingBatch::new(ContentType::TEXT);
    for payload in payloads {
        let write = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(payload.as_bytes());
            Ok::<_, binder_core::Error>(true)
        };
        batch.push_with(Envelope::default(), write).unwrap();
    }
    batch
}

async fn a_batch_names_what_failed() {
    let (binder, topic) = (binder(), unique("batch"));
    let sender = producer(&binder, &topic, 1).await;
    let sent = batch(["0".to_owned(), "x".repeat(2_000_000), "2".to_owned()]);
    let TrySend::Sent(receipt) = sender.try_send_batch(&sent).unwrap() else { panic!("full") };
    let failures = receipt.await.unwrap_err().into_vec();
    assert_eq!(
        failures.iter().map(|(index, error)| (*index, error.kind())).collect::<Vec<_>>(),
        [(1, ErrorKind::TooLarge)]
    );
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    assert_eq!(payloads(&receive(&mut receiver, 2).await), ["0", "2"]);
    let TrySend::Sent(receipt) = sender.try_send_batch(&OutgoingBatch::default()).unwrap() else { panic!("full") };
    receipt.await.unwrap();
}

/// An output whose client holds 64 kB.
async fn narrow(topic: &str) -> std::sync::Arc<dyn binder_core::binder::Producer> {
    let mut binding = output(topic);
    binding.properties.window = 10_000;
    binding.section = section(json!({ "linger": "50ms", "configuration": { "queue.buffering.max.kbytes": 64 } }));
    binder().bind_producer(&binding).await.unwrap()
}

async fn a_full_client_loses_no_receipt() {
    let topic = unique("full");
    let sender = narrow(&topic).await;
    let messages: Vec<_> = (0..500).map(|number| format!("{number:01000}")).collect();
    send_all(&*sender, messages.clone()).await;
    let mut receiver = consumer(&binder(), &topic, Some(&topic)).await;
    assert_eq!(payloads(&receive(&mut receiver, 500).await), messages);
}

async fn a_batch_that_fills_the_client_has_all_answers() {
    let topic = unique("overfull");
    let sender = narrow(&topic).await;
    let sent = batch((0..200).map(|number| format!("{number:01000}")));
    let TrySend::Sent(receipt) = sender.try_send_batch(&sent).unwrap() else { panic!("full") };
    let failures = receipt.await.unwrap_err().into_vec();
    let first = failures[0].0;
    assert!(first > 0, "something was sent");
    assert_eq!(failures.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (first..200).collect::<Vec<_>>());
    assert!(failures.iter().all(|(_, error)| error.is_retryable()));
    let mut receiver = consumer(&binder(), &topic, Some(&topic)).await;
    assert_eq!(receive(&mut receiver, first as usize).await.len(), first as usize);
}

async fn a_dead_letter_keeps_the_record_and_says_why() {
    let (binder, topic) = (binder(), unique("dead"));
    drop(producer(&binder, &topic, 2).await);
    let types =
        r#"{"contentType":"java.lang.String", "id":"java.util.UUID","q":"java.lang.String","n":"java.lang.Long"}"#;
    let pairs: [(&str, Option<&str>); 8] = [
        ("id", Some("\"6f1c\"")),
        ("q", Some("\"quoted\"")),
        ("contentType", Some("\"application/json\"")),
        ("n", Some(" 7")),
        ("twice", Some("1")),
        ("twice", None),
        ("spring_json_header_types", Some(types)),
        ("after", Some("ž")),
    ];
    let headers =
        pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: *value }));
    raw_send(&topic, vec![(Some(1), headers, b"{broken")]).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let parcel = receive(&mut receiver, 1).await.remove(0);
    let reason = binder_core::Error::new(ErrorKind::Codec, "not JSON").with_source(std::io::Error::other("žluť"));
    let sink = receiver.dead_letters().expect("a named group has dead letters");
    sink.send(DeadLetter::new(&parcel, &reason, 3)).await.unwrap();

    let source = raw_read(&topic, 1, 1).await.remove(0);
    let letter = raw_read(&format!("error.{topic}.{topic}"), 1, 1).await.remove(0);
    assert_eq!((letter.key(), letter.payload()), (source.key(), source.payload()));
    let list = |message: &rdkafka::message::OwnedMessage| {
        let headers = message.headers().unwrap();
        headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect::<Vec<_>>()
    };
    let (before, after) = (list(&source), list(&letter));
    assert_eq!(after[..before.len()], before, "byte for byte");
    let added: Vec<_> =
        after[before.len()..].iter().map(|(name, value)| (name.as_str(), value.clone().unwrap())).collect();
    let millis = source.timestamp().to_millis().unwrap();
    assert_eq!(added[0], ("x-original-topic", topic.as_bytes().to_vec()));
    assert_eq!(added[1], ("x-original-partition", 1_i32.to_be_bytes().to_vec()));
    assert_eq!(added[2], ("x-original-offset", 0_i64.to_be_bytes().to_vec()));
    assert_eq!(added[3], ("x-original-timestamp", millis.to_be_bytes().to_vec()));
    assert_eq!(added[4], ("x-original-timestamp-type", b"CreateTime".to_vec()));
    assert_eq!(added[5].0, "x-exception-fqcn");
    assert_eq!(added[6], ("x-exception-message", b"not JSON".to_vec()));
    let trace = String::from_utf8(added[7].1.clone()).unwrap();
    assert!(added[7].0 == "x-exception-stacktrace" && trace.contains("caused by: žluť"), "{trace}");
    assert_eq!(added[8], ("x-attempts", b"3".to_vec()));
    assert_eq!(added.len(), 9);
}

async fn a_dead_letter_falls_back_to_fewer_partitions() {
    let (binder, topic) = (binder(), unique("few"));
    drop(producer(&binder, &format!("error.{topic}.{topic}"), 1).await);
    let sender = producer(&binder, &topic, 3).await;
    send(&*sender, Outgoing { partition: Some(2), ..text("x", None) }).await.unwrap();
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let parcel = receive(&mut receiver, 1).await.remove(0);
    let reason = binder_core::Error::new(ErrorKind::Handler, "no");
    receiver.dead_letters().unwrap().send(DeadLetter::new(&parcel, &reason, 3)).await.unwrap();
    assert_eq!(raw_read(&format!("error.{topic}.{topic}"), 0, 1).await[0].payload(), Some(&b"x"[..]));
}

async fn a_closed_output_refuses() {
    let (binder, topic) = (binder(), unique("closed"));
    let sender = producer(&binder, &topic, 1).await;
    let TrySend::Sent(receipt) = sender.try_send(text("last", None)).unwrap() else { panic!("full") };
    sender.close().await.unwrap();
    receipt.await.unwrap();
    assert_eq!(sender.try_send(text("later", None)).unwrap_err().kind(), ErrorKind::Closed);
    let other = producer(&binder, &topic, 1).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    assert_eq!(payloads(&receive(&mut receiver, 1).await), ["last"]);
    let waiting = tokio::spawn(async move { receiver.recv_many(1).await.map(|_| ()).map_err(|error| error.kind()) });
    binder.close().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(ErrorKind::Closed), "a wait ends");
    assert_eq!(other.try_send(text("later", None)).unwrap_err().kind(), ErrorKind::Closed);
}
