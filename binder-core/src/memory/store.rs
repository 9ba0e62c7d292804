//! Going through dead letters.
//!
//! A group's dead letters are a destination with a position of its own, up to which they are resolved. What stays is appended again behind
//! the others, so that the position can move on.

use std::future::poll_fn;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::batch::Batch;
use super::dead_letters::dead_letter_destination;
use super::destination::Destination;
use super::extra::{Extra, Told};
use super::hub::Session;
use super::partition::Partition;
use super::stamp;
use super::{MemoryBinder, returns};
use crate::binder::{
    ConsumerBinding, DeadLetterEntry, DeadLetterPass, DeadLetterSource, DeadLetterStore, Disposal, LaneId, Purpose,
};
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
            let source = DeadLetterSource::new(source.as_str(), group);
            for partition in letters.partitions() {
                let mut log = partition.lock();
                let position = session.hub.resolved(letters.name(), partition.index()).max(log.first());
                places.push(Place {
                    letters: Arc::clone(&letters),
                    source: source.clone(),
                    target: target.clone(),
                    partition: partition.index(),
                    position,
                    end: log.end(),
                });
            }
        }
        Ok(Box::new(Pass {
            session: Arc::clone(session),
            purpose,
            places,
            current: 0,
            taken: Batch::new(true),
            unresolved: 0,
            told: Vec::new(),
            _resolving: resolving,
        }))
    }
}

/// One partition of one destination's dead letters, as far as they had come when the pass began.
#[derive(Debug)]
struct Place {
    letters: Arc<Destination>,
    source: DeadLetterSource,
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
    purpose: Purpose,
    places: Vec<Place>,
    current: usize,
    /// What is not resolved yet; gone while it is being resolved.
    taken: Batch,
    /// How many letters are taken and not resolved.
    unresolved: usize,
    /// What each of them says. That is read in a row, before anything else touches the letters: so memory is fetched for many at once.
    told: Vec<Told>,
    _resolving: Option<OwnedMutexGuard<()>>,
}

impl Pass {
    /// Reads from the first place that has something left; what is taken together is of one place.
    fn read(&mut self, max: usize) {
        self.taken.clear();
        self.told.clear();
        self.unresolved = 0;
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
            self.unresolved = log.read(place.position, count, &mut self.taken);
            place.position += self.unresolved as u64;
            return;
        }
    }

    #[inline(always)]
    fn entry(&self, place: &Place, index: usize, told: &Told) -> DeadLetterEntry {
        let (item, segment, extra) = self.taken.get(index);
        DeadLetterEntry {
            source: place.source.clone(),
            partition: told.origin.partition,
            offset: told.origin.offset,
            timestamp: told.origin.timestamp.and_then(returns::time),
            attempts: told.attempts,
            redriven: told.redriven,
            key: item.key_bytes(segment),
            payload: item.payload_bytes(segment),
            details: extra.map(Extra::details),
        }
    }
}

/// Letters that are being resolved. Each goes to one place at most and takes its extra along: a clone would cost more than what is left to do.
struct Letters {
    batch: Batch,
    extras: Vec<Option<Extra>>,
}

impl Letters {
    fn of(mut batch: Batch) -> Self {
        let extras = batch.take_extras();
        Self { batch, extras }
    }

    /// Appends letters in their order, when there is room for them; nothing of them is copied.
    async fn append<P, E>(&mut self, chosen: &[usize], way: &Way<'_, P, E>) -> Result<()>
    where
        P: Fn(usize) -> u32 + Sync,
        E: Fn(Option<Extra>) -> Option<Extra> + Sync,
    {
        let (session, mut rest) = (way.session, chosen);
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
    fn append_run<P, E>(&mut self, chosen: &[usize], partition: &Partition, way: &Way<'_, P, E>) -> usize
    where
        P: Fn(usize) -> u32,
        E: Fn(Option<Extra>) -> Option<Extra>,
    {
        let (now, mut log) = (stamp::now(), partition.appender());
        let mut count = 0;
        for index in chosen {
            if (way.partition)(*index) != partition.index() || !log.claim_room(1) {
                break;
            }
            let (item, segment) = self.batch.find(*index);
            let extra = if item.has_extra() { self.extras[item.place.extra as usize].take() } else { None };
            log.append_again((item, segment), (way.extra)(extra), now);
            count += 1;
        }
        log.publish();
        count
    }
}

/// Where taken letters are appended, and as what.
struct Way<'a, P, E> {
    session: &'a Session,
    destination: &'a Destination,
    partition: P,
    extra: E,
}

/// What is kept of a letter when it goes back, without what made it a letter.
fn returned(extra: Option<Extra>, to_group: bool) -> Extra {
    extra.unwrap_or_else(|| Extra::new(None, Headers::new())).returned(to_group)
}

#[async_trait]
impl DeadLetterPass for Pass {
    async fn take(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>> {
        self.session.check_open()?;
        self.purpose.check_take(self.unresolved)?;
        self.read(max);
        let Some(place) = self.places.get(self.current) else { return Ok(Vec::new()) };
        let mut entries = Vec::with_capacity(self.taken.len());
        entries.extend(self.told.iter().enumerate().map(|(index, told)| self.entry(place, index, told)));
        Ok(entries)
    }

    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        self.purpose.check_resolve(self.unresolved, disposals)?;
        if self.taken.len() != self.unresolved {
            let text = "an earlier call that resolved dead letters was dropped or failed; only another pass can";
            return Err(Error::new(ErrorKind::Unexpected, text));
        }
        let mut letters = Letters::of(std::mem::replace(&mut self.taken, Batch::new(true)));
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
                session,
                destination: target,
                partition: |index: usize| {
                    let partition = self.told[index].origin.partition;
                    partition.filter(|partition| *partition < target.count()).unwrap_or(0)
                },
                extra: |extra| Some(returned(extra, to_group)),
            };
            let sent: Vec<_> = chosen(&|index| disposals[index] == Disposal::Send);
            letters.append(&sent, &back).await?;
        }
        let again = Way { session, destination: &place.letters, partition: |_| place.partition, extra: |extra| extra };
        let staying: Vec<_> = chosen(&|index| match disposals[index] {
            Disposal::Send => answers[index].is_some(),
            Disposal::Discard => false,
            _ => true,
        });
        letters.append(&staying, &again).await?;
        session.hub.set_resolved(place.letters.name(), place.partition, place.position);
        (self.taken, self.unresolved) = (letters.batch, 0);
        self.taken.clear();
        Ok(answers)
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
