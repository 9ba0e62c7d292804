//! What a producer puts on the broker, and what it hears of it.

use binder_core::ErrorKind;
use binder_core::binder::{Binder, DeadLetter, Envelope, Outgoing, OutgoingBatch, ProducerBinding, TrySend};
use binder_core::config::{HeaderMode, ProducerProperties, Section, Unroutable};
use binder_core::message::{ContentType, Headers};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::json;

use crate::support::*;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        everything_of_a_message_comes_back,
        properties_are_those_of_spring,
        a_partition_is_part_of_the_routing_key,
        batches_are_confirmed_together,
        sends_keep_their_order,
        a_full_window_says_so,
        an_unroutable_message_fails,
        only_the_unroutable_ones_of_many_fail,
        an_unroutable_message_may_be_discarded,
        a_message_too_large_for_us_fails_before_it_is_sent,
        a_message_too_large_for_the_broker_fails_alone,
        headers_too_large_for_a_frame_fail_alone,
        a_full_queue_refuses,
        close_waits_and_refuses_later_sends,
        a_body_is_packed_and_unpacked,
        a_body_that_cannot_be_unpacked_comes_as_it_is,
        headers_in_front_of_a_body_are_refused,
    ]
}

async fn a_body_is_packed_and_unpacked(broker: Broker) {
    let binder = broker.binder();
    let destination = name("packed");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let raw = broker.raw().await;
    raw.declare(&destination, FieldTable::default()).await;
    raw.bind(&destination, &destination).await;
    let mut binding = ProducerBinding::new(destination.as_str());
    binding.section = Section::new("rabbit", json!({ "compress": true }));
    let producer = producer_of(&binder, &binding).await;
    let body = "abc".repeat(1000);
    let headers = Headers::new().with("tenant", "acme");
    let full = Outgoing { key: Some(b"k"), headers: &headers, ..message(body.as_bytes()) };
    send_message(&*producer, full).await.expect("sent");
    send_message(&*producer, Outgoing { payload: None, key: Some(b"gone"), ..message(b"") }).await.expect("sent");

    let wire = raw.get(&destination).await;
    assert!(wire.data.starts_with(&[0x1f, 0x8b]) && wire.data.len() < 200, "{} bytes", wire.data.len());
    assert_eq!(wire.properties.content_encoding().as_ref().map(ShortString::as_str), Some("gzip"));
    let table = wire.properties.headers().clone().expect("headers");
    assert_eq!(table.inner().get("springAutoDecompress"), Some(&AMQPValue::Boolean(true)));

    let received = receive(&mut *consumer, 2).await;
    assert_eq!((text(&received[0]), received[0].headers.clone()), (body, headers));
    let reason = binder_core::Error::new(ErrorKind::Handler, "no");
    let letters = consumer.dead_letters().expect("a named group has dead letters");
    letters.send(DeadLetter::new(&received[0], &reason, 1)).await.expect("sent");
    let letter = raw.get(&format!("{destination}.g.dlq")).await;
    assert_eq!(letter.data, wire.data, "a dead letter stays packed");
    assert_eq!(letter.properties.content_encoding(), wire.properties.content_encoding());
    assert_eq!(received[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!((received[1].payload.as_deref(), received[1].key.as_deref()), (None, Some(&b"gone"[..])));
}

async fn a_body_that_cannot_be_unpacked_comes_as_it_is(broker: Broker) {
    let binder = broker.binder();
    let destination = name("unpacked");
    let mut settings = input_with(&destination, Some("g"), json!({ "unpack-limit": 10 }));
    settings.properties.max_attempts = 1;
    let mut consumer = consumer_of(&binder, &settings).await;
    let mut binding = ProducerBinding::new(destination.as_str());
    binding.section = Section::new("rabbit", json!({ "compress": true }));
    let producer = producer_of(&binder, &binding).await;
    for body in [&b"ten bytes."[..], b"more bytes."] {
        send(&*producer, body).await.expect("sent");
    }
    let received = receive(&mut *consumer, 2).await;
    assert_eq!(text(&received[0]), "ten bytes.");
    let packed = received[1].payload.as_deref().expect("a body");
    assert!(packed.starts_with(&[0x1f, 0x8b]));
    let reason = binder_core::Error::new(ErrorKind::Codec, "packed");
    let letters = consumer.dead_letters().expect("a named group has dead letters");
    letters.send(DeadLetter::new(&received[1], &reason, 1)).await.expect("sent");
    let letter = broker.raw().await.get(&format!("{destination}.g.dlq")).await;
    assert_eq!(letter.data, packed);
    assert_eq!(letter.properties.content_encoding().as_ref().map(ShortString::as_str), Some("gzip"));
}

async fn headers_in_front_of_a_body_are_refused(broker: Broker) {
    let binder = broker.binder();
    let mut output = ProducerBinding::new("any");
    output.properties.header_mode = HeaderMode::Embedded;
    let mut input = input("any", None);
    input.properties.header_mode = HeaderMode::Embedded;
    let refused = [binder.check_producer(&output), binder.check_consumer(&input)];
    for error in refused.map(|checked| checked.expect_err("refused")) {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

async fn everything_of_a_message_comes_back(broker: Broker) {
    let binder = broker.binder();
    let destination = name("round-trip");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let headers = Headers::new().with("bool", true).with("bytes", vec![0_u8, 255]).with("double", 0.5);
    let headers = headers.with("int", 7).with("long", 1_i64 << 40).with("none", None::<i32>).with("text", "žluť");
    let content_type = ContentType::TEXT;
    let keys: [Option<&[u8]>; 3] = [Some(b"order-1"), Some(&[0xff, 0x00]), None];
    for key in keys {
        let full = Outgoing {
            payload: Some(b"\xff\x00body"),
            key,
            content_type: &content_type,
            headers: &headers,
            partition: None,
        };
        send_message(&*producer, full).await.expect("sent");
    }
    send_message(&*producer, Outgoing { payload: None, key: Some(b"gone"), ..message(b"") }).await.expect("sent");
    send(&*producer, b"").await.expect("sent");

    let received = receive(&mut *consumer, 5).await;
    for (parcel, key) in received.iter().zip(keys) {
        assert_eq!(parcel.payload.as_deref(), Some(&b"\xff\x00body"[..]));
        assert_eq!(parcel.key.as_deref(), key);
        assert_eq!(parcel.content_type, Some(ContentType::TEXT));
        assert_eq!(parcel.headers, headers);
        assert_eq!(&*parcel.metadata.destination, destination);
        assert_eq!(parcel.metadata.routing_key.as_deref(), Some(&*destination));
        assert_eq!(parcel.metadata.redelivered, 0);
        assert!(parcel.metadata.timestamp.is_some());
    }
    assert_eq!((received[3].payload.as_deref(), received[3].key.as_deref()), (None, Some(&b"gone"[..])));
    assert!(received[3].headers.is_empty());
    assert_eq!(received[4].payload.as_deref(), Some(&b""[..]), "an empty body is no tombstone");
}

async fn properties_are_those_of_spring(broker: Broker) {
    let binder = broker.binder();
    let destination = name("properties");
    let producer = producer(&binder, &destination).await;
    let raw = broker.raw().await;
    raw.declare(&destination, FieldTable::default()).await;
    raw.bind(&destination, &destination).await;
    let headers = Headers::new().with("tenant", "acme").with("contentType", "text/plain");
    let keyed = Outgoing { key: Some(b"k"), headers: &headers, ..message(b"{}") };
    send_message(&*producer, keyed).await.expect("sent");
    let got = raw.get(&destination).await;
    let properties = &got.properties;
    let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"));
    assert_eq!((*properties.delivery_mode(), *properties.priority()), (Some(2), Some(0)));
    assert_eq!(text(properties.message_id()).map(|id| id.len()), Some(36));
    assert!(properties.timestamp().is_some_and(|seconds| seconds > 1_700_000_000 && seconds < 100_000_000_000));
    let table = properties.headers().as_ref().expect("headers").inner();
    let long = |text: &str| AMQPValue::LongString(text.into());
    assert_eq!(table.get("tenant"), Some(&long("acme")));
    assert_eq!(table.get("messageKey"), Some(&long("k")));
    assert_eq!(table.len(), 2, "never a contentType header: {table:?}");
    assert_eq!(got.routing_key.as_str(), destination);
}

async fn a_partition_is_part_of_the_routing_key(broker: Broker) {
    let binder = broker.binder();
    let destination = name("partitions");
    let mut binding = ProducerBinding::new(&*destination);
    binding.properties = ProducerProperties::default().partition_count(2_u32).required_groups(vec!["g".to_owned()]);
    let producer = producer_of(&binder, &binding).await;
    for partition in [0, 1, 1] {
        let message = Outgoing { partition: Some(partition), ..message(b"x") };
        send_message(&*producer, message).await.expect("sent");
    }
    let raw = broker.raw().await;
    raw.wait_for(&format!("{destination}.g-0"), |seen| seen == Some((1, 0))).await;
    raw.wait_for(&format!("{destination}.g-1"), |seen| seen == Some((2, 0))).await;
    let beyond = Outgoing { partition: Some(7), ..message(b"x") };
    let error = send_message(&*producer, beyond).await.expect_err("no such partition");
    assert_eq!(error.kind(), ErrorKind::Unroutable);
    assert!(error.to_string().contains(&format!("{destination}-7")), "{error}");
}

async fn batches_are_confirmed_together(broker: Broker) {
    let binder = broker.binder();
    let destination = name("batches");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let mut batch = OutgoingBatch::new(ContentType::TEXT);
    for number in 0..5 {
        let write = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(format!("m{number}").as_bytes());
            Ok::<_, binder_core::Error>(true)
        };
        batch.push_with(Envelope { key: Some(b"key"), ..Envelope::default() }, write).expect("written");
    }
    let TrySend::Sent(receipt) = producer.try_send_batch(&batch).expect("open") else { panic!("there is room") };
    receipt.await.expect("confirmed");
    let received = receive(&mut *consumer, 5).await;
    assert_eq!(texts(&received), ["m0", "m1", "m2", "m3", "m4"]);
    assert!(received.iter().all(|parcel| parcel.key.as_deref() == Some(b"key")));
}

async fn sends_keep_their_order(broker: Broker) {
    let binder = broker.binder();
    let destination = name("order");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let sent = numbers(3000);
    let answers = send_in_order(&*producer, &sent).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let some = receive(&mut *consumer, 1).await;
        settle(&mut *consumer, &some[0]);
        received.extend(texts(&some));
    }
    assert_eq!(received, sent);
}

async fn a_full_window_says_so(broker: Broker) {
    let binder = broker.binder();
    let mut binding = ProducerBinding::new(name("window"));
    binding.properties = ProducerProperties::default().window(3_u32).unroutable(Unroutable::Discard);
    let producer = producer_of(&binder, &binding).await;
    let mut receipts = Vec::new();
    let full = loop {
        match producer.try_send(message(b"x")).expect("open") {
            TrySend::Sent(receipt) => receipts.push(receipt),
            TrySend::Full => break receipts.len(),
        }
        assert!(receipts.len() < 10_000, "never full");
    };
    assert!(full >= 3);
    std::future::poll_fn(|context| producer.poll_ready(context)).await.expect("open");
    for answer in futures::future::join_all(receipts).await {
        answer.expect("confirmed");
    }
}

async fn an_unroutable_message_fails(broker: Broker) {
    let binder = broker.binder();
    let destination = name("unroutable");
    let producer = producer(&binder, &destination).await;
    let error = send(&*producer, "nobody").await.expect_err("nobody is bound");
    assert_eq!(error.kind(), ErrorKind::Unroutable);
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("NO_ROUTE") && error.to_string().contains(&destination), "{error}");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    send(&*producer, "somebody").await.expect("somebody is bound");
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["somebody"]);
}

