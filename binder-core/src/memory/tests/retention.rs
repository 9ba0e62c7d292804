//! What is kept, and who waits for whom.

use super::*;

#[test]
fn without_a_group_the_oldest_are_dropped_and_a_later_group_starts_there() {
    let binder = MemoryBinder::with_retention(2);
    publish(&binder, "orders", 0, &["a", "b", "c"]);
    assert_eq!(payloads(&binder.messages("orders")), [b"b", b"c"]);
    let parcels = drain(&mut *consumer(&binder, "orders", "billing"));
    assert_eq!(texts(&parcels), ["b", "c"]);
    assert_eq!(parcels[0].metadata.offset, Some(1));
}

#[test]
fn what_is_settled_stays_until_its_place_is_needed() {
    let binder = MemoryBinder::with_retention(2);
    let mut group = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 0, &["a", "b"]);
    let parcels = drain(&mut *group);
    settle(&mut *group, &parcels);
    assert_eq!(texts(&drain(&mut *consumer(&binder, "orders", "audit"))), ["a", "b"]);
}

#[test]
fn a_slow_group_makes_producers_wait_and_loses_nothing() {
    let binder = MemoryBinder::with_retention(2);
    let mut slow = consumer(&binder, "orders", "slow");
    let mut fast = consumer(&binder, "orders", "fast");
    publish(&binder, "orders", 0, &["a", "b"]);
    let parcels = drain(&mut *fast);
    settle(&mut *fast, &parcels);
    let full = binder.publish("orders", Message::new("c")).expect_err("it is full");
    assert!(full.kind() == ErrorKind::Refused && full.is_retryable());
    let parcels = drain(&mut *slow);
    settle(&mut *slow, &parcels[..1]);
    publish(&binder, "orders", 0, &["c"]);
    assert_eq!(kind(binder.publish("orders", Message::new("d"))), Some(ErrorKind::Refused));
    assert_eq!(texts(&parcels), ["a", "b"]);
    assert_eq!(payloads(&binder.messages("orders")), [b"b", b"c"]);
}

#[test]
fn a_named_group_without_a_member_keeps_its_messages() {
    let binder = MemoryBinder::with_retention(1);
    drop(consumer(&binder, "orders", "billing"));
    publish(&binder, "orders", 0, &["a"]);
    assert_eq!(kind(binder.publish("orders", Message::new("b"))), Some(ErrorKind::Refused));
    assert_eq!(texts(&drain(&mut *consumer(&binder, "orders", "billing"))), ["a"]);
}

#[test]
fn a_group_that_comes_late_holds_back_what_it_has_not_settled() {
    let binder = MemoryBinder::with_retention(2);
    publish(&binder, "orders", 0, &["a", "b", "c"]);
    let mut late = consumer(&binder, "orders", "billing");
    assert_eq!(kind(binder.publish("orders", Message::new("d"))), Some(ErrorKind::Refused));
    assert_eq!(texts(&drain(&mut *late)), ["b", "c"]);
}

#[test]
fn a_full_partition_does_not_hold_up_another_one() {
    let binder = MemoryBinder::with_retention(1);
    let sender = producer(&binder, "orders", 2);
    let _group = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 0, &["a"]);
    assert!(is_full(sender.try_send(Outgoing { partition: Some(0), ..outgoing(b"b") })));
    drop(sent(sender.try_send(Outgoing { partition: Some(1), ..outgoing(b"b") })));
}

#[test]
fn a_batch_outlives_what_the_log_drops() {
    let binder = MemoryBinder::with_retention(1);
    publish(&binder, "orders", 0, &["a"]);
    let mut group = consumer(&binder, "orders", "billing");
    let parcels = drain(&mut *group);
    settle(&mut *group, &parcels);
    publish(&binder, "orders", 0, &["b"]);
    assert_eq!(payloads(&binder.messages("orders")), [b"b"]);
    assert_eq!(texts(&parcels), ["a"]);
}

#[test]
fn headers_come_back_over_many_chunks() {
    let binder = MemoryBinder::with_retention(600);
    let mut group = consumer(&binder, "orders", "billing");
    let message = |number: usize| {
        let message = Message::new(number.to_string()).with_content_type("text/plain");
        if number.is_multiple_of(3) { message.with_header("number", number as i64) } else { message }
    };
    for start in (0..2000).step_by(500) {
        for number in start..start + 500 {
            binder.publish("orders", message(number)).unwrap();
        }
        let parcels = drain(&mut *group);
        for (number, parcel) in (start..).zip(&parcels) {
            let expected = message(number);
            assert_eq!(parcel.payload.as_deref(), expected.payload().map(|text| text.as_bytes()));
            assert_eq!(&parcel.headers, expected.headers());
            assert_eq!(parcel.content_type.as_ref(), expected.content_type());
        }
        settle(&mut *group, &parcels);
    }
    assert_eq!(binder.messages("orders").len(), 600);
}

#[test]
fn messages_of_every_size_come_back_over_many_segments() {
    let binder = MemoryBinder::with_retention(64);
    let sender = producer(&binder, "orders", 1);
    let mut group = consumer(&binder, "orders", "billing");
    let sizes = [0, 1, 1000, 65_535, 65_536, 65_537, 200_000, 0, 3];
    let mut next = 0_u64;
    for round in 0..40 {
        let count = round % 7 + 1;
        for step in 0..count {
            let payload = vec![(round + step) as u8; sizes[(round + step) % sizes.len()]];
            let key = (step % 2 == 0).then_some(&payload[..payload.len().min(5)]);
            drop(sent(sender.try_send(Outgoing { key, ..outgoing(&payload) })));
        }
        let parcels = drain(&mut *group);
        assert_eq!(parcels.len(), count);
        for (step, parcel) in parcels.iter().enumerate() {
            let payload = vec![(round + step) as u8; sizes[(round + step) % sizes.len()]];
            assert_eq!((parcel.token.sequence, parcel.payload.as_deref()), (next, Some(&payload[..])));
            assert_eq!(parcel.key.as_deref(), (step % 2 == 0).then_some(&payload[..payload.len().min(5)]));
            next += 1;
        }
        settle(&mut *group, &parcels);
    }
}
