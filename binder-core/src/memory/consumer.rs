//! The receiving half.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, Sleep, sleep_until};

use super::batch::{Batch, View};
use super::dead_letters::DeadLetters;
use super::group::Member;
use super::hub::{Membership, Seat, Session, closed};
use super::mailbox::{Mail, Mailbox};
use super::partition::Partition;
use super::returns;
use super::transaction;
use crate::binder::{
    Assignment, CommitError, Consumer, ConsumerBinding, ConsumerTransaction, DeadLetterSink, LaneId, Received, SeekTo,
};
use crate::config::{HeaderMode, Provision, Start};
use crate::{Error, ErrorKind, Result};

/// Unsettled deliveries per partition unless the configuration says it; Kafka's number.
const PREFETCH: u32 = 10_000;

/// How long a transaction waits for room before it is tried again, and the binding says so.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);

/// A partition while it is this consumer's.
#[derive(Debug)]
struct Lane {
    id: LaneId,
    seat: usize,
    partition: Arc<Partition>,
    start: u64,
    /// Offset of the next delivery.
    position: u64,
    revoked: bool,
    /// Whether core wants nothing more of it for now.
    held: bool,
    /// When the next delivery may be given out, if it waits.
    due: Option<Instant>,
}

impl Lane {
    fn wants(&self) -> bool {
        !self.revoked && !self.held && self.partition.has_from(self.position) && self.is_due()
    }

    fn wants_for_sure(&self) -> bool {
        !self.revoked && !self.held && self.partition.lock().end() > self.position && self.is_due()
    }

    fn is_due(&self) -> bool {
        self.due.is_none_or(|due| due <= Instant::now())
    }
}

/// What was found; a batch lies in the consumer.
enum Found {
    Batch,
    Assigned(Vec<Assignment>),
    Revoked(Vec<LaneId>),
}

/// Reads the partitions that its groups give it.
pub(super) struct MemoryConsumer {
    membership: Arc<Membership>,
    /// In the order of their ids.
    lanes: Vec<Lane>,
    /// Lanes of what comes back to the group, in the order of their ids; a list of their own, because most of the time they are empty.
    returns: Vec<Lane>,
    /// Wakes when the first of them is due.
    alarm: Option<Pin<Box<Sleep>>>,
    session: Arc<Session>,
    next_id: u32,
    /// Lanes that core was not told of yet, if it wants to hear of them.
    assigned: Option<Vec<Assignment>>,
    /// Seeks that wait for the first partition.
    seeks: Vec<(Option<u32>, SeekTo)>,
    /// The lane that is looked at first, so that a busy one does not starve the others.
    next_lane: usize,
    paused: bool,
    batch: Batch,
    dead_letters: Option<Arc<DeadLetters>>,
}

impl MemoryConsumer {
    /// Joins the group of a binding on each of its destinations.
    pub(super) fn open(session: &Arc<Session>, binding: &ConsumerBinding) -> Result<Self> {
        session.check_open()?;
        let wanted = binding.wanted_partitions();
        let open = |name: &String| session.hub.open(name, wanted, binding.provision);
        let destinations = binding.destinations.iter().map(open).collect::<Result<Vec<_>>>()?;
        let group = binding.group.as_deref();
        let default = if group.is_some() { Start::Earliest } else { Start::Latest };
        let start = binding.properties.start.unwrap_or(default);
        let mailbox = Arc::<Mailbox>::default();
        let mut places: Vec<_> = destinations.iter().map(|source| (Arc::clone(source), None)).collect();
        for source in &destinations {
            for (name, for_dead_letters) in returns::destinations(binding, source.name()) {
                let provision = if for_dead_letters { Provision::Create } else { binding.provision };
                let destination = session.hub.open(&name, source.count(), provision)?;
                places.push((destination, Some(Arc::clone(source.name()))));
            }
        }
        let seats = places.into_iter().enumerate().map(|(seat, (destination, source))| {
            let member = Member { seat, mailbox: Arc::clone(&mailbox) };
            let start = if source.is_some() { Start::Earliest } else { start };
            let group = destination.join(group, start, member);
            Seat { destination, group, source }
        });
        let membership = Membership { seats: seats.collect(), mailbox };
        let consumer = Self {
            membership: Arc::new(membership),
            lanes: Vec::new(),
            returns: Vec::new(),
            alarm: None,
            session: Arc::clone(session),
            next_id: 0,
            assigned: binding.tells_assignments.then(Vec::new),
            seeks: Vec::new(),
            next_lane: 0,
            paused: false,
            batch: Batch::new(binding.properties.header_mode != HeaderMode::None),
            dead_letters: DeadLetters::of(session, binding).map(Arc::new),
        };
        session.add(&consumer.membership)?;
        Ok(consumer)
    }

