//! Going through dead letters.
//!
//! A group's dead letters are a destination with a position of its own, up to which they are resolved. What stays is appended again behind
//! the others, so that the position can move on.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::batch::{Batch, View};
use super::dead_letters::{FAILURE, dead_letter_destination};
use super::destination::Destination;
use super::hub::Session;
use super::item::Record;
use super::{MemoryBinder, returns};
use crate::binder::{
    ATTEMPTS, BatchView, ConsumerBinding, DeadLetterEntry, DeadLetterPass, DeadLetterStore, Disposal, LaneId, Parcel,
    Purpose, REDRIVE_COUNT,
};
use crate::message::{HeaderValue, Headers};
use crate::{Error, ErrorKind, Result};

#[async_trait]
impl DeadLetterStore for MemoryBinder {
    async fn open(&self, binding: &ConsumerBinding, purpose: Purpose) -> Result<Box<dyn DeadLetterPass>> {
        let session = &self.session;
        session.check_open()?;
        let group = binding.group.as_deref().unwrap_or_default();
        let resolving = match purpose {
            Purpose::Resolve { .. } => Some(Arc::clone(&session.hub.resolving).lock_owned().await),
            Purpose::Look => None,
        };
        let all_groups = matches!(purpose, Purpose::Resolve { all_groups: true });
        let mut places = Vec::new();
        for source in &binding.destinations {
            let Some(letters) = session.hub.find(&dead_letter_destination(source, group)) else { continue };
            let target = if all_groups { source.clone() } else { returns::redrive_destination(source, group) };
            let source: Arc<str> = source.as_str().into();
            for partition in letters.partitions() {
                let mut log = partition.lock();
                let position = session.hub.resolved(letters.name(), partition.index()).max(log.first());
                places.push(Place {
                    letters: Arc::clone(&letters),
                    source: Arc::clone(&source),
                    target: target.clone(),
                    partition: partition.index(),
                    position,
                    end: log.end(),
                });
            }
        }
        let (session, group) = (Arc::clone(session), group.into());
        Ok(Box::new(Pass { session, group, all_groups, places, current: 0, taken: Vec::new(), _resolving: resolving }))
    }
}

/// One partition of one destination's dead letters, as far as they had come when the pass began.
#[derive(Debug)]
struct Place {
    letters: Arc<Destination>,
    source: Arc<str>,
    /// Where they are sent back to.
    target: String,
    partition: u32,
    position: u64,
    end: u64,
}

/// One way through; who resolves keeps the others waiting.
#[derive(Debug)]
struct Pass {
    session: Arc<Session>,
    group: Arc<str>,
    all_groups: bool,
    places: Vec<Place>,
    current: usize,
    taken: Vec<Parcel>,
    _resolving: Option<OwnedMutexGuard<()>>,
}

impl Pass {
    /// Reads from the first place that has something left; what is taken together is of one place.
    fn read(&mut self, max: usize) {
        self.taken.clear();
        while let Some(place) = self.places.get_mut(self.current) {
            let left = usize::try_from(place.end.saturating_sub(place.position)).unwrap_or(usize::MAX);
            if left == 0 {
                self.current += 1;
                continue;
            }
            let mut batch = Batch::new(true);
            let partition = place.letters.partition(place.partition);
            let mut log = partition.lock();
            place.position = place.position.max(log.first());
            batch.begin(LaneId(0), place.position, place.letters.name(), place.partition);
            place.position += log.read(place.position, max.min(left), &mut batch) as u64;
            let view = View(&batch);
            self.taken = (0..batch.len()).map(|index| view.detach(index, &mut Default::default())).collect();
            return;
        }
    }

    fn entry(&self, parcel: &Parcel) -> Option<DeadLetterEntry> {
        let place = self.places.get(self.current)?;
        let headers = &parcel.headers;
        let number = |name: &str| headers.get(name).and_then(HeaderValue::as_i64);
        let mut entry = DeadLetterEntry::new(Arc::clone(&place.source), Arc::clone(&self.group));
        entry.partition = number("x-original-partition").and_then(|number| number.try_into().ok());
        entry.offset = number("x-original-offset").and_then(|number| number.try_into().ok());
        entry.timestamp = number("x-original-timestamp").and_then(returns::time);
        entry.attempts = number(ATTEMPTS).and_then(|number| number.try_into().ok());
        entry.reason = headers.get("x-exception-message").map(HeaderValue::to_text);
        entry.redriven = number(REDRIVE_COUNT).and_then(|number| number.try_into().ok()).unwrap_or(0);
        entry.key.clone_from(&parcel.key);
        entry.headers = without_failure(headers);
        entry.payload.clone_from(&parcel.payload);
        Some(entry)
    }

    async fn send(&self, place: &Place, parcel: &Parcel) -> Result<()> {
        let Some(target) = self.session.hub.find(&place.target) else {
            let text = "no consumer of the group has ever read from there";
            return Err(Error::new(ErrorKind::Unroutable, text).with_context("destination", place.target.as_str()));
        };
        let entry = self.entry(parcel).ok_or_else(|| Error::new(ErrorKind::Unexpected, "no letter was taken"))?;
        let mut headers = entry.headers;
        headers.set(REDRIVE_COUNT, HeaderValue::I64(i64::from(entry.redriven) + 1));
        if !self.all_groups {
            headers = returns::with_origin(headers, entry.partition, entry.offset, entry.timestamp);
        }
        returns::append(&self.session, &target, entry.partition, record(parcel, &headers)).await
    }
}

fn record<'a>(parcel: &'a Parcel, headers: &'a Headers) -> Record<'a> {
    Record {
        payload: parcel.payload.as_deref(),
        key: parcel.key.as_deref(),
        content_type: parcel.content_type.as_ref(),
        headers,
    }
}

fn without_failure(headers: &Headers) -> Headers {
    let kept = headers.iter().filter(|(name, _)| !FAILURE.contains(name));
    kept.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

#[async_trait]
impl DeadLetterPass for Pass {
    async fn take(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>> {
        self.session.check_open()?;
        self.read(max);
        Ok(self.taken.iter().filter_map(|parcel| self.entry(parcel)).collect())
    }

    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        let Some(place) = self.places.get(self.current) else { return Ok(Vec::new()) };
        let mut answers = Vec::with_capacity(self.taken.len());
        for (parcel, disposal) in self.taken.iter().zip(disposals) {
            let sent = match disposal {
                Disposal::Send => self.send(place, parcel).await,
                Disposal::Keep | Disposal::Discard => Ok(()),
            };
            answers.push(sent.err());
        }
        for ((parcel, disposal), refused) in self.taken.iter().zip(disposals).zip(&answers) {
            if *disposal == Disposal::Keep || refused.is_some() {
                let record = record(parcel, &parcel.headers);
                returns::append(&self.session, &place.letters, Some(place.partition), record).await?;
            }
        }
        self.session.hub.set_resolved(place.letters.name(), place.partition, place.position);
        Ok(answers)
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
