//! Where messages go, and what a send says.

use std::future::poll_fn;

use super::*;
use crate::binder::{Envelope, OutgoingBatch};
use crate::config::HeaderMode;

/// Returns a batch of messages with an optional key and an optional partition.
fn batch(messages: &[(Option<&str>, Option<u32>)]) -> OutgoingBatch {
    let mut batch = OutgoingBatch::new(ContentType::TEXT);
    for (index, (key, partition)) in messages.iter().enumerate() {
        let text = index.to_string();
        let write = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(text.as_bytes());
            Ok::<_, Error>(true)
        };
        let envelope = Envelope { key: key.map(str::as_bytes), partition: *partition, ..Envelope::default() };
        batch.push_with(envelope, write).unwrap();
    }
    batch
}

fn partitions_of(binder: &MemoryBinder, destination: &str) -> Vec<u32> {
    binder.messages(destination).iter().filter_map(Message::partition).collect()
}

#[test]
fn a_key_has_its_partition() {
    let binder = MemoryBinder::new();
    let sender = producer(&binder, "orders", 5);
    let key = Some(&b"foobar"[..]);
    for _ in 0..3 {
        drop(sent(sender.try_send(Outgoing { key, ..outgoing(b"a") })));
    }
    let expected = (-790_332_482_i32 & 0x7fff_ffff) as u32 % 5;
    assert_ne!(expected, 0);
    assert_eq!(partitions_of(&binder, "orders"), [expected; 3]);
}

#[test]
fn an_explicit_partition_wins() {
    let binder = MemoryBinder::new();
    let sender = producer(&binder, "orders", 7);
    let key = Some(&b"foobar"[..]);
    for partition in [0, 6] {
        drop(sent(sender.try_send(Outgoing { key, partition: Some(partition), ..outgoing(b"a") })));
    }
    assert_eq!(partitions_of(&binder, "orders"), [0, 6]);
}

#[test]
fn messages_without_key_are_spread_evenly() {
    let binder = MemoryBinder::new();
    let sender = producer(&binder, "orders", 3);
    for _ in 0..3 {
        drop(sent(sender.try_send(outgoing(b"a"))));
    }
    drop(sent(sender.try_send_batch(&batch(&[(None, None); 3]))));
    assert_eq!(partitions_of(&binder, "orders"), [0, 0, 1, 1, 2, 2]);
}

#[test]
fn a_partition_that_does_not_exist_is_refused() {
    let binder = MemoryBinder::new();
    let sender = producer(&binder, "orders", 2);
    let error = sender.try_send(Outgoing { partition: Some(2), ..outgoing(b"a") }).expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.message(), "there is no partition 2, the destination has 2");
    assert_eq!(kind(sender.try_send_batch(&batch(&[(None, Some(0)), (None, Some(2))]))), Some(ErrorKind::Refused));
    assert!(binder.messages("orders").is_empty());
    let single = producer(&binder, "single", 1);
    publish(&binder, "single", 0, &["a"]);
    assert_eq!(kind(single.try_send_batch(&batch(&[(None, Some(0)), (None, Some(1))]))), Some(ErrorKind::Refused));
    let mut long = vec![(None, Some(0)); 600];
    long.push((None, Some(1)));
    assert_eq!(kind(single.try_send_batch(&batch(&long))), Some(ErrorKind::Refused));
    publish(&binder, "single", 0, &["b"]);
    assert_eq!(payloads(&binder.messages("single")), [b"a", b"b"], "a refused batch leaves nothing");
}

#[test]
fn a_receipt_is_answered_at_once() {
    let binder = MemoryBinder::new();
    let sender = producer(&binder, "orders", 1);
    assert!(sent(sender.try_send(outgoing(b"a"))).now_or_never().expect("answered").is_ok());
    assert!(sent(sender.try_send_batch(&batch(&[(None, None)]))).now_or_never().expect("answered").is_ok());
}

#[test]
fn a_batch_keeps_its_order_in_each_partition() {
    let binder = MemoryBinder::new();
    let sender = producer(&binder, "orders", 4);
    let keys = ["a", "b", "c", "d", "e", "f"].map(|key| (Some(key), None));
    drop(sent(sender.try_send_batch(&batch(&keys.repeat(5)))));
    let messages = binder.messages("orders");
    assert_eq!(messages.len(), 30);
    for (key, _) in &keys {
        let of_key: Vec<u32> = messages
            .iter()
            .filter(|message| message.key_str() == *key)
            .map(|message| std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap())
            .collect();
        assert_eq!(of_key.len(), 5);
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
}

#[test]
fn an_empty_batch_is_taken() {
    let binder = MemoryBinder::new();
    drop(sent(producer(&binder, "orders", 2).try_send_batch(&OutgoingBatch::default())));
    assert!(binder.messages("orders").is_empty());
}

#[test]
fn a_batch_that_does_not_fit_everywhere_is_taken_nowhere() {
    let binder = MemoryBinder::with_retention(2);
    let sender = producer(&binder, "orders", 2);
    let mut group = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 1, &["a"]);
    let too_much = batch(&[(None, Some(0)), (None, Some(1)), (None, Some(1))]);
    assert!(is_full(sender.try_send_batch(&too_much)));
    let parcels = drain(&mut *group);
    assert_eq!(texts(&parcels), ["a"]);
    settle(&mut *group, &parcels);
    drop(sent(sender.try_send_batch(&too_much)));
    assert_eq!(texts(&drain(&mut *group)), ["0", "1", "2"]);
}

