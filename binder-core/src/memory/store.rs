//! Going through dead letters.
//!
//! A group's dead letters are a destination with a position of its own, up to which they are resolved. What stays is appended again behind
//! the others, so that the position can move on.

use std::future::poll_fn;
use std::iter::Peekable;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::batch::Batch;
use super::dead_letters::{FAILURE, dead_letter_destination};
use super::destination::Destination;
use super::hub::Session;
use super::item::{Extra, Item, Record};
use super::partition::{Appender, Partition};
use super::returns::Origin;
use super::stamp;
use super::{MemoryBinder, returns};
use crate::binder::{
    ATTEMPTS, ConsumerBinding, DeadLetterDetails, DeadLetterEntry, DeadLetterPass, DeadLetterStore, Disposal, LaneId,
    Purpose, REDRIVE_COUNT,
};
use crate::message::{ContentType, HeaderValue, Headers};
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
    /// What each of them says.
    told: Vec<Told>,
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
            let partition = place.letters.partition(place.partition);
            let mut log = partition.lock();
            place.position = place.position.max(log.first());
            self.taken.begin(LaneId(0), place.position, place.letters.name(), place.partition);
            place.position += log.read(place.position, max.min(left).min(MOST), &mut self.taken) as u64;
            return;
        }
    }

    fn letter(&self, index: usize) -> Letter<'_> {
        let (item, segment, extra) = self.taken.get(index);
        Letter { item, segment, extra }
    }

    fn entry(&self, place: &Place, letter: &Letter<'_>) -> (DeadLetterEntry, Told) {
        let told = Told::by(letter.headers());
        let mut entry = DeadLetterEntry::new(Arc::clone(&place.source), Arc::clone(&self.group));
        entry.partition = told.origin.partition;
        entry.offset = told.origin.offset;
        entry.timestamp = told.origin.timestamp.and_then(returns::time);
        entry.attempts = told.attempts;
        entry.redriven = told.redriven;
        entry.key = letter.item.key_bytes(letter.segment);
        entry.payload = letter.item.payload_bytes(letter.segment);
        if let Some(extra) = letter.extra {
            entry = entry.with_details(Arc::clone(extra) as _);
        }
        (entry, told)
    }

    /// Returns a letter as it goes back, without what made it one.
    fn returning<'a>(&self, letter: Letter<'a>, told: &Told, partitions: u32) -> Again<'a> {
        let mut headers = Headers::with_capacity(told.kept + 1 + Origin::HEADERS);
        if told.kept > 0 {
            headers.append_some(letter.headers(), |name| name != REDRIVE_COUNT && !FAILURE.contains(&name));
        }
        headers.append(REDRIVE_COUNT, HeaderValue::I64(i64::from(told.redriven) + 1));
        if self.purpose != (Purpose::Resolve { all_groups: true }) {
            told.origin.append_to(&mut headers);
        }
        let content_type = letter.content_type();
        let extra = Extra::new(content_type.as_ref(), headers);
        let partition = told.origin.partition.filter(|partition| *partition < partitions).unwrap_or(0);
        Again { partition, letter, content_type, extra }
    }
}

/// What headers tell of a letter.
#[derive(Debug, Default)]
struct Told {
    origin: Origin,
    attempts: Option<u32>,
    redriven: u32,
    /// How many do not tell of the failure.
    kept: usize,
}

impl Told {
    /// Reads them once; of two of one name the last counts.
    fn by(headers: &Headers) -> Self {
        let mut told = Self::default();
        for (name, value) in headers.iter() {
            let number = || value.as_i64();
            match name {
                "x-original-partition" => told.origin.partition = number().and_then(|number| number.try_into().ok()),
                "x-original-offset" => told.origin.offset = number().and_then(|number| number.try_into().ok()),
                "x-original-timestamp" => told.origin.timestamp = number().filter(|number| *number >= 0),
                ATTEMPTS => told.attempts = number().and_then(|number| number.try_into().ok()),
                REDRIVE_COUNT => {
                    told.redriven = number().and_then(|number| number.try_into().ok()).unwrap_or(0);
                    told.kept += 1;
                }
                _ => told.kept += usize::from(!FAILURE.contains(&name)),
            }
        }
        told
    }
}

impl DeadLetterDetails for Extra {
    fn reason(&self) -> Option<String> {
        Extra::headers(self).get("x-exception-message").map(HeaderValue::to_text)
    }

    fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        headers.append_some(Extra::headers(self), |name| !FAILURE.contains(&name));
        headers
    }
}

/// A letter that was taken.
#[derive(Clone, Copy)]
struct Letter<'a> {
    item: &'a Item,
    segment: &'a Bytes,
    extra: Option<&'a Arc<Extra>>,
}

static NO_HEADERS: Headers = Headers::new();

impl<'a> Letter<'a> {
    fn headers(&self) -> &'a Headers {
        self.extra.map_or(&NO_HEADERS, |extra| extra.headers())
    }

    fn content_type(&self) -> Option<ContentType> {
        self.item.content_type(|| self.extra.map(AsRef::as_ref))
    }

    /// As it is, to be appended again.
    fn staying(self, partition: u32) -> Again<'a> {
        let content_type = self.content_type();
        let extra = self.extra.map_or_else(|| Extra::new(content_type.as_ref(), Headers::new()), Arc::clone);
        Again { partition, letter: self, content_type, extra }
    }
}

/// A letter on its way into a log; its bytes are copied, its extra is not.
struct Again<'a> {
    partition: u32,
    letter: Letter<'a>,
    content_type: Option<ContentType>,
    extra: Arc<Extra>,
}

impl Again<'_> {
    fn append(self, log: &mut Appender<'_>, now: SystemTime) {
        let record = Record {
            payload: self.letter.item.payload(self.letter.segment),
            key: self.letter.item.key(self.letter.segment),
            content_type: self.content_type.as_ref(),
            headers: self.extra.headers(),
        };
        log.append_shared(record, Arc::clone(&self.extra), now);
    }
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
        message.append(&mut log, now);
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
        let mut told = std::mem::take(&mut self.told);
        told.clear();
        let mut entries = Vec::with_capacity(self.taken.len());
        for index in 0..self.taken.len() {
            let (entry, says) = self.entry(place, &self.letter(index));
            entries.push(entry);
            told.push(says);
        }
        self.told = told;
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
            let partitions = target.count();
            let returning = |index: usize| self.returning(self.letter(index), &self.told[index], partitions);
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
