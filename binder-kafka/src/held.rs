//! Records that were received before their time. Their partition is paused, so a consumer holds one or few of each, and stays in its group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use binder_core::binder::{BatchView, LaneId, Metadata, Parcel, Token};
use binder_core::message::{ContentType, HeaderValue, Headers};
use bytes::BytesMut;
use rdkafka::{Timestamp, TopicPartitionList};
use tokio::time::Instant;

/// A record that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) parcel: Parcel,
    pub(crate) attempt: u32,
    pub(crate) due: Instant,
}

/// The records of a partition that wait, in their order.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lane: LaneId,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) waiting: VecDeque<Waiting>,
}

impl Held {
    pub(crate) fn list(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, self.partition);
        list
    }
}

/// Returns how long a record still has to wait that was written at `written`. Timestamps are cut to milliseconds, so one more is added.
pub(crate) fn rest(written: Timestamp, wait: Duration) -> Duration {
    let Some(millis) = written.to_millis().and_then(|millis| u64::try_from(millis).ok()) else { return wait };
    let due = SystemTime::UNIX_EPOCH + Duration::from_millis(millis) + wait + Duration::from_millis(1);
    // a clock that went back must not make anybody wait for hours
    due.duration_since(SystemTime::now()).unwrap_or_default().min(wait + Duration::from_millis(1))
}

/// Records whose time has come.
pub(crate) struct Due(pub(crate) Vec<Waiting>);

impl Due {
    fn parcel(&self, index: usize) -> &Parcel {
        &self.0[index].parcel
    }
}

impl BatchView for Due {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.parcel(index).payload.as_deref()
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.parcel(index).key.as_deref()
    }

    fn token(&self, index: usize) -> Token {
        self.parcel(index).token
    }

    fn content_type(&self, index: usize) -> Option<ContentType> {
        self.parcel(index).content_type.clone()
    }

    fn header(&self, index: usize, name: &str) -> Option<HeaderValue> {
        self.parcel(index).headers.get(name).cloned()
    }

    fn headers(&self, index: usize) -> Headers {
        self.parcel(index).headers.clone()
    }

    fn metadata(&self, index: usize) -> Metadata {
        self.parcel(index).metadata.clone()
    }

    fn attempt(&self, index: usize) -> u32 {
        self.0[index].attempt
    }

    fn detach(&self, index: usize, _: &mut BytesMut) -> Parcel {
        self.parcel(index).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_waits_from_when_it_was_written() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
        let rest = |written| rest(Timestamp::CreateTime(written), Duration::from_secs(10)).as_millis();
        assert!((3000..=4001).contains(&rest(now - 6000)), "{}", rest(now - 6000));
        assert_eq!((rest(now - 60_000), rest(now + 60_000)), (0, 10_001));
    }
}
