//! Groups: positions, members, rebalance.

use super::*;
use crate::config::Start;

#[test]
fn a_named_group_starts_at_the_oldest_message() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a", "b"]);
    let mut late = consumer(&binder, "orders", "billing");
    assert_eq!(texts(&drain(&mut *late)), ["a", "b"]);
}

#[test]
fn a_named_group_starts_at_the_latest_if_asked() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    let mut late = binding("orders", Some("billing"));
    late.properties.start = Some(Start::Latest);
    let mut late = bind(&binder, &late);
    publish(&binder, "orders", 0, &["b"]);
    assert_eq!(texts(&drain(&mut *late)), ["b"]);
}

#[test]
fn an_anonymous_group_starts_at_the_latest_message_of_all_partitions() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 1, &["a"]);
    let mut one = bind(&binder, &binding("orders", None));
    let mut other = bind(&binder, &binding("orders", None));
    publish(&binder, "orders", 0, &["b"]);
    publish(&binder, "orders", 1, &["c"]);
    assert_eq!(texts(&drain(&mut *one)), ["b", "c"]);
    assert_eq!(texts(&drain(&mut *other)), ["b", "c"], "each is a group of its own");
}

#[test]
fn an_anonymous_group_is_gone_with_its_consumer() {
    let binder = MemoryBinder::with_retention(1);
    let anonymous = bind(&binder, &binding("orders", None));
    let sender = producer(&binder, "orders", 1);
    drop(sent(sender.try_send(outgoing(b"a"))));
    assert!(is_full(sender.try_send(outgoing(b"b"))));
    drop(anonymous);
    drop(sent(sender.try_send(outgoing(b"b"))));
}

#[test]
fn groups_do_not_see_each_others_positions() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    for group in ["billing", "audit"] {
        let mut consumer = consumer(&binder, "orders", group);
        let parcels = drain(&mut *consumer);
        assert_eq!(texts(&parcels), ["a"]);
        settle(&mut *consumer, &parcels);
    }
}

#[test]
fn a_group_goes_on_where_it_has_settled() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a", "b", "c"]);
    let mut first = consumer(&binder, "orders", "billing");
    let parcels = drain(&mut *first);
    settle(&mut *first, &parcels[..1]);
    first.close().now_or_never().expect("never waits").expect("it closes");
    assert_eq!(binder.position("orders", "billing"), Some(vec![1]));
    let mut second = consumer(&binder, "orders", "billing");
    assert_eq!(texts(&drain(&mut *second)), ["b", "c"]);
}

#[test]
fn what_a_killed_member_had_unsettled_goes_to_the_others_at_once() {
    let binder = MemoryBinder::new();
    let mut killed = consumer(&binder, "orders", "billing");
    let mut other = consumer(&binder.connect(), "orders", "billing");
    publish(&binder, "orders", 0, &["a", "b"]);
    let parcels = drain(&mut *killed);
    settle(&mut *killed, &parcels[..1]);
    assert!(drain(&mut *other).is_empty(), "there is one partition, and it is taken");
    drop(killed);
    assert_eq!(texts(&drain(&mut *other)), ["b"]);
}

#[test]
fn a_joining_member_gets_a_partition_only_after_its_release() {
    let binder = MemoryBinder::new();
    binder.publish("orders", Message::new("").with_partition(1)).unwrap();
    let mut old = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 0, &["a", "b"]);
    publish(&binder, "orders", 1, &["c", "d"]);
    let before = drain(&mut *old);
    assert_eq!(before.len(), 5);
    let mut new = consumer(&binder, "orders", "billing");
    let lanes = revoked(&mut *old);
    let [lane] = lanes[..] else { panic!("{lanes:?}") };
    assert!(drain(&mut *new).is_empty());
    let there: Vec<_> = before.into_iter().filter(|parcel| parcel.token.lane == lane).collect();
    settle(&mut *old, &there[..1]);
    release(&mut *old, &lanes);
    let moved = drain(&mut *new);
    assert_eq!(texts(&moved), texts(&there[1..]));
    settle(&mut *old, &there);
    let partition = moved[0].metadata.partition.unwrap() as usize;
    assert_eq!(binder.position("orders", "billing").unwrap()[partition], 1, "late settlement has no effect");
}