/// The broker confirms many messages at once, and the client gives a returned message to any of them.
async fn only_the_unroutable_ones_of_many_fail(broker: Broker) {
    let binder = broker.binder();
    let destination = name("mixed");
    let mut binding = ProducerBinding::new(&*destination);
    binding.properties = ProducerProperties::default().partition_count(1_u32).window(500_u32);
    let producer = producer_of(&binder, &binding).await;
    let mut input = input(&destination, Some("g"));
    input.properties = input.properties.partitioned(true);
    let _consumer = consumer_of(&binder, &input).await;
    for _ in 0..20 {
        let partitions: Vec<u32> = (0..500).map(|_| u32::from(fastrand::u8(..10) == 0)).collect();
        let sends = partitions.iter().map(|partition| {
            let message = Outgoing { partition: Some(*partition), ..message(b"x") };
            send_message(&*producer, message)
        });
        for (partition, answer) in partitions.iter().zip(futures::future::join_all(sends).await) {
            match answer {
                Ok(()) => assert_eq!(*partition, 0, "a returned message counts as sent"),
                Err(error) => assert_eq!((*partition, error.kind()), (1, ErrorKind::Unroutable)),
            }
        }
    }
}

async fn an_unroutable_message_may_be_discarded(broker: Broker) {
    let binder = broker.binder();
    let mut binding = ProducerBinding::new(name("discard"));
    binding.properties = ProducerProperties::default().unroutable(Unroutable::Discard);
    let producer = producer_of(&binder, &binding).await;
    send(&*producer, "nobody").await.expect("nobody cares");
}

