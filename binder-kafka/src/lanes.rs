//! Lanes of a member: its partitions, each for as long as it is assigned.

use std::collections::VecDeque;
use std::sync::Arc;

use binder_core::binder::{Assignment, LaneId, Received, SeekTo};
use binder_core::{Error, ErrorKind, Result};
use rdkafka::{Offset, TopicPartitionList};

use crate::seek::{Begin, Sought};

/// What core must hear of a rebalance.
#[derive(Debug)]
pub(crate) enum News {
    Assigned(Vec<Assignment>),
    Revoked(Vec<LaneId>),
    Lost(Vec<LaneId>),
}

impl From<News> for Received<'_> {
    fn from(news: News) -> Self {
        match news {
            News::Assigned(lanes) => Self::Assigned(lanes),
            News::Revoked(lanes) => Self::Revoked(lanes),
            News::Lost(lanes) => Self::Lost(lanes),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Held,
    Revoked,
    Released,
}

/// Whether a lane begins where its partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seeking {
    No,
    /// Where it begins must be found.
    Asked(Begin),
    /// It begins here; the client is not there yet.
    Found(i64),
}

/// A partition in one assignment.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// The lowest offset that was not delivered yet; 0 before the first delivery.
    pub(crate) next: i64,
    /// What is to be committed; where the lane began, before anything is settled.
    settled: i64,
    stored: bool,
    state: State,
    seeking: Seeking,
}

impl Lane {
    /// Returns the lowest offset that was not delivered yet; `offset` is about to be.
    pub(crate) fn begin(&mut self, offset: i64) -> i64 {
        if self.next == 0 {
            self.settled = offset;
            self.next = offset;
        }
        self.next
    }

    /// Returns whether deliveries of the lane may be started.
    pub(crate) fn is_held(&self) -> bool {
        self.state == State::Held && self.seeking == Seeking::No
    }
}

/// The partitions of a member. Ids grow, so the lanes are sorted by them.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    last: u32,
    live: Vec<Lane>,
    news: VecDeque<News>,
    unstored: bool,
    revoking: bool,
    settled_since_commit: u64,
    /// Topics of what comes back to the group: a seek does not move them.
    pub(crate) returns: Vec<Arc<str>>,
    /// Seeks that wait for the first partition.
    waiting: Vec<(Option<u32>, SeekTo)>,
    seeking: bool,
    searching: bool,
    /// Partitions of this member that the client does not read yet, because nobody knows where they begin.
    parked: Vec<(Arc<str>, i32)>,
    /// Partitions whose new position is being committed: they can't be given up before that is decided.
    moving: Vec<(Arc<str>, i32)>,
    /// Topics of whose assignments core wants to hear.
    pub(crate) told: Vec<Arc<str>>,
    /// Where partitions start that have no committed offset.
    pub(crate) starts: Vec<(Arc<str>, i32, i64)>,
}

impl Lanes {
    /// Lanes whose ids are above this one.
    pub(crate) fn beginning_at(last: u32) -> Self {
        Self { last, ..Self::default() }
    }

    /// Lanes of partitions that start there unless they have a committed offset.
    pub(crate) fn starting_at(starts: Vec<(Arc<str>, i32, i64)>) -> Self {
        Self { starts, ..Self::default() }
    }

    pub(crate) fn by_partition(&mut self, topic: &str, partition: i32) -> Option<&mut Lane> {
        self.live.iter_mut().find(|lane| lane.partition == partition && lane.topic.as_ref() == topic)
    }

    pub(crate) fn by_id(&mut self, id: LaneId) -> Option<&mut Lane> {
        let index = self.live.binary_search_by_key(&id, |lane| lane.id).ok()?;
        self.live.get_mut(index)
    }

