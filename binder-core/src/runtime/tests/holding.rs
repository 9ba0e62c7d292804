//! What `prefetch` bounds where a consumer can hold its lanes one by one.

use super::*;

fn few() -> Settings {
    Settings { prefetch: 4, concurrency: 2, ..settings() }
}

fn of_lane(lane: u32, sequence: u64, payload: &str) -> Parcel {
    Parcel { token: Token { lane: LaneId(lane), sequence }, ..parcel(sequence, "k", payload) }
}

/// Starts with nothing, on a consumer that can hold lanes; then come batches, each of one lane.
fn start(batches: Vec<Vec<Parcel>>) -> Bench {
    let bench = Bench::start(few(), vec![of_lane(9, 1, "ok")]);
    bench.shared.holds.store(true, SeqCst);
    batches.into_iter().for_each(|batch| bench.shared.push(Step::Batch(batch)));
    bench
}

#[tokio::test(start_paused = true)]
async fn a_stuck_message_uses_up_the_room_of_its_lane_only() {
    let stuck = (1..=6).map(|n| of_lane(1, n, if n == 1 { "wait" } else { "ok" }));
    let other = (1..=20).map(|n| of_lane(2, n, "ok"));
    let bench = start(vec![stuck.collect(), other.collect()]);
    bench.shared.until(Told::Settle(2, 20)).await;
    assert!(bench.shared.told().contains(&Told::Hold(vec![1])));
    let left: usize = bench.shared.steps.lock().expect("no panic").iter().map(Step::len).sum();
    assert_eq!(left, 2, "no more of the stuck lane is taken than may be unsettled");
    bench.open.notify_one();
    bench.shared.until(Told::GoOn(vec![1])).await;
    bench.shared.until(Told::Settle(1, 6)).await;
    assert!(!bench.shared.told().contains(&Told::Pause), "{:?}", bench.shared.told());
}

#[tokio::test(start_paused = true)]
async fn a_held_lane_that_is_lost_is_not_asked_for_again() {
    let stuck = (1..=4).map(|n| of_lane(1, n, if n == 1 { "wait" } else { "ok" }));
    let bench = start(vec![stuck.collect()]);
    bench.shared.until(Told::Hold(vec![1])).await;
    bench.shared.push(Step::Lost(vec![LaneId(1)]));
    bench.shared.push(Step::Batch((1..=4).map(|n| of_lane(3, n, "ok")).collect()));
    bench.shared.until(Told::Settle(3, 4)).await;
    assert!(!bench.shared.told().contains(&Told::GoOn(vec![1])));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_can_not_hold_lanes_is_paused() {
    let stuck = (1..=6).map(|n| of_lane(1, n, if n == 1 { "wait" } else { "ok" }));
    let bench = start(vec![stuck.collect()]);
    bench.shared.holds.store(false, SeqCst);
    bench.shared.until(Told::Pause).await;
    bench.open.notify_one();
    bench.shared.until(Told::Resume).await;
    let held = bench.shared.told().iter().filter(|told| matches!(told, Told::Hold(_))).count();
    assert_eq!(held, 1, "it is asked once");
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_nearly_full_does_not_keep_a_paused_input_from_going_on() {
    let stuck = (1..=10).map(|n| of_lane(1, n, if n == 1 { "wait" } else { "ok" }));
    let mut bench = Bench::start(Settings { prefetch: 12, ..few() }, vec![of_lane(9, 1, "ok")]);
    bench.shared.holds.store(true, SeqCst);
    bench.shared.push(Step::Batch(stuck.collect()));
    bench.calls::<2>().await;
    bench.control.send_replace(Command::Pause);
    bench.shared.until(Told::Pause).await;
    bench.shared.push(Step::Batch(vec![of_lane(2, 1, "ok")]));
    let start = Instant::now();
    bench.control.send_replace(Command::Run);
    bench.shared.until(Told::Settle(2, 1)).await;
    assert_eq!(start.elapsed().as_secs(), 0);
}