async fn a_message_too_large_for_us_fails_before_it_is_sent(broker: Broker) {
    let binder = broker.binder_with(json!({ "max-message-size": 10 }));
    let destination = name("large");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let error = send(&*producer, "12345678901").await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    send(&*producer, "1234567890").await.expect("the connection lives");
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["1234567890"]);
}

async fn a_message_too_large_for_the_broker_fails_alone(broker: Broker) {
    let binder = broker.binder_with(json!({ "max-message-size": 200_000_000 }));
    let destination = name("larger");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let large = "x".repeat(128 * 1024 * 1024 + 1);
    let mut sent = numbers(40);
    sent[20] = large;
    let answers = send_all(&*producer, &sent).await;
    for (index, answer) in answers.iter().enumerate() {
        match answer {
            Ok(()) => assert_ne!(index, 20),
            Err(error) => assert_eq!((index, error.kind()), (20, ErrorKind::TooLarge), "{error:?}"),
        }
    }
    send(&*producer, "last").await.expect("the producer lives");
    let mut received = Vec::new();
    while received.last().map(String::as_str) != Some("last") {
        let some = receive(&mut *consumer, 1).await;
        settle(&mut *consumer, &some[0]);
        received.extend(texts(&some));
    }
    let counted = count(&received);
    for index in (0..40).filter(|index| *index != 20) {
        assert!(counted.contains_key(&*index.to_string()), "{index} is missing");
    }
}

