//! An open breaker whose lanes go away.

use super::*;

fn in_lane_2(sequence: u64, payload: &str) -> Parcel {
    Parcel { token: Token { lane: LaneId(2), sequence }, ..parcel(sequence, "k", payload) }
}

async fn opened(third: &str) -> Bench {
    let parcels = vec![parcel(1, "a", "permanent"), parcel(2, "b", "permanent"), parcel(3, "c", third)];
    let mut bench = Bench::start(with_breaker(), parcels);
    bench.calls::<2>().await;
    bench.shared.until(Told::Pause).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_while_the_breaker_is_open_is_not_tried() {
    let mut bench = opened("ok old").await;
    bench.shared.push(Step::Lost(vec![LaneId(1)]));
    bench.shared.push(Step::Batch(vec![in_lane_2(1, "ok new"), in_lane_2(2, "ok newer")]));
    assert_eq!(bench.calls().await, [("ok new".to_owned(), 1), ("ok newer".to_owned(), 1)]);
    bench.shared.until(Told::Settle(2, 2)).await;
    assert_eq!(bench.state.phase(), BindingState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_lane_is_lost_leaves_the_next_one_its_turn() {
    let mut bench = opened("wait").await;
    assert_eq!(bench.call().await.0, "wait");
    bench.shared.push(Step::Lost(vec![LaneId(1)]));
    bench.shared.push(Step::Batch(vec![in_lane_2(1, "ok"), in_lane_2(2, "ok")]));
    bench.shared.until(Told::Settle(2, 2)).await;
    assert_eq!(bench.state.phase(), BindingState::Running);
}
