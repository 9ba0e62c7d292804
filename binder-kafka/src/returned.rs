//! Records that come back to one group: after a delay, or from its dead letters. What they were stands in two headers of ours.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use binder_core::binder::RETRY_ATTEMPT;
use rdkafka::Timestamp;
use rdkafka::message::OwnedHeaders;

use crate::headers::{self, Wire};

/// Partition, offset and timestamp of the first time: `2/17/1700000000000/CreateTime`.
pub(crate) const ORIGIN: &str = "x-retry-origin";

/// Returns the topic to which dead letters of a group are sent back.
pub(crate) fn redrive_topic(topic: &str, group: &str) -> String {
    format!("retry.{topic}.{group}")
}

/// Returns the topic in which failed records of a group wait so long.
pub(crate) fn rung_topic(topic: &str, group: &str, wait: Duration) -> String {
    format!("retry.{topic}.{group}.{}", wait.as_millis())
}

/// A topic that a group reads beside its destination.
#[derive(Clone, Debug)]
pub(crate) struct Return {
    pub(crate) topic: Arc<str>,
    /// The destination whose records come back here.
    pub(crate) source: Arc<str>,
    /// How long they wait.
    pub(crate) wait: Option<Duration>,
}

/// Where a record was at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: Timestamp,
}

impl First {
    /// Reads the header, if it is there.
    pub(crate) fn read(wire: &impl Wire) -> Option<Self> {
        headers::plain(wire, ORIGIN)?.parse().ok()
    }

    /// Appends the header.
    pub(crate) fn write(&self, written: OwnedHeaders) -> OwnedHeaders {
        let (stamp, kind) = shown(self.timestamp);
        let text = format!("{}/{}/{stamp}/{kind}", self.partition, self.offset);
        headers::insert(written, ORIGIN, Some(text.as_bytes()))
    }
}

impl FromStr for First {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(());
        let partition = next()?.parse().map_err(|_| ())?;
        let offset = next()?.parse().map_err(|_| ())?;
        let stamp = next()?.parse().map_err(|_| ())?;
        Ok(Self { partition, offset, timestamp: timestamp(stamp, next()?) })
    }
}

/// Returns a timestamp as Spring writes it: milliseconds and a name.
pub(crate) fn shown(timestamp: Timestamp) -> (i64, &'static str) {
    match timestamp {
        Timestamp::NotAvailable => (-1, "NoTimestampType"),
        Timestamp::CreateTime(millis) => (millis, "CreateTime"),
        Timestamp::LogAppendTime(millis) => (millis, "LogAppendTime"),
    }
}

/// Reads a timestamp.
pub(crate) fn timestamp(millis: i64, kind: &str) -> Timestamp {
    match kind {
        "CreateTime" => Timestamp::CreateTime(millis),
        "LogAppendTime" => Timestamp::LogAppendTime(millis),
        _ => Timestamp::NotAvailable,
    }
}

/// Reads which attempt this is.
pub(crate) fn attempt(wire: &impl Wire) -> u32 {
    headers::plain(wire, RETRY_ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Returns whether the header is one that the application does not see.
pub(crate) fn is_ours(name: &str) -> bool {
    name == RETRY_ATTEMPT || name == ORIGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_record_was_at_first_comes_back() {
        for timestamp in [Timestamp::CreateTime(5), Timestamp::LogAppendTime(7), Timestamp::NotAvailable] {
            let first = First { partition: 3, offset: i64::MAX, timestamp };
            assert_eq!(First::read(&first.write(OwnedHeaders::new())), Some(first));
        }
        assert_eq!("1/x/3/CreateTime".parse::<First>(), Err(()));
    }
}