async fn headers_too_large_for_a_frame_fail_alone(broker: Broker) {
    let binder = broker.binder();
    let destination = name("headers");
    let _consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let (fitting, excessive) = (130_500, 131_100);
    for (size, fits) in [(fitting, true), (excessive, false), (fitting, true)] {
        let headers = Headers::new().with("blob", "x".repeat(size));
        let answer = send_message(&*producer, Outgoing { headers: &headers, ..message(b"x") }).await;
        match answer {
            Ok(()) => assert!(fits),
            Err(error) => assert_eq!((fits, error.kind()), (false, ErrorKind::TooLarge)),
        }
    }
}

async fn a_full_queue_refuses(broker: Broker) {
    let binder = broker.binder();
    let destination = name("full");
    let producer = producer(&binder, &destination).await;
    let raw = broker.raw().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    raw.declare(&destination, arguments).await;
    raw.bind(&destination, &destination).await;
    let answers = send_all(&*producer, &numbers(10)).await;
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err()).collect::<Vec<_>>();
    assert!(!refused.is_empty() && refused.len() < 10, "{answers:?}");
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::Refused && error.is_retryable()));
}

async fn close_waits_and_refuses_later_sends(broker: Broker) {
    let binder = broker.binder();
    let destination = name("close");
    let raw = broker.raw().await;
    let producer = producer(&binder, &destination).await;
    raw.declare(&destination, FieldTable::default()).await;
    raw.bind(&destination, &destination).await;
    for _ in 0..500 {
        assert!(matches!(producer.try_send(message(b"x")).expect("open"), TrySend::Sent(_)));
    }
    producer.close().await.expect("closed");
    assert_eq!(raw.look(&destination).await, Some((500, 0)));
    assert_eq!(send(&*producer, "late").await.expect_err("closed").kind(), ErrorKind::Closed);
    binder.close().await.expect("closed");
}
