//! Going through dead letters.
//!
//! A group's dead letters are a destination with a position of its own, up to which they are resolved. What stays is appended again behind
//! the others, so that the position can move on.

use std::future::poll_fn;
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

impl Letter<'_> {
    /// What is kept of it when it goes back, without what made it a letter.
    fn returned(&self, to_group: bool) -> Extra {
        let returned = self.extra.map(|extra| extra.returned(to_group));
        returned.unwrap_or_else(|| Extra::new(None, Headers::new()).returned(to_group))
    }
}

/// Where taken letters are appended, and as what.
struct Way<'a, P, E> {
    destination: &'a Destination,
    partition: P,
    extra: E,
}

impl Pass {
    /// Appends letters in their order, when there is room for them; nothing of them is copied.
    async fn append<P, E>(&self, letters: &[usize], way: &Way<'_, P, E>) -> Result<()>
    where
        P: Fn(usize) -> u32 + Sync,
        E: Fn(&Letter<'_>) -> Option<Extra> + Sync,
    {
        let (session, mut rest) = (&self.session, letters);
        while let Some(first) = rest.first() {
            session.check_open()?;
            let partition = way.destination.partition((way.partition)(*first));
            let appended = self.append_run(rest, partition, way);
            if appended == 0 {
                poll_fn(|context| partition.poll_room(context, || session.check_open())).await?;
            }
            rest = &rest[appended..];
        }
        Ok(())
    }

    /// Appends those that come first and belong to a partition, under one lock, as far as there is room; returns how many.
    fn append_run<P, E>(&self, letters: &[usize], partition: &Partition, way: &Way<'_, P, E>) -> usize
    where
        P: Fn(usize) -> u32,
        E: Fn(&Letter<'_>) -> Option<Extra>,
    {
        let (now, mut log) = (stamp::now(), partition.appender());
        let mut count = 0;
        for index in letters {
            if (way.partition)(*index) != partition.index() || !log.claim_room(1) {
                break;
            }
            let letter = self.letter(*index);
            log.append_again((letter.item, letter.segment), (way.extra)(&letter), now);
            count += 1;
        }
        log.publish();
        count
    }
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
        let chosen = |wanted: &dyn Fn(usize) -> bool| (0..disposals.len()).filter(|index| wanted(*index)).collect();
        if let Some(target) = &target {
            let to_group = self.purpose != Purpose::Resolve { all_groups: true };
            let back = Way {
                destination: target,
                partition: |index: usize| {
                    let partition = self.told[index].origin.partition;
                    partition.filter(|partition| *partition < target.count()).unwrap_or(0)
                },
                extra: |letter: &Letter<'_>| Some(letter.returned(to_group)),
            };
            let sent: Vec<_> = chosen(&|index| disposals[index] == Disposal::Send);
            self.append(&sent, &back).await?;
        }
        let again = Way {
            destination: &place.letters,
            partition: |_| place.partition,
            extra: |letter: &Letter<'_>| letter.extra.cloned(),
        };
        let staying: Vec<_> = chosen(&|index| match disposals[index] {
            Disposal::Send => answers[index].is_some(),
            Disposal::Discard => false,
            _ => true,
        });
        self.append(&staying, &again).await?;
        session.hub.set_resolved(place.letters.name(), place.partition, place.position);
        self.taken.clear();
        Ok(answers)
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