    /// Notes what is settled; returns false if the lane is no more.
    pub(crate) fn settle(&mut self, id: LaneId, sequence: u64) -> bool {
        let Some(lane) = self.by_id(id).filter(|lane| lane.state != State::Released) else { return false };
        let upto = i64::try_from(sequence).map_or(i64::MAX, |sequence| sequence.saturating_add(1)).min(lane.next);
        if upto > lane.settled {
            let more = (upto - lane.settled).unsigned_abs();
            lane.settled = upto;
            lane.stored = false;
            self.unstored = true;
            self.settled_since_commit += more;
        }
        true
    }

    /// Passes what nobody ever sees, markers and aborted records of transactions: the client is at `position` and has handed nothing out on the
    /// way there but what is settled.
    pub(crate) fn pass(&mut self, topic: &str, partition: i32, position: i64) {
        let Some(lane) = self.by_partition(topic, partition).filter(|lane| lane.is_held()) else { return };
        if lane.settled == lane.next && position > lane.next {
            (lane.settled, lane.next, lane.stored) = (position, position, false);
            self.unstored = true;
        }
    }

    /// Returns whether something is settled that the client was not told of.
    pub(crate) fn has_unstored(&self) -> bool {
        self.unstored
    }

    /// Notes what a transaction has committed.
    pub(crate) fn note_committed(&mut self, positions: &[(LaneId, u64)]) {
        for (id, sequence) in positions {
            if let Some(lane) = self.by_id(*id) {
                let upto = i64::try_from(*sequence).map_or(i64::MAX, |sequence| sequence.saturating_add(1));
                lane.settled = upto.min(lane.next).max(lane.settled);
            }
        }
    }

