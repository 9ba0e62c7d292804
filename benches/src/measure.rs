//! Time, CPU, allocations and instructions.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::Region;

use crate::ALLOCATOR;

/// What one run of a case cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub time: Duration,
    pub cpu: Cpu,
    /// By Rust code; a C library's own are not seen.
    pub allocations: usize,
}

/// CPU that the process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// By all threads.
    pub all: Duration,
    /// By all threads but those of the broker's client: what these do depends on the load of the machine, because they poll.
    pub own: Duration,
}

impl Cpu {
    fn now() -> Self {
        let all = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        Self { all, own: own().unwrap_or_default() }
    }

    fn since(self, start: Self) -> Self {
        Self { all: self.all.saturating_sub(start.all), own: self.own.saturating_sub(start.own) }
    }
}

/// Linux only, `None` elsewhere.
fn own() -> Option<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let thread = thread.ok()?.path();
        // A thread may have ended meanwhile.
        let Ok(name) = std::fs::read_to_string(thread.join("comm")) else { continue };
        if name.starts_with("rdk:") || name.starts_with("lapin-") {
            continue;
        }
        let Ok(used) = std::fs::read_to_string(thread.join("schedstat")) else { continue };
        nanos += used.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

/// A measurement that has begun.
pub struct Meter {
    region: Region<'static, std::alloc::System>,
    cpu: Cpu,
    time: Instant,
}

impl Meter {
    pub fn start() -> Self {
        let cpu = Cpu::now();
        Self { region: Region::new(ALLOCATOR), cpu, time: Instant::now() }
    }

    pub fn cost(&self) -> Cost {
        let (time, allocations) = (self.time.elapsed(), self.region.change().allocations);
        Cost { time, cpu: Cpu::now().since(self.cpu), allocations }
    }
}

/// Measures what `run` costs.
pub fn cost(run: impl FnOnce()) -> Cost {
    let meter = Meter::start();
    run();
    meter.cost()
}

/// The most memory that the process ever had, in KiB; Linux only, `None` elsewhere.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// The memory that the process has, in KiB; Linux only, `None` elsewhere.
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The middle of several figures, with the lowest and the highest.
pub fn median(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
}

/// The load of the machine; Linux only, `unknown` elsewhere.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}

/// The runs of a round: forwards, then backwards, so that nobody always goes first.
pub fn by_turns(round: usize, count: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..count).collect() } else { (0..count).rev().collect() }
}

/// Counts instructions for each message with callgrind: two runs of different length, so that what happens once cancels out.
///
/// `None` if valgrind is not there or fails.
pub fn instructions(case: &str, [few, many]: [u64; 2]) -> Option<f64> {
    let few_total = callgrind(case, few)?;
    let many_total = callgrind(case, many)?;
    Some(many_total.saturating_sub(few_total) as f64 / (many - few) as f64)
}

/// Makes glibc copy memory as on every x86-64, or counts would differ with what else the processor can.
const PLAIN: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512BW,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

fn callgrind(case: &str, count: u64) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["case", case, &count.to_string()])
        .env("GLIBC_TUNABLES", PLAIN)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_known() {
        let resident = resident();
        assert!(resident.is_some_and(|kib| kib > 100));
        assert!(peak() >= resident);
    }

    #[test]
    fn rounds_alternate_in_direction() {
        assert_eq!([by_turns(0, 3), by_turns(1, 3)], [vec![0, 1, 2], vec![2, 1, 0]]);
    }
}
