//! Where a group is sent.

use std::time::SystemTime;

/// A position within a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeekTo {
    /// The oldest message that is kept.
    Beginning,
    /// Behind the newest message: only what comes from now on.
    End,
    /// The message at this offset; the nearest there is if it lies outside of what is kept.
    Offset(u64),
    /// The first message that was sent at this time or later; the end if there is none. A time is as exact as the broker keeps it, 1 ms on
    /// Kafka and 10 ms on memory, so that messages of the last moment before it may come too.
    Timestamp(SystemTime),
}
