//! Messages that come back to one group: after a delay, or from its dead letters.
//!
//! They lie in destinations of their own, which the group reads beside its destination. A header or two say what they were; they are seen only
//! here.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::time::Instant;

use super::destination::Destination;
use super::hub::Session;
use super::item::{Beside, Record};
use crate::Result;
use crate::binder::{ConsumerBinding, DelaySink, Metadata, Parcel, RETRY_ATTEMPT};
use crate::message::{HeaderValue, Headers};

const DUE: &str = "x-retry-due";
const PARTITION: &str = "x-retry-partition";
const OFFSET: &str = "x-retry-offset";
const TIMESTAMP: &str = "x-retry-timestamp";

/// Headers that the application does not see.
const OURS: [&str; 5] = [RETRY_ATTEMPT, DUE, PARTITION, OFFSET, TIMESTAMP];

/// Returns where messages come back to a group from its dead letters.
pub(super) fn redrive_destination(destination: &str, group: &str) -> String {
    format!("retry.{destination}.{group}")
}

/// Returns where the failed messages of a group wait so long.
pub(super) fn rung_destination(destination: &str, group: &str, wait: Duration) -> String {
    format!("retry.{destination}.{group}.{}", wait.as_millis())
}

/// Returns everything that a group reads beside a destination, and whether it is there for dead letters.
pub(super) fn destinations(binding: &ConsumerBinding, destination: &str) -> Vec<(String, bool)> {
    let Some(group) = &binding.group else { return Vec::new() };
    let redriven = binding.has_dead_letters().then(|| (redrive_destination(destination, group), true));
    let rungs = binding.rungs().into_iter().map(|wait| (rung_destination(destination, group, wait), false));
    redriven.into_iter().chain(rungs).collect()
}

/// Time in a header: since the hub began, in microseconds of tokio's clock, which a test may have paused.
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    fn tell(&self, due: Instant) -> i64 {
        due.saturating_duration_since(self.0).as_nanos().div_ceil(1000) as i64
    }

    /// Returns when a message is due, if it has to wait at all.
    pub(super) fn due(&self, headers: &Headers) -> Option<Instant> {
        let micros = headers.get(DUE)?.as_i64()?;
        Some(self.0 + Duration::from_micros(micros.unsigned_abs()))
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Returns the headers as the application sent them.
pub(super) fn application(headers: &Headers) -> Headers {
    headers.iter().filter(|(name, _)| !is_ours(name)).map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

pub(super) fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

/// Returns which attempt comes next.
pub(super) fn attempt(headers: &Headers) -> u32 {
    number(headers, RETRY_ATTEMPT).and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(1)
}

fn number(headers: &Headers, name: &str) -> Option<i64> {
    headers.get(name)?.as_i64()
}

/// Puts into metadata where the message came from at first.
pub(super) fn read_origin(headers: &Headers, metadata: &mut Metadata) {
    let partition = number(headers, PARTITION).and_then(|number| u32::try_from(number).ok());
    metadata.partition = partition.or(metadata.partition);
    let offset = number(headers, OFFSET).and_then(|number| u64::try_from(number).ok());
    metadata.offset = offset.or(metadata.offset);
    metadata.timestamp = number(headers, TIMESTAMP).and_then(time).or(metadata.timestamp);
}

pub(super) fn time(millis: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
}

/// Where a message came from at first, as its headers say it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    pub(super) partition: Option<u32>,
    pub(super) offset: Option<u64>,
    /// When it was sent, in milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
}

impl Origin {
    /// How many headers it takes at most.
    pub(super) const HEADERS: usize = 3;

    pub(super) fn of(metadata: &Metadata) -> Self {
        let sent = metadata.timestamp.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let timestamp = sent.map(|sent| sent.as_millis() as i64);
        Self { partition: metadata.partition, offset: metadata.offset, timestamp }
    }

    pub(super) fn append_to(&self, headers: &mut Headers) {
        if let Some(partition) = self.partition {
            headers.append(PARTITION, i64::from(partition));
        }
        if let Some(offset) = self.offset {
            headers.append(OFFSET, offset.cast_signed());
        }
        if let Some(timestamp) = self.timestamp {
            headers.append(TIMESTAMP, timestamp);
        }
    }
}

/// Appends a record, when there is room for it.
pub(super) async fn append(
    session: &Session,
    destination: &Destination,
    partition: Option<u32>,
    record: Record<'_>,
) -> Result<()> {
    let index = partition.filter(|index| *index < destination.count()).unwrap_or(0);
    let partition = destination.partition(index);
    session.check_open()?;
    while !partition.try_append(record) {
        std::future::poll_fn(|context| partition.poll_room(context, || session.check_open())).await?;
    }
    Ok(())
}

/// Appends failed messages to where they wait.
#[derive(Debug)]
pub(super) struct Returns {
    session: Arc<Session>,
    group: String,
}

impl Returns {
    pub(super) fn new(session: &Arc<Session>, group: &str) -> Self {
        Self { session: Arc::clone(session), group: group.to_owned() }
    }
}

#[async_trait]
impl DelaySink for Returns {
    async fn send(&self, delivery: &Parcel, attempt: u32, wait: Duration) -> Result<()> {
        let hub = &self.session.hub;
        let metadata = &delivery.metadata;
        let source = hub.find(&metadata.destination).map_or(1, |source| source.count());
        let destination = hub.create(&rung_destination(&metadata.destination, &self.group, wait), source);
        let mut headers = delivery.headers.clone();
        Origin::of(metadata).append_to(&mut headers);
        let headers = headers
            .with(RETRY_ATTEMPT, HeaderValue::I64(attempt.into()))
            .with(DUE, hub.clock().tell(Instant::now() + wait));
        let record = Record::parcel(delivery, Beside::Headers(&headers));
        append(&self.session, &destination, metadata.partition, record).await
    }
}