    /// Returns the offsets behind these sequences; nothing if a lane is no more.
    pub(crate) fn offsets(&mut self, positions: &[(LaneId, u64)]) -> Option<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (id, sequence) in positions {
            let lane = self.by_id(*id).filter(|lane| lane.state != State::Released)?;
            let offset = Offset::Offset(i64::try_from(*sequence).ok()?.saturating_add(1).min(lane.next));
            list.add_partition_offset(&lane.topic, lane.partition, offset).ok()?;
        }
        Some(list)
    }

    /// Takes what was settled since the last call, to be stored in the client.
    pub(crate) fn take_settled(&mut self) -> Option<TopicPartitionList> {
        if !std::mem::take(&mut self.unstored) {
            return None;
        }
        let mut list = TopicPartitionList::new();
        for lane in self.live.iter_mut().filter(|lane| !lane.stored) {
            // fails for offsets that are no offsets only
            let _ = list.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(lane.settled));
            lane.stored = true;
        }
        Some(list)
    }

    /// Returns whether so many deliveries were settled since this last returned true.
    pub(crate) fn commit_is_due(&mut self, count: u64) -> bool {
        let due = count > 0 && self.settled_since_commit >= count;
        if due {
            self.settled_since_commit = 0;
        }
        due
    }

    pub(crate) fn take_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Returns whether there are lanes that the broker wants back.
    pub(crate) fn is_revoking(&self) -> bool {
        self.revoking
    }

    /// Notes that core is done with these lanes. When it is done with all that the broker wants back, returns their partitions.
    pub(crate) fn release(&mut self, lanes: &[LaneId]) -> Option<TopicPartitionList> {
        for id in lanes {
            if let Some(lane) = self.by_id(*id).filter(|lane| lane.state == State::Revoked) {
                lane.state = State::Released;
            }
        }
        self.take_released()
    }

    /// Returns the partitions that are to be given up, when core and the seeks are done with all of them.
    pub(crate) fn take_released(&mut self) -> Option<TopicPartitionList> {
        let released = self.live.iter().any(|lane| lane.state == State::Released);
        let waiting = self.live.iter().any(|lane| match lane.state {
            State::Held => false,
            State::Revoked => true,
            State::Released => self.moving.contains(&place(lane)),
        });
        (released && !waiting).then(|| {
            self.give_up_seeks(|lane| lane.state == State::Released);
            self.remove(|lane| lane.state == State::Released).1
        })
    }

    /// Forgets what was to be released: it is gone already.
    pub(crate) fn lose_revoked(&mut self) -> TopicPartitionList {
        self.give_up_seeks(|lane| lane.state != State::Held);
        let (lost, list) = self.remove(|lane| lane.state != State::Held);
        self.news.push_back(News::Lost(lost));
        list
    }

    pub(crate) fn partitions(&self) -> TopicPartitionList {
        list(self.live.iter().filter(|lane| lane.state == State::Held))
    }

    /// Sets where partitions begin that this member has settled nothing of.
    pub(crate) fn starts(&self, list: &mut TopicPartitionList) {
        for (topic, partition, offset) in &self.starts {
            if let Some(mut element) = list.find_partition(topic, *partition) {
                let _ = element.set_offset(Offset::Offset(*offset));
            }
        }
    }

    /// Keeps partitions from being read until it is known where the group stands; returns the others, of which it is known.
    pub(crate) fn park(&mut self, partitions: &TopicPartitionList) -> TopicPartitionList {
        let mut known = TopicPartitionList::new();
        for element in partitions.elements() {
            match element.offset() {
                Offset::Invalid => self.parked.push((Arc::from(element.topic()), element.partition())),
                // fails for offsets that are no offsets only
                offset => drop(known.add_partition_offset(element.topic(), element.partition(), offset)),
            }
        }
        known
    }

    /// Forgets that partitions are parked; returns the others, which the client reads.
    pub(crate) fn unpark(&mut self, partitions: &TopicPartitionList) -> TopicPartitionList {
        let mut read = TopicPartitionList::new();
        for element in partitions.elements() {
            let place = |(topic, partition): &(Arc<str>, i32)| {
                *partition == element.partition() && topic.as_ref() == element.topic()
            };
            match self.parked.iter().position(place) {
                Some(index) => drop(self.parked.swap_remove(index)),
                None => drop(read.add_partition(element.topic(), element.partition())),
            }
        }
        read
    }

    /// Says which seeks are not carried out: their partition goes before its new position was found. Another member, or a later assignment, must
    /// not find it moved long after somebody asked.
    fn give_up_seeks(&self, gone: impl Fn(&Lane) -> bool) {
        for lane in self.live.iter().filter(|lane| gone(lane)) {
            if let Seeking::Asked(Begin::At(to)) = lane.seeking {
                let Lane { topic, partition, .. } = lane;
                tracing::error!(%topic, partition, ?to, "the partition is gone before it was moved; seek again");
            }
        }
    }

    fn remove(&mut self, gone: impl Fn(&Lane) -> bool) -> (Vec<LaneId>, TopicPartitionList) {
        let list = list(self.live.iter().filter(|lane| gone(lane)));
        let ids = self.live.iter().filter(|lane| gone(lane)).map(|lane| lane.id).collect();
        self.live.retain(|lane| !gone(lane));
        self.revoking = self.live.iter().any(|lane| lane.state != State::Held);
        self.seeking = self.live.iter().any(|lane| lane.seeking != Seeking::No);
        (ids, list)
    }

    pub(crate) fn add(&mut self, partitions: &TopicPartitionList) {
        let opened: Vec<_> =
            partitions.elements().iter().map(|e| self.open(Arc::from(e.topic()), e.partition())).collect();
        let moved: Vec<_> = opened.iter().filter(|one| !self.returns.contains(&one.destination)).collect();
        if !moved.is_empty() {
            for (partition, to) in std::mem::take(&mut self.waiting) {
                let wanted = |one: &&&Assignment| partition.is_none() || partition == one.partition;
                moved.iter().filter(wanted).for_each(|one| self.ask(one.lane, to));
            }
        }
        self.tell_assigned(opened);
    }

    fn tell_assigned(&mut self, mut opened: Vec<Assignment>) {
        opened.retain(|one| self.told.contains(&one.destination));
        if !opened.is_empty() {
            self.news.push_back(News::Assigned(opened));
        }
    }

    /// Drops what core was not told of yet and must not hear after the end of these lanes.
    fn take_untold(&mut self, ended: &[LaneId]) {
        for news in &mut self.news {
            if let News::Assigned(lanes) = news {
                lanes.retain(|one| !ended.contains(&one.lane));
            }
        }
        self.news.retain(|news| !matches!(news, News::Assigned(lanes) if lanes.is_empty()));
    }

    fn open(&mut self, topic: Arc<str>, partition: i32) -> Assignment {
        self.last += 1;
        let (id, state) = (LaneId(self.last), State::Held);
        let assignment = Assignment::new(id, Arc::clone(&topic), u32::try_from(partition).ok());
        let parked = self.parked.iter().any(|parked| *parked.0 == *topic && parked.1 == partition);
        let seeking = if parked { Seeking::Asked(Begin::Committed) } else { Seeking::No };
        self.seeking |= parked;
        self.live.push(Lane { id, topic, partition, next: 0, settled: 0, stored: true, state, seeking });
        assignment
    }

    /// Ends a lane whose partition began anew, as when its topic was deleted and created again, and opens another for it.
    pub(crate) fn reopen(&mut self, topic: &str, partition: i32) {
        let Some(lane) = self.by_partition(topic, partition).filter(|lane| lane.is_held()) else { return };
        let (id, topic) = (lane.id, Arc::clone(&lane.topic));
        self.remove(|lane| lane.id == id);
        self.news.push_back(News::Lost(vec![id]));
        let opened = self.open(topic, partition);
        self.tell_assigned(vec![opened]);
    }

    /// Ends lanes and opens others that begin elsewhere; without a lane, notes it for the next assignment. Returns the lanes that ended.
    pub(crate) fn seek(&mut self, partition: Option<u32>, to: SeekTo) -> Result<Vec<LaneId>> {
        let held = |lane: &&Lane| lane.state == State::Held && !self.returns.contains(&lane.topic);
        if !self.live.iter().any(|lane| held(&lane)) {
            self.waiting.push((partition, to));
            return Ok(Vec::new());
        }
        let wanted = |lane: &&Lane| partition.is_none_or(|index| u32::try_from(lane.partition) == Ok(index));
        let ended: Vec<_> = self.live.iter().filter(held).filter(wanted).map(|lane| lane.id).collect();
        if let Some(index) = partition.filter(|_| ended.is_empty()) {
            return Err(Error::new(ErrorKind::Refused, format!("partition {index} is not this member's")));
        }
        let places: Vec<_> = self.live.iter().filter(|lane| ended.contains(&lane.id)).map(place).collect();
        self.remove(|lane| ended.contains(&lane.id));
        self.take_untold(&ended);
        let opened: Vec<_> = places.into_iter().map(|(topic, partition)| self.open(topic, partition)).collect();
        opened.iter().for_each(|one| self.ask(one.lane, to));
        self.tell_assigned(opened);
        Ok(ended)
    }

    fn ask(&mut self, lane: LaneId, to: SeekTo) {
        if let Some(lane) = self.by_id(lane) {
            lane.seeking = Seeking::Asked(Begin::At(to));
            self.seeking = true;
        }
    }

    /// Returns whether a lane is not yet where it begins.
    pub(crate) fn is_seeking(&self) -> bool {
        self.seeking
    }

    /// Returns whether somebody has to search now; that is the caller's to do.
    pub(crate) fn begin_search(&mut self) -> bool {
        let begins = !self.searching && !self.asked().is_empty();
        self.searching |= begins;
        begins
    }

    pub(crate) fn end_search(&mut self) {
        self.searching = false;
    }

    /// Returns what is to be found; if that is nothing, the search has ended.
    pub(crate) fn asked_or_end_search(&mut self) -> Vec<Sought> {
        let asked = self.asked();
        self.searching &= !asked.is_empty();
        asked
    }

    /// Returns the lanes of which nobody knows where they begin, without those that are to be given back.
    pub(crate) fn asked(&self) -> Vec<Sought> {
        let asked = |lane: &Lane| match lane.seeking {
            Seeking::Asked(begin) => {
                Some(Sought { lane: lane.id, topic: Arc::clone(&lane.topic), partition: lane.partition, begin })
            }
            _ => None,
        };
        self.live.iter().filter(|lane| lane.state == State::Held).filter_map(asked).collect()
    }

    /// Returns those of `found` whose lane is held, and not to be given back. They are held until [`end_move`](Self::end_move).
    pub(crate) fn begin_move(&mut self, asked: &[Sought], found: &TopicPartitionList) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for sought in asked {
            if let Some(element) = found.find_partition(&sought.topic, sought.partition)
                && let Some(lane) = self.by_id(sought.lane).filter(|lane| lane.state == State::Held)
            {
                let moving = place(lane);
                self.moving.push(moving);
                // fails for offsets that are no offsets only
                let _ = list.add_partition_offset(&sought.topic, sought.partition, element.offset());
            }
        }
        list
    }

    /// The new positions are committed, or are not.
    pub(crate) fn end_move(&mut self) {
        self.moving.clear();
    }

    /// Notes where lanes begin; the broker knows it.
    pub(crate) fn note_found(&mut self, asked: &[Sought], found: &TopicPartitionList) {
        for sought in asked {
            let element = found.find_partition(&sought.topic, sought.partition);
            let Some(Offset::Offset(offset)) = element.map(|element| element.offset()) else { continue };
            if let Some(lane) = self.by_id(sought.lane) {
                lane.seeking = Seeking::Found(offset);
                self.starts.retain(|(topic, partition, _)| *topic != sought.topic || *partition != sought.partition);
            }
        }
    }

    /// Returns where the client is to go: partitions that it reads, and those that it is to begin with. With `whole` the latter are all there are,
    /// or none.
    pub(crate) fn found(&self, whole: bool) -> (TopicPartitionList, TopicPartitionList) {
        let (mut moves, mut begins) = (TopicPartitionList::new(), TopicPartitionList::new());
        for lane in &self.live {
            if let Seeking::Found(offset) = lane.seeking {
                let list = if self.parked.contains(&place(lane)) { &mut begins } else { &mut moves };
                let _ = list.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(offset));
            }
        }
        // a revoke is answered with what the client reads at that time
        if (whole && begins.count() < self.parked.len()) || self.revoking {
            begins = TopicPartitionList::new();
        }
        (moves, begins)
    }

    /// The client is where a lane begins.
    pub(crate) fn moved(&mut self, topic: &str, partition: i32, to: Offset) {
        if let Some(lane) = self.by_partition(topic, partition)
            && matches!(lane.seeking, Seeking::Found(offset) if Offset::Offset(offset) == to)
        {
            lane.seeking = Seeking::No;
        }
        self.seeking = self.live.iter().any(|lane| lane.seeking != Seeking::No);
    }

    pub(crate) fn revoke(&mut self, partitions: &TopicPartitionList) {
        let mut revoked = Vec::new();
        for element in partitions.elements() {
            if let Some(lane) = self.by_partition(element.topic(), element.partition()) {
                lane.state = State::Revoked;
                revoked.push(lane.id);
            }
        }
        self.revoking = true;
        self.news.push_back(News::Revoked(revoked));
    }

    pub(crate) fn lose(&mut self, partitions: &TopicPartitionList) {
        let elements = partitions.elements();
        let named = |lane: &Lane| elements.iter().any(|e| e.partition() == lane.partition && e.topic() == &*lane.topic);
        self.give_up_seeks(named);
        let (lost, _) = self.remove(named);
        if !lost.is_empty() {
            self.news.push_back(News::Lost(lost));
        }
    }
}

