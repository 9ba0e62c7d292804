//! The memory binder allocates per batch and per 64 KiB, never per message.

mod memory_halves;

use allocation_counter::measure;
use memory_halves::Halves;

const MESSAGES: usize = 10_000;

fn one_by_one(halves: &mut Halves, batch: usize, keyed: bool) {
    for _ in 0..MESSAGES / batch {
        halves.send(batch, keyed);
        while halves.receive(batch) > 0 {}
    }
}

fn in_batches(halves: &mut Halves, batch: usize, keyed: bool) {
    halves.fill(batch, keyed);
    for _ in 0..MESSAGES / batch {
        halves.send_batch();
        while halves.receive(batch) > 0 {}
    }
}

/// Counts the allocations of a run after the logs are full.
fn per_message(partitions: u32, run: impl Fn(&mut Halves)) -> f64 {
    let mut halves = Halves::bind(1024, partitions);
    run(&mut halves);
    let counted = measure(|| run(&mut halves));
    counted.count_total as f64 / MESSAGES as f64
}

#[test]
fn messages_that_are_sent_one_by_one_and_received_in_batches() {
    for (partitions, keyed) in [(1, false), (1, true), (4, true)] {
        let count = per_message(partitions, |halves| one_by_one(halves, 128, keyed));
        assert!(count <= 0.02, "{count} allocations with {partitions} partitions");
    }
}

#[test]
fn messages_that_are_sent_and_received_in_batches() {
    for (partitions, keyed) in [(1, false), (1, true), (4, true)] {
        let count = per_message(partitions, |halves| in_batches(halves, 128, keyed));
        assert!(count <= 0.02, "{count} allocations with {partitions} partitions");
    }
}

#[test]
fn a_send_that_is_received_at_once_costs_the_box_of_its_batch() {
    let count = per_message(1, |halves| one_by_one(halves, 1, false));
    assert!(count <= 1.01, "{count} allocations");
}
