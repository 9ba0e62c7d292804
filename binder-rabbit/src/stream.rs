//! Streams: logs that the broker keeps, from which every reader gets everything.
//!
//! Over AMQP 0.9.1 the broker keeps no position for a reader. It is kept here for as long as the input lives: one that lost its connection
//! goes on behind what it has settled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use binder_core::config::Start;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use serde::Deserialize;

use crate::headers::{self, STREAM_OFFSET};

/// What an input reads: `container-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ContainerType {
    /// A queue of its group, or of its own.
    #[default]
    Simple,
    /// A stream with the name of the destination; only without a group.
    Stream,
}

/// No offset is known yet.
const UNKNOWN: u64 = u64::MAX;

/// Where the reader of a stream goes on.
#[derive(Debug)]
pub(crate) struct Position {
    start: Start,
    /// The offset of the first message that is not settled.
    next: AtomicU64,
    /// When reading began, in seconds since 1970: with nothing read yet it is all that is known.
    begun: OnceLock<u64>,
}

impl Position {
    pub(crate) fn new(start: Start) -> Self {
        Self { start, next: AtomicU64::new(UNKNOWN), begun: OnceLock::new() }
    }

    /// Returns the arguments of a consumer that goes on from here; in a new stream that is its first message.
    pub(crate) fn arguments(&self, is_new: bool) -> FieldTable {
        if is_new {
            self.next.store(0, Ordering::Relaxed);
        }
        let mut arguments = FieldTable::default();
        arguments.insert(STREAM_OFFSET.into(), self.offset(now()));
        arguments
    }

    fn offset(&self, now: u64) -> AMQPValue {
        let text = |text: &str| AMQPValue::LongString(text.into());
        match (self.next.load(Ordering::Relaxed), self.start) {
            (UNKNOWN, Start::Earliest) => text("first"),
            (UNKNOWN, _) => match self.begun.set(now) {
                Ok(()) => text("next"),
                // What came while the connection was lost must not be skipped.
                Err(_) => AMQPValue::Timestamp(self.begun.get().copied().unwrap_or(now)),
            },
            (next, _) => AMQPValue::LongLongInt(i64::try_from(next).unwrap_or(i64::MAX)),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What was read over one channel and is not settled: delivery tags, and the offsets that belong to them.
#[derive(Debug)]
pub(crate) struct Trail {
    position: Arc<Position>,
    unsettled: VecDeque<(u64, u64)>,
}

impl Trail {
    pub(crate) fn new(position: Arc<Position>) -> Self {
        Self { position, unsettled: VecDeque::new() }
    }

    /// Notes a delivery that is handed out.
    pub(crate) fn read(&mut self, delivery: &Delivery) {
        if let Some(offset) = headers::stream_offset(&delivery.properties) {
            self.note(delivery.delivery_tag, offset);
        }
    }

    fn note(&mut self, tag: u64, offset: u64) {
        if self.position.next.load(Ordering::Relaxed) == UNKNOWN {
            self.position.next.store(offset, Ordering::Relaxed);
        }
        self.unsettled.push_back((tag, offset));
    }

    /// Notes that everything up to a delivery tag is settled.
    pub(crate) fn settled(&mut self, tag: u64) {
        while let Some((_, offset)) = self.unsettled.front().copied().filter(|(first, _)| *first <= tag) {
            self.position.next.store(offset + 1, Ordering::Relaxed);
            self.unsettled.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(position: &Position) -> AMQPValue {
        position.offset(1_700_000_000)
    }

    #[test]
    fn a_reader_goes_on_behind_what_it_has_settled() {
        let position = Arc::new(Position::new(Start::Earliest));
        assert_eq!(offset(&position), AMQPValue::LongString("first".into()));
        let mut trail = Trail::new(Arc::clone(&position));
        // Offsets have gaps: the broker keeps notes of its own in a stream.
        (1..=4).for_each(|tag| trail.note(tag, tag * 10));
        assert_eq!(offset(&position), AMQPValue::LongLongInt(10), "nothing is settled");
        trail.settled(2);
        assert_eq!(offset(&position), AMQPValue::LongLongInt(21));
        trail.settled(2);
        trail.settled(4);
        assert_eq!(offset(&position), AMQPValue::LongLongInt(41));
        // Over another channel tags begin anew.
        let mut trail = Trail::new(Arc::clone(&position));
        trail.note(1, 50);
        assert_eq!(offset(&position), AMQPValue::LongLongInt(41), "nothing more is settled");
        trail.settled(1);
        assert_eq!(offset(&position), AMQPValue::LongLongInt(51));
    }

    #[test]
    fn a_reader_that_had_nothing_goes_on_from_when_it_began() {
        let position = Position::new(Start::Latest);
        assert_eq!(position.offset(5), AMQPValue::LongString("next".into()));
        assert_eq!(position.offset(6), AMQPValue::Timestamp(5));
        assert_eq!(position.offset(7), AMQPValue::Timestamp(5));
    }
}
