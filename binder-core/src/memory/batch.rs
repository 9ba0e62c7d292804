//! What a consumer has received last.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::extra::Extra;
use super::item::Item;
use super::returns;
use crate::binder::{BatchView, LaneId, Metadata, Parcel, Token};
use crate::message::{ContentType, HeaderValue, Headers};

/// Items of one lane that follow each other.
#[derive(Debug)]
struct Run {
    start: usize,
    lane: LaneId,
    first: u64,
    destination: Arc<str>,
    partition: u32,
    /// Whether the items come back to the group, and say in their headers what they were.
    returned: bool,
}

/// Copies of items, and the segments with their bytes; used again for every batch.
#[derive(Debug)]
pub(super) struct Batch {
    items: Vec<Item>,
    segments: Vec<Bytes>,
    extras: Vec<Extra>,
    runs: Vec<Run>,
    with_headers: bool,
}

impl Batch {
    pub(super) fn new(with_headers: bool) -> Self {
        Self { items: Vec::new(), segments: Vec::new(), extras: Vec::new(), runs: Vec::new(), with_headers }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.segments.clear();
        self.extras.clear();
        self.runs.clear();
    }

    /// Begins a run of items; those of `lane` that are added next start at offset `first`.
    pub(super) fn begin(&mut self, lane: LaneId, first: u64, destination: &Arc<str>, partition: u32) {
        let destination = Arc::clone(destination);
        self.runs.push(Run { start: self.items.len(), lane, first, destination, partition, returned: false });
    }

    /// Begins a run of items that come back to the group; `source` is where they came from at first.
    pub(super) fn begin_returned(&mut self, lane: LaneId, first: u64, source: &Arc<str>, partition: u32) {
        self.begin(lane, first, source, partition);
        if let Some(run) = self.runs.last_mut() {
            run.returned = true;
        }
    }

    /// Takes back the last item and its run, which has no other.
    pub(super) fn undo(&mut self) {
        self.items.pop();
        self.undo_run();
    }

    /// Takes back the last run, which has no item.
    pub(super) fn undo_run(&mut self) {
        self.runs.pop();
    }

    /// Returns the headers of the last item, whatever the application reads.
    pub(super) fn last_headers(&self) -> Option<&Headers> {
        self.items.last().and_then(|item| self.extra(item)).map(Extra::headers)
    }

    fn returned(&self, index: usize) -> Option<&Headers> {
        if !self.run(index).returned {
            return None;
        }
        self.extra(&self.items[index]).map(Extra::headers)
    }

    /// Adds items with all segments and extras that they need.
    pub(super) fn extend(&mut self, items: &[Item], segments: &[Bytes], extras: &[Extra]) {
        let Some(first) = items.first().map(|item| item.place) else { return };
        let segment = (self.segments.len() as u32).wrapping_sub(first.segment);
        let extra = (self.extras.len() as u32).wrapping_sub(first.extra);
        self.segments.extend_from_slice(segments);
        self.extras.extend_from_slice(extras);
        self.items.extend(items.iter().map(|item| {
            let mut item = *item;
            item.place.segment = item.place.segment.wrapping_add(segment);
            item.place.extra = item.place.extra.wrapping_add(extra);
            item
        }));
    }

    fn run(&self, index: usize) -> &Run {
        match self.runs.as_slice() {
            [only] => only,
            runs => &runs[runs.partition_point(|run| run.start <= index) - 1],
        }
    }

    fn run_end(&self, index: usize) -> usize {
        let later = self.runs.partition_point(|run| run.start <= index);
        self.runs.get(later).map_or(self.items.len(), |run| run.start)
    }

    /// Returns an item and the segment with its bytes.
    pub(super) fn find(&self, index: usize) -> (&Item, &Bytes) {
        let item = &self.items[index];
        (item, &self.segments[item.place.segment as usize])
    }

    fn headers(&self, index: usize) -> Option<&Headers> {
        let extra = self.extra(&self.items[index])?;
        self.with_headers.then(|| extra.headers())
    }

    fn content_type_of(&self, item: &Item) -> Option<ContentType> {
        if self.with_headers { item.content_type(|| self.extra(item)) } else { None }
    }

    fn extra(&self, item: &Item) -> Option<&Extra> {
        if item.has_extra() { self.extras.get(item.place.extra as usize) } else { None }
    }

    /// Takes the extras away, of which the items know the places.
    pub(super) fn take_extras(&mut self) -> Vec<Option<Extra>> {
        std::mem::take(&mut self.extras).into_iter().map(Some).collect()
    }

    /// Returns an item, the segment with its bytes, and its extra.
    pub(super) fn get(&self, index: usize) -> (&Item, &Bytes, Option<&Extra>) {
        let (item, segment) = self.find(index);
        (item, segment, self.extra(item))
    }
}

/// The batch as core sees it.
pub(super) struct View<'a>(pub(super) &'a Batch);

impl BatchView for View<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        let (item, segment) = self.0.find(index);
        item.payload(segment)
    }

    fn payload_bytes(&self, index: usize) -> Option<Bytes> {
        let (item, segment) = self.0.find(index);
        item.payload_bytes(segment)
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        let (item, segment) = self.0.find(index);
        item.key(segment)
    }

    fn token(&self, index: usize) -> Token {
        let run = self.0.run(index);
        Token { lane: run.lane, sequence: run.first + (index - run.start) as u64 }
    }

    fn content_type(&self, index: usize) -> Option<ContentType> {
        self.0.content_type_of(&self.0.items[index])
    }

    fn body(&self, index: usize) -> (Option<&[u8]>, Option<ContentType>) {
        let (item, segment) = self.0.find(index);
        (item.payload(segment), self.0.content_type_of(item))
    }

    fn run_end(&self, index: usize) -> usize {
        self.0.run_end(index)
    }

    fn header(&self, index: usize, name: &str) -> Option<HeaderValue> {
        if self.0.run(index).returned && returns::is_ours(name) {
            return None;
        }
        self.0.headers(index)?.get(name).cloned()
    }

    fn headers(&self, index: usize) -> Headers {
        let Some(headers) = self.0.headers(index) else { return Headers::new() };
        if self.0.run(index).returned { returns::application(headers) } else { headers.clone() }
    }

    fn attempt(&self, index: usize) -> u32 {
        self.0.returned(index).map_or(1, returns::attempt)
    }

    fn metadata(&self, index: usize) -> Metadata {
        let run = self.0.run(index);
        let mut metadata = Metadata::new(Arc::clone(&run.destination));
        metadata.partition = Some(run.partition);
        metadata.offset = Some(run.first + (index - run.start) as u64);
        metadata.timestamp = Some(self.0.items[index].timestamp());
        if let Some(headers) = self.0.returned(index) {
            returns::read_origin(headers, &mut metadata);
        }
        metadata
    }

    /// Shares the log's bytes: nothing is copied, `arena` stays as it is.
    fn detach(&self, index: usize, _: &mut BytesMut) -> Parcel {
        let (item, segment) = self.0.find(index);
        Parcel {
            payload: item.payload_bytes(segment),
            key: item.key_bytes(segment),
            token: self.token(index),
            content_type: self.content_type(index),
            headers: self.headers(index),
            metadata: self.metadata(index),
        }
    }
}
