//! The receiving half.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::batch::{Batch, View};
use super::dead_letters::DeadLetters;
use super::group::Member;
use super::hub::{Membership, Seat, Session, closed};
use super::mailbox::{Mail, Mailbox};
use super::partition::Partition;
use crate::Result;
use crate::binder::{Assignment, Consumer, ConsumerBinding, DeadLetterSink, LaneId, Received};
use crate::config::{HeaderMode, Start};

/// Unsettled deliveries per partition unless the configuration says it; Kafka's number.
const PREFETCH: u32 = 10_000;

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
}

impl Lane {
    fn wants(&self) -> bool {
        !self.revoked && self.partition.has_from(self.position)
    }

    fn wants_for_sure(&self) -> bool {
        !self.revoked && self.partition.lock().end() > self.position
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
    next_id: u32,
    /// Lanes that core was not told of yet, if it wants to hear of them.
    assigned: Option<Vec<Assignment>>,
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
        let seats = destinations.into_iter().enumerate().map(|(seat, destination)| {
            let member = Member { seat, mailbox: Arc::clone(&mailbox) };
            let group = destination.join(group, start, member);
            Seat { destination, group }
        });
        let membership = Membership { seats: seats.collect(), mailbox };
        let consumer = Self {
            membership: Arc::new(membership),
            lanes: Vec::new(),
            next_id: 0,
            assigned: binding.tells_assignments.then(Vec::new),
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

    fn poll_find(&mut self, context: &Context<'_>, max: usize) -> Poll<Result<Found>> {
        loop {
            if let Some(found) = self.find(max)? {
                return Poll::Ready(Ok(found));
            }
            self.membership.mailbox.sleep(context.waker());
            if !self.has_something(max) {
                return Poll::Pending;
            }
            self.membership.mailbox.stay_awake();
        }
    }

    /// Looks under the locks, so that nothing is missed that was brought before the alarm clock was set.
    fn has_something(&self, max: usize) -> bool {
        let reads = !self.paused && max > 0;
        self.membership.mailbox.is_pending_for_sure() || reads && self.lanes.iter().any(Lane::wants_for_sure)
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
        revoked
    }

    fn open_lane(&mut self, seat: usize, partition: Arc<Partition>) {
        let Some(start) = partition.lock().committed(self.membership.seats[seat].group) else { return };
        let id = LaneId(self.next_id);
        self.next_id += 1;
        if let Some(assigned) = &mut self.assigned {
            let destination = self.membership.seats[seat].destination.name();
            assigned.push(Assignment::new(id, Arc::clone(destination), Some(partition.index())));
        }
        self.lanes.push(Lane { id, seat, partition, start, position: start, revoked: false });
    }

    /// Stops the intake of a lane; one that has delivered nothing is given back without asking core.
    fn revoke(&mut self, seat: usize, partition: u32) -> Option<LaneId> {
        let is_it = |lane: &Lane| lane.seat == seat && lane.partition.index() == partition;
        let place = self.lanes.iter().position(is_it)?;
        let lane = &mut self.lanes[place];
        lane.revoked = true;
        if lane.position > lane.start {
            return Some(lane.id);
        }
        let id = lane.id;
        self.give_back(place);
        let told = self.assigned.is_some() && !self.take_untold(id);
        told.then_some(id)
    }

    /// Forgets an assignment that core was not told of yet; returns whether there was one.
    fn take_untold(&mut self, id: LaneId) -> bool {
        let Some(assigned) = &mut self.assigned else { return false };
        let place = assigned.iter().position(|known| known.lane == id);
        place.map(|place| assigned.remove(place)).is_some()
    }

    fn give_back(&mut self, place: usize) {
        let lane = self.lanes.remove(place);
        let seat = &self.membership.seats[lane.seat];
        seat.destination.release(seat.group, &self.membership.mailbox, lane.partition.index());
    }

    /// Takes what is there from the lanes in turn.
    fn fill(&mut self, max: usize) -> bool {
        self.batch.clear();
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

    fn lane(&self, id: LaneId) -> Option<usize> {
        self.lanes.binary_search_by_key(&id, |lane| lane.id).ok()
    }
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

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        let Some(lane) = self.lane(lane).map(|place| &self.lanes[place]) else { return Ok(()) };
        let seat = &self.membership.seats[lane.seat];
        let next = lane.position.min(sequence.saturating_add(1));
        let settled = lane.partition.lock().settle(seat.group, &self.membership.mailbox, next);
        settled.wakers.into_iter().for_each(Waker::wake);
        if settled.drained {
            seat.destination.progress().note();
        }
        Ok(())
    }

    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        for id in lanes {
            if let Some(place) = self.lane(*id).filter(|place| self.lanes[*place].revoked) {
                self.give_back(place);
            }
        }
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
        let lanes = self.lanes.iter().map(|lane| (lane.id.0, lane.partition.index(), lane.position));
        f.debug_struct("MemoryConsumer").field("lanes", &lanes.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
