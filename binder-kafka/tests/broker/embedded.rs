//! Headers in front of the payload.

use std::time::Duration;

use binder_core::ErrorKind;
use binder_core::binder::{DeadLetter, Outgoing};
use binder_core::config::{HeaderMode, RetryMode};
use binder_core::message::{ContentType, HeaderValue, Headers, Message};
use libtest_mimic::Trial;
use rdkafka::Message as _;
use rdkafka::message::{Header, OwnedHeaders};

use crate::support::*;
use crate::transactions::{Channels, application};

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("embedded_headers_stand_in_front_of_the_payload", ready, embedded_headers_stand_in_front_of_the_payload),
        case("an_embedded_input_reads_every_record", ready, an_embedded_input_reads_every_record),
        case("a_text_input_finds_embedded_headers", ready, a_text_input_finds_embedded_headers),
        case("bytes_are_not_taken_for_embedded_headers", ready, bytes_are_not_taken_for_embedded_headers),
        case("a_dead_letter_has_what_was_embedded", ready, a_dead_letter_has_what_was_embedded),
        case(
            "what_stands_in_front_stays_beside_headers_of_others",
            ready,
            what_stands_in_front_stays_beside_headers_of_others,
        ),
        case("embedded_headers_come_back_from_a_delay", ready, embedded_headers_come_back_from_a_delay),
        case("headers_that_do_not_fit_in_front_are_refused", ready, headers_that_do_not_fit_in_front_are_refused),
        case("a_transaction_embeds_headers", ready, a_transaction_embeds_headers),
    ]
}

/// What Spring Cloud Stream 1 wrote for a message of JSON with one header of its own.
const FRAMED: &[u8] = b"\xff\x02\x06tenant\0\0\0\x06\"acme\"\x0bcontentType\0\0\0\x12\"application/json\"{\"n\":1}";

fn framed() -> (Option<i32>, OwnedHeaders, &'static [u8]) {
    (Some(0), OwnedHeaders::new(), FRAMED)
}

async fn embedded_headers_stand_in_front_of_the_payload() {
    let (binder, topic) = (binder(), unique("front"));
    let mut binding = output(&topic);
    binding.properties.header_mode = HeaderMode::Embedded;
    let sender = binder.bind_producer(&binding).await.unwrap();
    let headers = Headers::new().with("tenant", "acme");
    let message = Outgoing { content_type: &ContentType::JSON, headers: &headers, ..text("{\"n\":1}", Some("k")) };
    send(&*sender, message).await.unwrap();
    send(&*sender, Outgoing { payload: None, ..message }).await.unwrap();
    let records = raw_read(&topic, 0, 2).await;
    assert_eq!(records[0].payload(), Some(FRAMED));
    assert_eq!(records[1].payload(), None, "a tombstone has nothing in front");
    assert!(records.iter().all(|record| record.headers().is_none() && record.key() == Some(b"k")));
}