    fn find(&mut self, max: usize) -> Result<Option<Found>> {
        if self.membership.mailbox.is_pending() {
            self.check_open()?;
            let revoked = self.open_mail();
            if !revoked.is_empty() {
                return Ok(Some(Found::Revoked(revoked)));
            }
        }
        if let Some(assigned) = self.assigned.as_mut().filter(|assigned| !assigned.is_empty()) {
            return Ok(Some(Found::Assigned(std::mem::take(assigned))));
        }
        Ok((!self.paused && self.fill(max)).then_some(Found::Batch))
    }

    fn poll_find(&mut self, context: &mut Context<'_>, max: usize) -> Poll<Result<Found>> {
        loop {
            if let Some(found) = self.find(max)? {
                return Poll::Ready(Ok(found));
            }
            ready!(self.poll_something(context, max));
        }
    }

    /// Ready when there may be something to find.
    fn poll_something(&mut self, context: &mut Context<'_>, max: usize) -> Poll<()> {
        self.membership.mailbox.sleep(context.waker());
        if !self.has_something(max) {
            ready!(self.poll_alarm(context, max));
        }
        self.membership.mailbox.stay_awake();
        Poll::Ready(())
    }

    /// Ready when something that waits is due.
    fn poll_alarm(&mut self, context: &mut Context<'_>, max: usize) -> Poll<()> {
        let first = self.returns.iter().filter(|lane| !lane.revoked && !lane.held).filter_map(|lane| lane.due).min();
        let Some(due) = first.filter(|_| !self.paused && max > 0) else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        alarm.as_mut().poll(context)
    }

    /// Looks under the locks, so that nothing is missed that was brought before the alarm clock was set.
    fn has_something(&self, max: usize) -> bool {
        let reads = !self.paused && max > 0;
        let mut lanes = self.lanes.iter().chain(&self.returns);
        let untold = self.assigned.as_ref().is_some_and(|assigned| !assigned.is_empty());
        untold || self.membership.mailbox.is_pending_for_sure() || reads && lanes.any(Lane::wants_for_sure)
    }

    fn check_open(&self) -> Result<()> {
        if self.membership.mailbox.is_closed() { Err(closed("the consumer is closed")) } else { Ok(()) }
    }

    /// Opens and closes lanes as the groups say; returns those that core has to give back.
    #[cold]
    fn open_mail(&mut self) -> Vec<LaneId> {
        let mut revoked = Vec::new();
        for mail in self.membership.mailbox.take() {
            match mail {
                Mail::Assigned { seat, partition } => self.open_lane(seat, partition),
                Mail::Revoked { seat, partition } => revoked.extend(self.revoke(seat, partition)),
            }
        }
        if !self.lanes.is_empty() {
            for (partition, to) in std::mem::take(&mut self.seeks) {
                self.seek_held(partition, to);
            }
        }
        revoked
    }

    /// Moves lanes and gives them new ids; returns the ids that ended.
    fn seek_held(&mut self, partition: Option<u32>, to: SeekTo) -> Vec<LaneId> {
        let wanted = |lane: &mut Lane| !lane.revoked && partition.is_none_or(|index| index == lane.partition.index());
        let moved: Vec<_> = self.lanes.extract_if(.., wanted).collect();
        for lane in &moved {
            let seat = &self.membership.seats[lane.seat];
            let sought = lane.partition.lock().seek(seat.group, &self.membership.mailbox, to);
            let Some(settled) = sought else { continue };
            settled.wakers.into_iter().for_each(Waker::wake);
            if settled.drained {
                seat.destination.progress().note();
            }
            self.take_untold(lane.id);
            self.open_lane(lane.seat, Arc::clone(&lane.partition));
        }
        moved.iter().map(|lane| lane.id).collect()
    }

