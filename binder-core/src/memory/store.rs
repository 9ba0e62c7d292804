//! Going through dead letters.
//!
//! A group's dead letters are a destination with a position of its own, up to which they are resolved. What stays is appended again behind
//! the others, so that the position can move on.

use std::future::poll_fn;
use std::iter::Peekable;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::batch::Batch;
use super::dead_letters::dead_letter_destination;
use super::destination::Destination;
use super::extra::{Extra, Told};
use super::hub::Session;
use super::item::Item;
use super::partition::Partition;
use super::stamp;
use super::{MemoryBinder, returns};
use crate::binder::{ConsumerBinding, DeadLetterEntry, DeadLetterPass, DeadLetterStore, Disposal, LaneId, Purpose};
use crate::message::Headers;
use crate::{Error, ErrorKind, Result};

/// Letters that are taken at once: more would not stay in the processor's cache.
const MOST: usize = 256;

/// Messages that are appended under one lock.
const RUN: usize = 256;

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
        let all_groups = purpose == Purpose::Resolve { all_groups: true };
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
        Ok(Box::new(Pass {
            session,
            group,
            purpose,
            places,
            current: 0,
            taken: Batch::new(true),
            told: Vec::new(),
            _resolving: resolving,
        }))
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

impl Place {
    fn unroutable(&self) -> Error {
        let text = "no consumer of the group has ever read from there";
        Error::new(ErrorKind::Unroutable, text).with_context("destination", self.target.as_str())
    }
}

/// One way through; who resolves keeps the others waiting.
#[derive(Debug)]
struct Pass {
    session: Arc<Session>,
    group: Arc<str>,
    purpose: Purpose,
    places: Vec<Place>,
    current: usize,
    /// What is not resolved yet.
    taken: Batch,
    /// What each of them says. That is read in a row, before anything else touches the letters: so memory is fetched for many at once.
    told: Vec<Told>,
    _resolving: Option<OwnedMutexGuard<()>>,
}

impl Pass {
    /// Reads from the first place that has something left; what is taken together is of one place.
    fn read(&mut self, max: usize) {
        self.taken.clear();
        self.told.clear();
        while let Some(place) = self.places.get_mut(self.current) {
            let left = usize::try_from(place.end.saturating_sub(place.position)).unwrap_or(usize::MAX);
            if left == 0 {
                self.current += 1;
                continue;
            }
            let partition = place.letters.partition(place.partition);
            let mut log = partition.lock();
            place.position = place.position.max(log.first());
            self.taken.begin(LaneId(0), place.position, place.letters.name(), place.partition);
            let count = max.min(left).min(MOST);
            log.told(place.position, count, &mut self.told);
            place.position += log.read(place.position, count, &mut self.taken) as u64;
            return;
        }
    }

    fn letter(&self, index: usize) -> Letter<'_> {
        let (item, segment, extra) = self.taken.get(index);
        Letter { item, segment, extra }
    }

    #[inline(always)]
    fn entry(&self, place: &Place, letter: &Letter<'_>, told: &Told) -> DeadLetterEntry {
        DeadLetterEntry {
            destination: Arc::clone(&place.source),
            group: Arc::clone(&self.group),
            partition: told.origin.partition,
            offset: told.origin.offset,
            timestamp: told.origin.timestamp.and_then(returns::time),
            attempts: told.attempts,
            redriven: told.redriven,
            key: letter.item.key_bytes(letter.segment),
            payload: letter.item.payload_bytes(letter.segment),
            details: letter.extra.map(Extra::details),
        }
    }
}

/// A letter that was taken.
#[derive(Clone, Copy)]
struct Letter<'a> {
    item: &'a Item,
    segment: &'a Bytes,
    extra: Option<&'a Extra>,
}

impl<'a> Letter<'a> {
    /// As it goes back, without what made it a letter.
    fn returning(self, told: &Told, to_group: bool, partitions: u32) -> Again<'a> {
        let partition = told.origin.partition.filter(|partition| *partition < partitions).unwrap_or(0);
        let extra = self.extra.map(|extra| extra.returned(to_group));
        let extra = extra.unwrap_or_else(|| Extra::new(None, Headers::new()).returned(to_group));
        Again { partition, letter: self, extra: Some(extra) }
    }

    /// As it is, to be appended again.
    fn staying(self, partition: u32) -> Again<'a> {
        Again { partition, letter: self, extra: self.extra.cloned() }
    }
}

/// A letter on its way into a log; nothing of it is copied.
struct Again<'a> {
    partition: u32,
    letter: Letter<'a>,
    extra: Option<Extra>,
}

/// Appends messages in their order, when there is room for them.
async fn append_all<'a>(
    session: &Session,
    destination: &Destination,
    messages: impl Iterator<Item = Again<'a>> + Send,
) -> Result<()> {
    let mut messages = messages.peekable();
    while let Some(next) = messages.peek() {
        session.check_open()?;
        let partition = destination.partition(next.partition);
        if append_run(partition, &mut messages) == 0 {
            poll_fn(|context| partition.poll_room(context, || session.check_open())).await?;
        }
    }
    Ok(())
}

/// Appends those that come next and belong to a partition, under one lock, as far as there is room; returns how many.
fn append_run<'a>(partition: &Partition, messages: &mut Peekable<impl Iterator<Item = Again<'a>>>) -> usize {
    let now = stamp::now();
    let mut log = partition.appender();
    let mut count = 0;
    while count < RUN
        && let Some(message) = messages.next_if(|message| message.partition == partition.index() && log.claim_room(1))
    {
        let Again { letter, extra, .. } = message;
        log.append_again((letter.item, letter.segment), extra, now);
        count += 1;
    }
    log.publish();
    count
}

#[async_trait]
impl DeadLetterPass for Pass {
    async fn take(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>> {
        self.session.check_open()?;
        self.purpose.check_take(self.taken.len())?;
        self.read(max);
        let Some(place) = self.places.get(self.current) else { return Ok(Vec::new()) };
        let mut entries = Vec::with_capacity(self.taken.len());
        entries.extend(self.told.iter().enumerate().map(|(index, told)| self.entry(place, &self.letter(index), told)));
        Ok(entries)
    }

    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        self.purpose.check_resolve(self.taken.len(), disposals)?;
        let Some(place) = self.places.get(self.current) else { return Ok(Vec::new()) };
        let session = &self.session;
        let target = session.hub.find(&place.target);
        let refuse = |disposal: &Disposal| match (disposal, &target) {
            (Disposal::Send, None) => Some(place.unroutable()),
            _ => None,
        };
        let answers: Vec<_> = disposals.iter().map(refuse).collect();
        if let Some(target) = &target {
            let (to_group, partitions) = (self.purpose != Purpose::Resolve { all_groups: true }, target.count());
            let returning = |index: usize| self.letter(index).returning(&self.told[index], to_group, partitions);
            let sent = (0..disposals.len()).filter(|index| disposals[*index] == Disposal::Send).map(returning);
            append_all(session, target, sent).await?;
        }
        let stays = |index: &usize| match disposals[*index] {
            Disposal::Send => answers[*index].is_some(),
            Disposal::Discard => false,
            _ => true,
        };
        let staying = |index| self.letter(index).staying(place.partition);
        append_all(session, &place.letters, (0..disposals.len()).filter(stays).map(staying)).await?;
        session.hub.set_resolved(place.letters.name(), place.partition, place.position);
        self.taken.clear();
        Ok(answers)
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
