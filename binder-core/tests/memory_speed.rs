//! How fast the memory binder is by itself: `cargo test --release --test memory_speed -- --ignored --nocapture`.

mod memory_halves;

use std::time::{Duration, Instant};

use memory_halves::Halves;

const ROUNDS: usize = 15;
const MESSAGES: usize = 32_768;

fn timed(action: impl FnOnce()) -> Duration {
    let start = Instant::now();
    action();
    start.elapsed()
}

/// Prints median and best of the times per message of sending, and of receiving with settling.
fn report(what: &str, mut round: impl FnMut() -> (Duration, Duration)) {
    let rounds: Vec<(Duration, Duration)> = (0..ROUNDS).map(|_| round()).collect();
    let statistics = |pick: fn(&(Duration, Duration)) -> Duration| {
        let mut times: Vec<f64> = rounds.iter().map(|times| pick(times).as_nanos() as f64 / MESSAGES as f64).collect();
        times.sort_by(f64::total_cmp);
        (times[ROUNDS / 2], times[0])
    };
    let ((send, best_send), (receive, best_receive)) = (statistics(|times| times.0), statistics(|times| times.1));
    println!("{what}: send {send:.1} (best {best_send:.1}) ns, receive {receive:.1} (best {best_receive:.1}) ns");
}

#[test]
#[ignore = "measures, asserts nothing"]
fn far_behind() {
    for batch in [128, 256] {
        let mut halves = Halves::bind(65_536, 1);
        report(&format!("drain of a full log, {batch}"), || {
            (timed(|| halves.send(MESSAGES, false)), timed(|| while halves.receive(batch) > 0 {}))
        });
        halves.fill(batch, false);
        report(&format!("drain of a full log, sent by {batch}"), || {
            let send = timed(|| (0..MESSAGES / batch).for_each(|_| halves.send_batch()));
            (send, timed(|| while halves.receive(batch) > 0 {}))
        });
    }
}

#[test]
#[ignore = "measures, asserts nothing"]
fn close_behind() {
    for (batch, partitions) in [(1, 1), (16, 1), (128, 1), (128, 4)] {
        let mut halves = Halves::bind(65_536, partitions);
        halves.fill(batch, partitions > 1);
        report(&format!("batches of {batch}, {partitions} partitions"), || {
            let (mut send, mut receive) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..MESSAGES / batch {
                send += timed(|| halves.send_batch());
                receive += timed(|| while halves.receive(batch) > 0 {});
            }
            (send, receive)
        });
    }
}