    fn open_lane(&mut self, seat: usize, partition: Arc<Partition>) {
        let Some(start) = partition.lock().committed(self.membership.seats[seat].group) else { return };
        let id = LaneId(self.next_id);
        self.next_id += 1;
        let source = &self.membership.seats[seat];
        let returns = source.source.is_some();
        if let Some(assigned) = self.assigned.as_mut().filter(|_| !returns) {
            let destination = source.destination.name();
            assigned.push(Assignment::new(id, Arc::clone(destination), Some(partition.index())));
        }
        let lane = Lane { id, seat, partition, start, position: start, revoked: false, held: false, due: None };
        if returns { self.returns.push(lane) } else { self.lanes.push(lane) }
    }

    /// Stops the intake of a lane; one that has delivered nothing is given back without asking core.
    fn revoke(&mut self, seat: usize, partition: u32) -> Option<LaneId> {
        let is_it = |lane: &&mut Lane| lane.seat == seat && lane.partition.index() == partition;
        let lane = self.lanes.iter_mut().chain(&mut self.returns).find(is_it)?;
        lane.revoked = true;
        if lane.position > lane.start {
            return Some(lane.id);
        }
        let id = lane.id;
        self.give_back(id);
        let told = self.assigned.is_some() && !self.take_untold(id);
        told.then_some(id)
    }

    /// Forgets an assignment that core was not told of yet; returns whether there was one.
    fn take_untold(&mut self, id: LaneId) -> bool {
        let Some(assigned) = &mut self.assigned else { return false };
        let place = assigned.iter().position(|known| known.lane == id);
        place.map(|place| assigned.remove(place)).is_some()
    }

    fn give_back(&mut self, id: LaneId) {
        for lanes in [&mut self.lanes, &mut self.returns] {
            let Some(place) = place_of(lanes, id).filter(|place| lanes[*place].revoked) else { continue };
            let lane = lanes.remove(place);
            let seat = &self.membership.seats[lane.seat];
            seat.destination.release(seat.group, &self.membership.mailbox, lane.partition.index());
        }
    }

    /// Takes what is there from the lanes in turn.
    fn fill(&mut self, max: usize) -> bool {
        self.batch.clear();
        if self.returns.iter().any(Lane::wants) {
            self.fill_returned(max);
        }
        let lanes = self.lanes.len();
        for step in 0..lanes {
            let place = (self.next_lane + step) % lanes;
            let lane = &mut self.lanes[place];
            if !lane.wants() {
                continue;
            }
            let room = max - self.batch.len();
            if room == 0 {
                self.next_lane = place;
                break;
            }
            let destination = self.membership.seats[lane.seat].destination.name();
            self.batch.begin(lane.id, lane.position, destination, lane.partition.index());
            lane.position += lane.partition.lock().read(lane.position, room, &mut self.batch) as u64;
        }
        self.batch.len() > 0
    }

    /// Takes what comes back and is due, at most half of what is wanted: the rest is for what is new.
    #[cold]
    fn fill_returned(&mut self, max: usize) {
        let now = Instant::now();
        for lane in self.returns.iter_mut().filter(|lane| lane.wants()) {
            let Some(source) = &self.membership.seats[lane.seat].source else { continue };
            lane.due = None;
            while self.batch.len() < max.div_ceil(2) {
                self.batch.begin_returned(lane.id, lane.position, source, lane.partition.index());
                if lane.partition.lock().read(lane.position, 1, &mut self.batch) == 0 {
                    self.batch.undo_run();
                    break;
                }
                let due = self.batch.last_headers().and_then(|headers| self.session.hub.clock().due(headers));
                if due.is_some_and(|due| due > now) {
                    self.batch.undo();
                    lane.due = due;
                    break;
                }
                lane.position += 1;
            }
        }
    }

    fn lane(&self, id: LaneId) -> Option<&Lane> {
        match place_of(&self.lanes, id) {
            Some(place) => self.lanes.get(place),
            None => place_of(&self.returns, id).and_then(|place| self.returns.get(place)),
        }
    }
}

