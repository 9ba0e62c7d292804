//! Lanes: one for each partition or key that is busy, and nothing for those that are not.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::binder::{LaneId, Parcel};

/// Index of a lane; used again when the lane has ended.
pub(crate) type LaneIndex = usize;

/// Names one wait of a lane, so that a timer of an earlier one, which was revoked meanwhile, wakes nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaitId(u64);

/// A delivery that was copied out of its batch.
pub(crate) struct Task {
    pub(crate) parcel: Parcel,
    /// The attempt that comes next or runs, from 1.
    pub(crate) attempt: u32,
    pub(crate) lane: LaneIndex,
}

/// What keeps the deliveries of a lane in order.
pub(crate) enum LaneKey {
    Partition(LaneId),
    Key(Bytes),
    Single,
}

/// What the first delivery of a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneState {
    /// It can be started.
    Ready,
    /// Its handler runs.
    Running,
    /// It waits for its next attempt.
    Waiting,
    /// It is on its way to the dead letters.
    Aside,
}

/// The busy lanes. The one invariant: a lane is in the ready queue exactly once iff its state is `Ready` and it has a delivery.
#[derive(Default)]
pub(crate) struct Lanes {
    all: Vec<Option<Lane>>,
    free: Vec<LaneIndex>,
    by_partition: HashMap<LaneId, LaneIndex>,
    by_key: HashMap<Bytes, LaneIndex>,
    ready: VecDeque<LaneIndex>,
    count: usize,
    waits: u64,
}

struct Lane {
    key: LaneKey,
    state: LaneState,
    /// The wait that it is in, or was in last.
    wait: WaitId,
    /// Deliveries that are not started; while the lane waits, the first is the one to be tried again.
    pending: VecDeque<Task>,
}

impl Lanes {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn find_partition(&self, id: LaneId) -> Option<LaneIndex> {
        self.by_partition.get(&id).copied()
    }

    pub(crate) fn find_key(&self, key: &[u8]) -> Option<LaneIndex> {
        self.by_key.get(key).copied()
    }

    /// Adds an empty lane, to be filled by [`push_back`](Self::push_back) or [`set_state`](Self::set_state).
    pub(crate) fn add(&mut self, key: LaneKey) -> LaneIndex {
        let index = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        match &key {
            LaneKey::Partition(id) => drop(self.by_partition.insert(*id, index)),
            LaneKey::Key(bytes) => drop(self.by_key.insert(bytes.clone(), index)),
            LaneKey::Single => {}
        }
        self.all[index] = Some(Lane { key, state: LaneState::Ready, wait: WaitId(0), pending: VecDeque::new() });
        self.count += 1;
        index
    }

    /// Appends a delivery to its lane.
    pub(crate) fn push_back(&mut self, task: Task) {
        let index = task.lane;
        let Some(lane) = self.all[index].as_mut() else { return };
        lane.pending.push_back(task);
        if lane.state == LaneState::Ready && lane.pending.len() == 1 {
            self.ready.push_back(index);
        }
    }

    /// Takes the next delivery that can be started; its lane counts as running.
    pub(crate) fn next_ready(&mut self) -> Option<Task> {
        loop {
            let index = self.ready.pop_front()?;
            let Some(lane) = self.all[index].as_mut() else { continue };
            if let Some(task) = lane.pending.pop_front() {
                lane.state = LaneState::Running;
                return Some(task);
            }
        }
    }

    pub(crate) fn set_state(&mut self, index: LaneIndex, state: LaneState) {
        if let Some(lane) = self.all[index].as_mut() {
            lane.state = state;
        }
    }

    /// Goes on with a lane whose first delivery is done.
    pub(crate) fn advance(&mut self, index: LaneIndex) {
        let Some(lane) = self.all[index].as_mut() else { return };
        if lane.pending.is_empty() {
            return self.remove(index);
        }
        lane.state = LaneState::Ready;
        self.ready.push_back(index);
    }

    /// Puts a delivery back to the head of its lane, to be started again at once.
    pub(crate) fn retry_now(&mut self, task: Task) {
        let index = task.lane;
        let Some(lane) = self.all[index].as_mut() else { return };
        lane.pending.push_front(task);
        lane.state = LaneState::Ready;
        self.ready.push_back(index);
    }

    /// Puts a delivery back to the head of its lane, which waits until [`wake`](Self::wake) is called with the answer.
    pub(crate) fn wait(&mut self, task: Task) -> WaitId {
        self.waits += 1;
        let wait = WaitId(self.waits);
        if let Some(lane) = self.all[task.lane].as_mut() {
            lane.state = LaneState::Waiting;
            lane.wait = wait;
            lane.pending.push_front(task);
        }
        wait
    }

    /// Ends a wait; one that is over already is left alone.
    pub(crate) fn wake(&mut self, index: LaneIndex, wait: WaitId) {
        let waits = |lane: &&mut Lane| lane.state == LaneState::Waiting && lane.wait == wait;
        let Some(lane) = self.all[index].as_mut().filter(waits) else { return };
        lane.state = LaneState::Ready;
        self.ready.push_back(index);
    }

    /// Drops deliveries that are not started; lanes that have nothing left end.
    pub(crate) fn drop_waiting(&mut self, mut drops: impl FnMut(&Task) -> bool) {
        for index in 0..self.all.len() {
            let Some(lane) = self.all[index].as_mut() else { continue };
            let waited = lane.state == LaneState::Waiting;
            let head = waited && lane.pending.front().is_some_and(&mut drops);
            lane.pending.retain(|task| !drops(task));
            let started = matches!(lane.state, LaneState::Running | LaneState::Aside);
            if started {
                continue;
            }
            if lane.pending.is_empty() {
                self.ready.retain(|ready| *ready != index);
                self.remove(index);
            } else if head {
                lane.state = LaneState::Ready;
                self.ready.push_back(index);
            }
        }
    }

    fn remove(&mut self, index: LaneIndex) {
        let Some(lane) = self.all[index].take() else { return };
        match &lane.key {
            LaneKey::Partition(id) => drop(self.by_partition.remove(id)),
            LaneKey::Key(bytes) => drop(self.by_key.remove(bytes)),
            LaneKey::Single => {}
        }
        self.free.push(index);
        self.count -= 1;
    }
}