#[test]
fn a_batch_above_the_retention_is_taken_when_all_is_settled() {
    let binder = MemoryBinder::with_retention(2);
    let sender = producer(&binder, "orders", 1);
    let mut group = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 0, &["a"]);
    let large = batch(&[(None, None); 5]);
    assert!(is_full(sender.try_send_batch(&large)));
    let parcels = drain(&mut *group);
    settle(&mut *group, &parcels);
    drop(sent(sender.try_send_batch(&large)));
    assert_eq!(binder.messages("orders").len(), 5);
    let parcels = drain(&mut *group);
    assert_eq!(texts(&parcels), ["0", "1", "2", "3", "4"]);
    settle(&mut *group, &parcels);
    publish(&binder, "orders", 0, &["b"]);
    assert_eq!(payloads(&binder.messages("orders")), [b"4", b"b"], "the surplus is gone");
}

#[test]
fn header_mode_none_writes_no_headers() {
    let binder = MemoryBinder::new();
    let mut without = ProducerBinding::new("orders");
    without.properties.header_mode = HeaderMode::None;
    let sender = binder.bind_producer(&without).now_or_never().unwrap().unwrap();
    let headers = Headers::new().with("n", 1);
    drop(sent(sender.try_send(Outgoing { headers: &headers, ..outgoing(b"a") })));
    let message = &binder.messages("orders")[0];
    assert_eq!((message.content_type(), message.headers().len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_is_woken_by_a_settlement() {
    let binder = MemoryBinder::with_retention(1);
    let sender = producer(&binder, "orders", 1);
    let mut group = consumer(&binder, "orders", "billing");
    poll_fn(|context| sender.poll_ready(context)).await.unwrap();
    drop(sent(sender.try_send(outgoing(b"a"))));
    let waiting = tokio::spawn({
        let sender = Arc::clone(&sender);
        async move { poll_fn(|context| sender.poll_ready(context)).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let parcels = drain(&mut *group);
    settle(&mut *group, &parcels);
    soon(waiting).await.unwrap().unwrap();
    drop(sent(sender.try_send(outgoing(b"b"))));
}

#[test]
fn who_waits_with_a_batch_waits_for_room_for_all_of_it() {
    let binder = MemoryBinder::with_retention(3);
    for partitions in [1, 2] {
        let destination = format!("orders-{partitions}");
        let sender = producer(&binder, &destination, partitions);
        let mut group = consumer(&binder, &destination, "billing");
        publish(&binder, &destination, 0, &["a", "b"]);
        let refused = batch(&[(None, Some(0)), (None, Some(0)), (None, Some(partitions - 1))]);
        assert!(is_full(sender.try_send_batch(&refused)));
        let parcels = drain(&mut *group);
        for parcel in &parcels {
            assert!(poll_fn(|context| sender.poll_ready(context)).now_or_never().is_none());
            settle(&mut *group, std::slice::from_ref(parcel));
            if partitions == 2 {
                break;
            }
        }
        poll_fn(|context| sender.poll_ready(context)).now_or_never().expect("there is room").unwrap();
        drop(sent(sender.try_send_batch(&refused)));
    }
}

#[test]
fn who_waits_after_a_batch_waits_for_room_for_one() {
    let binder = MemoryBinder::with_retention(3);
    let sender = producer(&binder, "orders", 1);
    let mut group = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 0, &["a"]);
    let refused = batch(&[(None, None); 3]);
    assert!(is_full(sender.try_send_batch(&refused)));
    let parcels = drain(&mut *group);
    settle(&mut *group, &parcels);
    poll_fn(|context| sender.poll_ready(context)).now_or_never().expect("there is room").unwrap();
    drop(sent(sender.try_send_batch(&refused)));
    assert!(is_full(sender.try_send(outgoing(b"b"))));
    let parcels = drain(&mut *group);
    settle(&mut *group, &parcels[..1]);
    poll_fn(|context| sender.poll_ready(context)).now_or_never().expect("there is room").unwrap();
    drop(sent(sender.try_send(outgoing(b"b"))));
}

#[tokio::test(start_paused = true)]
async fn a_closed_producer_refuses_and_releases_those_who_wait() {
    let binder = MemoryBinder::with_retention(1);
    let sender = producer(&binder, "orders", 1);
    let _group = consumer(&binder, "orders", "billing");
    drop(sent(sender.try_send(outgoing(b"a"))));
    let waiting = tokio::spawn({
        let sender = Arc::clone(&sender);
        async move { kind(poll_fn(|context| sender.poll_ready(context)).await) }
    });
    tokio::task::yield_now().await;
    sender.flush().await.unwrap();
    sender.close().await.unwrap();
    assert_eq!(soon(waiting).await.unwrap(), Some(ErrorKind::Closed));
    assert_eq!(kind(sender.try_send(outgoing(b"b"))), Some(ErrorKind::Closed));
    assert_eq!(kind(sender.try_send_batch(&OutgoingBatch::default())), Some(ErrorKind::Closed));
}

#[tokio::test(start_paused = true)]
async fn closing_the_binder_releases_the_senders_that_wait() {
    let binder = MemoryBinder::with_retention(1);
    let sender = producer(&binder, "orders", 1);
    let _group = consumer(&binder.connect(), "orders", "billing");
    drop(sent(sender.try_send(outgoing(b"a"))));
    let waiting = tokio::spawn(async move { kind(poll_fn(|context| sender.poll_ready(context)).await) });
    tokio::task::yield_now().await;
    binder.close().await.unwrap();
    assert_eq!(soon(waiting).await.unwrap(), Some(ErrorKind::Closed));
}