fn place_of(lanes: &[Lane], id: LaneId) -> Option<usize> {
    lanes.binary_search_by_key(&id, |lane| lane.id).ok()
}

impl Consumer for MemoryConsumer {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        let found = self.find(max)?;
        Ok(found.map(|found| received(found, &self.batch)))
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        Box::pin(async move {
            let found = poll_fn(|context| self.poll_find(context, max)).await?;
            Ok(received(found, &self.batch))
        })
    }

    fn poll_ready(&mut self, context: &mut Context<'_>, max: usize) -> Option<Poll<()>> {
        Some(self.poll_something(context, max))
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        let Some(lane) = self.lane(lane) else { return Ok(()) };
        let seat = &self.membership.seats[lane.seat];
        let next = lane.position.min(sequence.saturating_add(1));
        let settled = lane.partition.lock().settle(seat.group, &self.membership.mailbox, next);
        settled.wakers.into_iter().for_each(Waker::wake);
        if settled.drained {
            seat.destination.progress().note();
        }
        Ok(())
    }

    fn settle_apart(&mut self, _: LaneId, _: &[u64]) -> Result<bool> {
        Ok(false)
    }

    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        lanes.iter().for_each(|id| self.give_back(*id));
        async { Ok(()) }.boxed()
    }

    fn pause(&mut self) -> Result<()> {
        self.paused = true;
        self.check_open()
    }

    fn resume(&mut self) -> Result<()> {
        self.paused = false;
        self.check_open()
    }

    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        let wanted = |lane: &&mut Lane| lanes.contains(&lane.id);
        self.lanes.iter_mut().chain(&mut self.returns).filter(wanted).for_each(|lane| lane.held = hold);
        Ok(true)
    }

    fn seek(&mut self, partition: Option<u32>, to: SeekTo) -> Result<Vec<LaneId>> {
        self.check_open()?;
        if self.lanes.is_empty() {
            self.seeks.push((partition, to));
            return Ok(Vec::new());
        }
        let ended = self.seek_held(partition, to);
        match partition {
            Some(index) if ended.is_empty() => {
                Err(Error::new(ErrorKind::Refused, format!("partition {index} is not this member's")))
            }
            _ => Ok(ended),
        }
    }

    fn commit<'a>(&'a mut self, transaction: ConsumerTransaction<'a>) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async move {
            let letters = self.dead_letters.as_deref();
            let letters: Vec<_> =
                transaction.dead_letters.iter().filter_map(|letter| Some(letters?.prepare(letter))).collect();
            let holds = || match transaction.positions.iter().all(|(lane, _)| self.lane(*lane).is_some()) {
                true => self.check_open(),
                false => Err(Error::new(ErrorKind::Refused, "a partition is no longer this member's").retryable()),
            };
            let append = transaction::append(&self.session, transaction.parts, &letters, holds);
            // what it waits for may be its own: a partition that only this input drains
            let Ok(appended) = tokio::time::timeout(ROOM_PATIENCE, append).await else {
                let error =
                    Error::new(ErrorKind::Timeout, "a partition that the transaction writes to is full").retryable();
                return Err(CommitError::Aborted(error));
            };
            appended?;
            let mut positions = transaction.positions.iter();
            positions.try_for_each(|(lane, sequence)| self.settle(*lane, *sequence)).map_err(CommitError::Aborted)
        })
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        let sink = Arc::clone(self.dead_letters.as_ref()?);
        Some(sink)
    }

    fn default_prefetch(&self) -> u32 {
        PREFETCH
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.membership.leave();
        async { Ok(()) }.boxed()
    }
}

fn received(found: Found, batch: &Batch) -> Received<'_> {
    match found {
        Found::Batch => Received::Batch(Box::new(View(batch))),
        Found::Assigned(lanes) => Received::Assigned(lanes),
        Found::Revoked(lanes) => Received::Revoked(lanes),
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.membership.leave();
    }
}

impl fmt::Debug for MemoryConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lanes =
            self.lanes.iter().chain(&self.returns).map(|lane| (lane.id.0, lane.partition.index(), lane.position));
        f.debug_struct("MemoryConsumer").field("lanes", &lanes.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