#[test]
fn a_revoked_partition_brings_nothing_new_to_its_old_owner() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "orders", 1, &["b"]);
    let mut old = consumer(&binder, "orders", "billing");
    assert_eq!(drain(&mut *old).len(), 2);
    let mut new = consumer(&binder, "orders", "billing");
    let lanes = revoked(&mut *old);
    publish(&binder, "orders", 0, &["c"]);
    publish(&binder, "orders", 1, &["d"]);
    let kept = drain(&mut *old);
    assert_eq!(partitions(&kept).len(), 1);
    release(&mut *old, &lanes);
    let taken = drain(&mut *new);
    assert_eq!(taken.len(), 2, "the unsettled one and the new one");
    assert_ne!(partitions(&taken), partitions(&kept));
}

#[test]
fn a_partition_that_has_delivered_nothing_moves_without_being_asked_for() {
    let binder = MemoryBinder::new();
    let _sender = producer(&binder, "orders", 2);
    let mut old = consumer(&binder, "orders", "billing");
    assert!(drain(&mut *old).is_empty());
    let mut new = consumer(&binder, "orders", "billing");
    assert!(drain(&mut *old).is_empty());
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "orders", 1, &["b"]);
    assert_eq!(drain(&mut *old).len(), 1);
    assert_eq!(drain(&mut *new).len(), 1);
}

#[test]
fn a_partition_that_comes_back_is_a_new_lane() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "orders", 1, &["b"]);
    let mut old = consumer(&binder, "orders", "billing");
    let before = drain(&mut *old);
    let new = consumer(&binder, "orders", "billing");
    let lanes = revoked(&mut *old);
    release(&mut *old, &lanes);
    drop(new);
    let again = drain(&mut *old);
    assert_eq!(again.len(), 1);
    assert!(before.iter().all(|parcel| parcel.token.lane != again[0].token.lane));
    settle(&mut *old, &before);
    let partition = again[0].metadata.partition.unwrap() as usize;
    assert_eq!(binder.position("orders", "billing").unwrap()[partition], 0, "the old lane is no more");
}

#[test]
fn a_release_that_nobody_asked_for_is_ignored() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    let mut consumer = consumer(&binder, "orders", "billing");
    let parcels = drain(&mut *consumer);
    release(&mut *consumer, &[parcels[0].token.lane, LaneId(99)]);
    settle(&mut *consumer, &parcels);
    assert_eq!(binder.position("orders", "billing"), Some(vec![1]));
}

#[test]
fn a_surplus_member_takes_over_when_one_leaves() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    let members = [(); 3].map(|()| consumer(&binder, "orders", "billing"));
    let mut members = members.into_iter();
    for last in [false, false, true] {
        let mut member = members.next().unwrap();
        assert_eq!(texts(&drain(&mut *member)), ["a"]);
        if !last {
            drop(member);
        }
    }
}

#[test]
fn a_group_takes_up_partitions_that_are_added() {
    let binder = MemoryBinder::new();
    let mut one = consumer(&binder, "orders", "billing");
    let mut other = consumer(&binder, "orders", "billing");
    let _grown = producer(&binder, "orders", 2);
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "orders", 1, &["b"]);
    assert_eq!(texts(&drain(&mut *one)), ["a"]);
    assert_eq!(texts(&drain(&mut *other)), ["b"]);
}

#[test]
fn a_required_group_gets_what_is_sent_before_it_comes() {
    let binder = MemoryBinder::with_retention(2);
    publish(&binder, "orders", 0, &["a"]);
    let mut required = ProducerBinding::new("orders");
    required.properties.required_groups = vec!["billing".to_owned()];
    let sender = binder.bind_producer(&required).now_or_never().unwrap().unwrap();
    drop(sent(sender.try_send(outgoing(b"b"))));
    assert!(is_full(sender.try_send(outgoing(b"c"))));
    assert_eq!(texts(&drain(&mut *consumer(&binder, "orders", "billing"))), ["a", "b"]);
}

#[test]
fn a_consumer_reads_several_destinations() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "returns", 0, &["b"]);
    let mut both = binding("orders", Some("billing"));
    both.destinations = vec!["orders".to_owned(), "returns".to_owned()];
    let mut both = bind(&binder, &both);
    let parcels = drain(&mut *both);
    assert_eq!(texts(&parcels), ["a", "b"]);
    let destinations: Vec<&str> = parcels.iter().map(|parcel| parcel.metadata.destination.as_ref()).collect();
    assert_eq!(destinations, ["orders", "returns"]);
    settle(&mut *both, &parcels[1..]);
    assert_eq!(binder.position("orders", "billing"), Some(vec![0]));
    assert_eq!(binder.position("returns", "billing"), Some(vec![1]));
}
