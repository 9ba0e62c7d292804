//! Time, CPU, allocations and memory.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::Region;

use crate::ALLOCATOR;

/// What was measured cost so much, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub time: Duration,
    /// Of all threads.
    pub cpu: Duration,
    /// By Rust code; a C library's own are not seen.
    pub allocations: usize,
}

/// A measurement that has begun.
pub struct Meter {
    region: Region<'static, std::alloc::System>,
    cpu: Duration,
    time: Instant,
}

impl Meter {
    pub fn start() -> Self {
        let cpu = cpu();
        Self { region: Region::new(ALLOCATOR), cpu, time: Instant::now() }
    }

    pub fn cost(&self) -> Cost {
        let (time, allocations) = (self.time.elapsed(), self.region.change().allocations);
        Cost { time, cpu: cpu().saturating_sub(self.cpu), allocations }
    }
}

fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// The most memory that the process has had; 0 where Linux does not tell.
pub fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(kib).unwrap_or_default()
}

fn kib(text: &str) -> Option<u64> {
    text.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_the_unit_of_the_kernel() {
        assert_eq!([kib("\t   34000 kB"), kib("34000"), kib("x kB")], [Some(34_000), None, None]);
        assert!(peak_kib() > 100);
    }
}