fn place(lane: &Lane) -> (Arc<str>, i32) {
    (Arc::clone(&lane.topic), lane.partition)
}

fn list<'a>(lanes: impl Iterator<Item = &'a Lane>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for lane in lanes {
        list.add_partition(&lane.topic, lane.partition);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(count: i32) -> Lanes {
        let mut lanes = Lanes::default();
        let mut list = TopicPartitionList::new();
        for partition in 0..count {
            list.add_partition("t", partition);
        }
        lanes.add(&list);
        lanes.live.iter_mut().for_each(|lane| {
            lane.begin(10);
            lane.next = 20;
        });
        lanes
    }

    fn stored(lanes: &mut Lanes) -> Vec<(i32, Offset)> {
        let list = lanes.take_settled().unwrap_or_default();
        list.elements().iter().map(|element| (element.partition(), element.offset())).collect()
    }

    #[test]
    fn what_is_settled_is_stored_once() {
        let mut lanes = lanes(2);
        assert!(lanes.settle(LaneId(1), 12) && lanes.settle(LaneId(1), 11));
        assert!(lanes.settle(LaneId(2), 1_000));
        assert_eq!(stored(&mut lanes), [(0, Offset::Offset(13)), (1, Offset::Offset(20))]);
        assert_eq!(stored(&mut lanes), []);
        assert!(!lanes.commit_is_due(14) && lanes.commit_is_due(13) && !lanes.commit_is_due(13));
    }

    #[test]
    fn what_nobody_sees_is_passed_when_all_before_it_is_settled() {
        let mut lanes = lanes(1);
        lanes.pass("t", 0, 22);
        assert_eq!(stored(&mut lanes), [], "nothing is settled");
        lanes.settle(LaneId(1), 19);
        assert_eq!(stored(&mut lanes), [(0, Offset::Offset(20))]);
        lanes.pass("t", 0, 20);
        assert_eq!(stored(&mut lanes), [], "there is nothing to pass");
        lanes.pass("t", 0, 23);
        assert_eq!(stored(&mut lanes), [(0, Offset::Offset(23))]);
    }

    #[test]
    fn partitions_are_given_up_together() {
        let mut lanes = lanes(2);
        let list = lanes.partitions();
        lanes.revoke(&list);
        assert!(lanes.is_revoking() && lanes.settle(LaneId(1), 15), "running deliveries may end");
        assert!(lanes.release(&[LaneId(1)]).is_none());
        assert!(!lanes.settle(LaneId(1), 16), "nothing is settled after the release");
        assert_eq!(lanes.release(&[LaneId(2)]).map(|list| list.count()), Some(2));
        assert!(lanes.release(&[LaneId(1), LaneId(2)]).is_none() && !lanes.is_revoking());
    }

    #[test]
    fn a_partition_whose_new_position_is_being_committed_is_kept_until_that_is_decided() {
        let mut lanes = lanes(2);
        lanes.seek(Some(0), SeekTo::Beginning).expect("it holds it");
        let asked = lanes.asked();
        let mut found = TopicPartitionList::new();
        found.add_partition_offset("t", 0, Offset::Offset(5)).expect("an offset");
        assert_eq!(lanes.begin_move(&asked, &found).count(), 1);
        let list = lanes.partitions();
        lanes.revoke(&list);
        assert!(lanes.release(&[LaneId(2), LaneId(3)]).is_none(), "another member would read on from the old position");
        lanes.note_found(&asked, &found);
        lanes.end_move();
        assert_eq!(lanes.take_released().map(|list| list.count()), Some(2));
    }

    #[test]
    fn a_partition_that_is_to_be_given_back_is_not_moved() {
        let mut lanes = lanes(1);
        lanes.seek(Some(0), SeekTo::Beginning).expect("it holds it");
        let asked = lanes.asked();
        let mut found = TopicPartitionList::new();
        found.add_partition_offset("t", 0, Offset::Offset(5)).expect("an offset");
        let list = lanes.partitions();
        lanes.revoke(&list);
        assert_eq!(lanes.begin_move(&asked, &found).count(), 0);
        assert!(lanes.asked().is_empty(), "nobody looks for its position any more");
        assert!(lanes.release(&[LaneId(2)]).is_some());
    }

    #[test]
    fn a_release_does_not_undo_a_later_assignment() {
        let mut lanes = lanes(1);
        let list = lanes.partitions();
        lanes.revoke(&list);
        drop(lanes.lose_revoked());
        lanes.add(&list);
        assert!(lanes.release(&[LaneId(1)]).is_none());
        assert_eq!(lanes.partitions().count(), 1);
    }

    #[test]
    fn of_an_assignment_that_a_seek_has_ended_nothing_is_told() {
        let mut lanes = Lanes { told: vec![Arc::from("t")], ..Lanes::default() };
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        list.add_partition("t", 1);
        lanes.add(&list);
        assert_eq!(lanes.seek(Some(0), SeekTo::Beginning).expect("it holds it"), [LaneId(1)]);
        let mut told = Vec::new();
        while let Some(News::Assigned(assigned)) = lanes.take_news() {
            told.extend(assigned.into_iter().map(|one| (one.lane.0, one.partition)));
        }
        assert_eq!(told, [(2, Some(1)), (3, Some(0))]);
    }

    #[test]
    fn a_seek_decides_where_a_partition_begins_and_not_the_group() {
        let mut lanes = Lanes::default();
        lanes.seek(Some(1), SeekTo::End).expect("it is noted");
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        list.add_partition("t", 1);
        assert_eq!(lanes.park(&list).count(), 0, "of none it is known where it begins");
        lanes.add(&list);
        let begins: Vec<_> = lanes.asked().iter().map(|sought| (sought.partition, sought.begin)).collect();
        assert_eq!(begins, [(0, Begin::Committed), (1, Begin::At(SeekTo::End))]);
        let held = lanes.by_partition("t", 0).map(|lane| lane.is_held());
        assert_eq!(held, Some(false), "nothing is delivered before it is known");
    }

    #[test]
    fn the_client_begins_with_what_is_known() {
        let mut lanes = Lanes::default();
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        list.add_partition("t", 1);
        drop(lanes.park(&list));
        lanes.add(&list);
        let (asked, mut found) = (lanes.asked(), TopicPartitionList::new());
        found.add_partition_offset("t", 0, Offset::Offset(5)).expect("an offset");
        lanes.note_found(&asked, &found);
        assert_eq!((lanes.found(true).1.count(), lanes.found(false).1.count()), (0, 1));
        found.add_partition_offset("t", 1, Offset::Offset(7)).expect("an offset");
        lanes.note_found(&asked, &found);
        let (moves, begins) = lanes.found(true);
        assert_eq!((moves.count(), begins.count()), (0, 2));
        assert_eq!(lanes.unpark(&list).count(), 0, "the client reads none yet");
        assert_eq!(lanes.unpark(&list).count(), 2);
    }

    #[test]
    fn a_seek_leaves_what_comes_back() {
        let mut lanes = lanes(2);
        let mut list = TopicPartitionList::new();
        list.add_partition("retry.t.g", 0);
        lanes.returns = vec![Arc::from("retry.t.g")];
        lanes.add(&list);
        assert_eq!(lanes.seek(None, SeekTo::Beginning).expect("it holds some"), [LaneId(1), LaneId(2)]);
        assert_eq!(lanes.by_partition("retry.t.g", 0).map(|lane| lane.id), Some(LaneId(3)));
    }

    #[test]
    fn a_partition_that_begins_anew_is_another_lane() {
        let mut lanes = lanes(1);
        lanes.reopen("t", 0);
        assert!(matches!(lanes.take_news(), Some(News::Lost(ids)) if ids == [LaneId(1)]));
        assert_eq!(lanes.by_partition("t", 0).map(|lane| (lane.id, lane.next)), Some((LaneId(2), 0)));
    }
}
