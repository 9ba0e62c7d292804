//! Groups that are sent to another position.

use std::time::{Duration, SystemTime};

use super::super::stamp;
use super::*;
use crate::binder::SeekTo;

fn seek(consumer: &mut dyn Consumer, to: SeekTo) -> Vec<LaneId> {
    consumer.seek(None, to).expect("it seeks")
}

#[test]
fn a_seek_goes_back_and_forward_in_new_lanes() {
    let memory = MemoryBinder::new();
    let mut orders = consumer(&memory, "orders", "g");
    publish(&memory, "orders", 0, &["a", "b", "c"]);
    let before = drain(&mut *orders);
    settle(&mut *orders, &before);
    for (to, expected) in [
        (SeekTo::Beginning, &["a", "b", "c"][..]),
        (SeekTo::Offset(2), &["c"]),
        (SeekTo::End, &[]),
        (SeekTo::Offset(9), &[]),
    ] {
        seek(&mut *orders, to);
        let after = drain(&mut *orders);
        assert_eq!(texts(&after), expected, "{to:?}");
        assert!(after.iter().all(|parcel| parcel.token.lane != before[0].token.lane), "{to:?}");
    }
    publish(&memory, "orders", 0, &["d"]);
    assert_eq!(texts(&drain(&mut *orders)), ["d"]);
}

#[test]
fn a_time_is_the_first_message_sent_since() {
    let memory = MemoryBinder::new();
    let mut orders = consumer(&memory, "orders", "g");
    publish(&memory, "orders", 0, &["old"]);
    let sent = drain(&mut *orders)[0].metadata.timestamp.expect("a time");
    let mut between = SystemTime::now();
    while between < sent + stamp::RESOLUTION {
        between = SystemTime::now();
    }
    publish(&memory, "orders", 0, &["new"]);
    seek(&mut *orders, SeekTo::Timestamp(between));
    assert_eq!(texts(&drain(&mut *orders)), ["new"]);
    seek(&mut *orders, SeekTo::Timestamp(sent));
    assert_eq!(texts(&drain(&mut *orders)), ["old", "new"]);
    seek(&mut *orders, SeekTo::Timestamp(SystemTime::now() + Duration::from_secs(3600)));
    assert!(drain(&mut *orders).is_empty());
}

#[test]
fn a_seek_outlives_its_consumer() {
    let memory = MemoryBinder::new();
    let mut orders = consumer(&memory, "orders", "g");
    publish(&memory, "orders", 0, &["a", "b", "c"]);
    let before = drain(&mut *orders);
    settle(&mut *orders, &before);
    seek(&mut *orders, SeekTo::Offset(1));
    settle(&mut *orders, &before);
    drop(orders);
    assert_eq!(texts(&drain(&mut *consumer(&memory, "orders", "g"))), ["b", "c"]);
}

#[test]
fn a_seek_waits_for_the_first_partition() {
    let memory = MemoryBinder::new();
    publish(&memory, "orders", 0, &["a", "b"]);
    let mut orders = consumer(&memory, "orders", "g");
    assert_eq!(seek(&mut *orders, SeekTo::Offset(1)), []);
    assert_eq!(texts(&drain(&mut *orders)), ["b"]);
}

#[test]
fn a_seek_moves_one_partition() {
    let memory = MemoryBinder::new();
    drop(producer(&memory, "orders", 2));
    let mut orders = consumer(&memory, "orders", "g");
    publish(&memory, "orders", 0, &["a"]);
    publish(&memory, "orders", 1, &["b"]);
    drain(&mut *orders);
    assert_eq!(orders.seek(Some(1), SeekTo::Beginning).expect("it seeks").len(), 1);
    assert_eq!(texts(&drain(&mut *orders)), ["b"]);
    assert_eq!(kind(orders.seek(Some(2), SeekTo::Beginning)), Some(ErrorKind::Refused));
}

#[test]
fn what_a_group_goes_back_to_is_kept_for_it() {
    let memory = MemoryBinder::with_retention(2);
    let orders_out = producer(&memory, "orders", 1);
    let mut orders = consumer(&memory, "orders", "g");
    for text in ["a", "b", "c", "d", "e"] {
        publish(&memory, "orders", 0, &[text]);
        let before = drain(&mut *orders);
        settle(&mut *orders, &before);
    }
    seek(&mut *orders, SeekTo::Beginning);
    assert!(is_full(orders_out.try_send(outgoing(b"f"))), "its messages would be dropped");
    assert_eq!(texts(&drain(&mut *orders)), ["d", "e"]);
    seek(&mut *orders, SeekTo::End);
    drop(sent(orders_out.try_send(outgoing(b"f"))));
}