async fn an_embedded_input_reads_every_record() {
    let (binder, topic) = (binder(), unique("mixed"));
    let sender = producer(&binder, &topic, 1).await;
    raw_send(&topic, vec![framed(), (Some(0), OwnedHeaders::new(), b"{\"n\":2}")]).await;
    let headers = Headers::new().with("tenant", "acme");
    let native = Outgoing { content_type: &ContentType::JSON, headers: &headers, ..text("{\"n\":3}", None) };
    send(&*sender, native).await.unwrap();
    send(&*sender, Outgoing { payload: None, ..native }).await.unwrap();
    let mut binding = input(&topic, Some(&topic));
    binding.properties.header_mode = HeaderMode::Embedded;
    // nothing of the type is looked at: the binding says what stands in front
    binding.content_type = ContentType::BYTES;
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let parcels = receive(&mut receiver, 4).await;
    assert_eq!(payloads(&parcels[..3]), ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
    let said: Vec<_> = parcels.iter().map(|parcel| (parcel.content_type.clone(), parcel.headers.clone())).collect();
    let full = (Some(ContentType::JSON), headers);
    assert_eq!(said, [full.clone(), (None, Headers::new()), full.clone(), full]);
    assert_eq!(parcels[3].payload, None);
}

async fn a_text_input_finds_embedded_headers() {
    let (binder, topic) = (binder(), unique("found"));
    drop(producer(&binder, &topic, 1).await);
    raw_send(&topic, vec![framed()]).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let parcel = receive(&mut receiver, 1).await.remove(0);
    assert_eq!(payloads(std::slice::from_ref(&parcel)), ["{\"n\":1}"]);
    assert_eq!((parcel.content_type, parcel.headers), (Some(ContentType::JSON), Headers::new().with("tenant", "acme")));
}

async fn bytes_are_not_taken_for_embedded_headers() {
    let (binder, topic) = (binder(), unique("bytes"));
    drop(producer(&binder, &topic, 1).await);
    raw_send(&topic, vec![framed()]).await;
    for (mode, content_type) in [(HeaderMode::Headers, ContentType::BYTES), (HeaderMode::None, ContentType::JSON)] {
        let mut binding = input(&topic, Some(&unique("bytes")));
        (binding.properties.header_mode, binding.content_type) = (mode, content_type);
        let mut receiver = binder.bind_consumer(&binding).await.unwrap();
        let parcel = receive(&mut receiver, 1).await.remove(0);
        assert_eq!((parcel.payload.as_deref(), parcel.headers.len()), (Some(FRAMED), 0), "{mode:?}");
    }
}

async fn a_dead_letter_has_what_was_embedded() {
    let (binder, topic) = (binder(), unique("letter"));
    drop(producer(&binder, &topic, 1).await);
    raw_send(&topic, vec![framed()]).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let parcel = receive(&mut receiver, 1).await.remove(0);
    let reason = binder_core::Error::new(ErrorKind::Handler, "no");
    receiver.dead_letters().unwrap().send(DeadLetter::new(&parcel, &reason, 1)).await.unwrap();
    let letter = raw_read(&format!("error.{topic}.{topic}"), 0, 1).await.remove(0);
    assert_eq!(letter.payload(), Some(&b"{\"n\":1}"[..]));
    assert_eq!(header(&letter, "tenant"), [Some(b"acme".to_vec())]);
    assert_eq!(header(&letter, "contentType"), [Some(b"application/json".to_vec())]);
    let types = "{\"contentType\":\"java.lang.String\",\"tenant\":\"java.lang.String\"}";
    assert_eq!(header(&letter, "spring_json_header_types"), [Some(types.into())]);
    assert_eq!(header(&letter, "x-original-topic"), [Some(topic.into())]);
}

/// A dead letter that was written before anybody looked for embedded headers, or by Java, is sent back with headers beside.
async fn what_stands_in_front_stays_beside_headers_of_others() {
    let (binder, topic) = (binder(), unique("beside"));
    drop(producer(&binder, &topic, 1).await);
    let count = Header { key: "x-redrive-count", value: Some("1") };
    let native = |key, value| OwnedHeaders::new().insert(Header { key, value: Some(value) });
    raw_send(
        &topic,
        vec![
            (Some(0), native("traceparent", "00-1").insert(count), FRAMED),
            (Some(0), native("contentType", "text/plain"), FRAMED),
        ],
    )
    .await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let parcels = receive(&mut receiver, 2).await;
    assert_eq!(payloads(&parcels[..1]), ["{\"n\":1}"]);
    let all = &parcels[0].headers;
    assert_eq!(all.get("tenant"), Some(&"acme".into()));
    assert_eq!(all.get("traceparent"), Some(&HeaderValue::from(b"00-1".to_vec())));
    assert_eq!(parcels[1].payload.as_deref(), Some(FRAMED), "a content type of its own says that nothing is in front");
}

async fn embedded_headers_come_back_from_a_delay() {
    let (binder, topic) = (binder(), unique("delay"));
    drop(producer(&binder, &topic, 1).await);
    let untyped: &[u8] = b"\xff\x01\x06tenant\0\0\0\x06\"acme\"{\"n\":1}";
    raw_send(&topic, vec![framed(), (Some(0), OwnedHeaders::new(), untyped)]).await;
    let mut binding = input(&topic, Some(&topic));
    binding.properties.retry = RetryMode::Delayed;
    binding.properties.max_attempts = 2;
    binding.properties.backoff.initial = Duration::from_millis(100);
    let sink = binder.delay().unwrap().sink(&binding).unwrap();
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let first = receive(&mut receiver, 2).await;
    for parcel in &first {
        sink.send(parcel, 2, Duration::from_millis(100)).await.unwrap();
        settle(&mut receiver, parcel.token);
    }
    let again = receive(&mut receiver, 2).await;
    for (again, first) in again.iter().zip(&first) {
        assert_eq!((&again.payload, &again.headers), (&first.payload, &first.headers));
        assert_eq!(again.content_type, first.content_type, "none is added");
    }
}

async fn headers_that_do_not_fit_in_front_are_refused() {
    let (binder, topic) = (binder(), unique("many"));
    let mut binding = output(&topic);
    binding.properties.header_mode = HeaderMode::Embedded;
    let sender = binder.bind_producer(&binding).await.unwrap();
    let many: Headers = (0..255).map(|index| (format!("h{index}"), HeaderValue::from(1))).collect();
    let error = send(&*sender, Outgoing { headers: &many, ..text("x", None) }).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, false), "{error:?}");
    send(&*sender, text("y", None)).await.unwrap();
    assert!(raw_read(&topic, 0, 1).await[0].payload().unwrap().ends_with(b"y"), "only that one");
}

async fn a_transaction_embeds_headers() {
    let name = unique("embedding");
    let app = application(&name, "header-mode: embedded");
    let channels = app.bind::<Channels>().await.unwrap();
    let message = || Message::new("x".to_owned());
    let many: Headers = (0..255).map(|index| (format!("h{index}"), HeaderValue::from(1))).collect();
    let refused = app.transaction(async |tx| {
        tx.send_message(&channels.invoices, message()).await?;
        Ok(tx.send_message(&channels.invoices, message().with_headers(many.clone())).await?)
    });
    let error = refused.await.expect_err("it can't be embedded");
    assert!(error.to_string().contains("254 headers"), "{error}");
    app.transaction(async |tx| {
        tx.send_message(&channels.invoices, message().with_header("n", 1)).await?;
        Ok(tx.send(&channels.audit, &"y".to_owned()).await?)
    })
    .await
    .unwrap();
    let record = raw_read(&name, 0, 1).await.remove(0);
    assert_eq!(record.payload(), Some(&b"\xff\x02\x01n\0\0\0\x011\x0bcontentType\0\0\0\x0c\"text/plain\"x"[..]));
    assert!(record.headers().is_none());
    let other = raw_read(&format!("{name}-audit"), 0, 1).await.remove(0);
    assert_eq!(other.payload(), Some(&b"y"[..]));
    app.shutdown().await.unwrap();
}
