//! Time, allocations and instructions.

use std::process::Command;
use std::time::{Duration, Instant};

use stats_alloc::Region;

use crate::ALLOCATOR;

/// What one run of a case cost.
pub struct Cost {
    pub time: Duration,
    pub allocations: usize,
}

/// Measures what `run` costs; it returns how long the part lasted that counts.
pub fn cost(run: impl FnOnce()) -> Cost {
    let region = Region::new(ALLOCATOR);
    let start = Instant::now();
    run();
    let time = start.elapsed();
    Cost { time, allocations: region.change().allocations }
}

/// The middle of several figures, with the lowest and the highest.
pub fn median(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
}

/// Counts instructions for each message with callgrind: two runs of different length, so that what happens once cancels out.
///
/// `None` if valgrind is not there or fails.
pub fn instructions(case: &str, few: u64, many: u64) -> Option<f64> {
    let few_total = callgrind(case, few)?;
    let many_total = callgrind(case, many)?;
    Some(many_total.saturating_sub(few_total) as f64 / (many - few) as f64)
}

fn callgrind(case: &str, count: u64) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["case", case, &count.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}
