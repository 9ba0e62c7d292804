//! When a message was appended.
//!
//! The exact clock costs 30 ns, a tenth of a message on its way through this binder; the one that the kernel keeps costs half of that or less, and
//! is behind by up to [`RESOLUTION`].

use std::time::{Duration, SystemTime};

/// How far a time may be behind: one tick of the slowest usual kernel.
pub(super) const RESOLUTION: Duration = Duration::from_millis(10);

/// Returns the time, at most [`RESOLUTION`] old.
#[cfg(target_os = "linux")]
#[inline]
pub(super) fn now() -> SystemTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    SystemTime::UNIX_EPOCH + Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Returns the time.
#[cfg(not(target_os = "linux"))]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// Returns whether what has the time `stamp` may have been sent at `time` or later.
pub(super) fn may_be_since(stamp: SystemTime, time: SystemTime) -> bool {
    stamp + RESOLUTION > time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_behind_by_less_than_the_resolution() {
        for _ in 0..10_000 {
            let before = SystemTime::now();
            let stamp = now();
            assert!(may_be_since(stamp, before), "{stamp:?} is not {before:?}");
            assert!(stamp <= SystemTime::now());
        }
    }
}
