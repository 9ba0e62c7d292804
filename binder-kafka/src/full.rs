//! Lanes of which as much is unsettled as may be: their partitions are paused, and the consumer stays in its group.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use binder_core::binder::LaneId;
use rdkafka::TopicPartitionList;

use crate::lanes::Lanes;
use crate::link::lock;

/// The full lanes of a consumer.
#[derive(Debug, Default)]
pub(crate) struct Full {
    lanes: Mutex<Vec<(LaneId, TopicPartitionList)>>,
    any: AtomicBool,
}

impl Full {
    /// Returns whether there are any; costs no lock.
    pub(crate) fn is_any(&self) -> bool {
        self.any.load(Relaxed)
    }

    pub(crate) fn has(&self, id: LaneId) -> bool {
        self.is_any() && lock(&self.lanes).iter().any(|(full, _)| *full == id)
    }

    /// Notes lanes that are full, or are no more; returns the partitions of those that have not ended.
    pub(crate) fn note(&self, lanes: &mut Lanes, ids: &[LaneId], full: bool) -> TopicPartitionList {
        let mut known = lock(&self.lanes);
        let mut all = TopicPartitionList::new();
        for id in ids {
            let Some(lane) = lanes.by_id(*id).filter(|lane| lane.is_held()) else { continue };
            all.add_partition(&lane.topic, lane.partition);
            known.retain(|(id, _)| *id != lane.id);
            if full {
                let mut own = TopicPartitionList::new();
                own.add_partition(&lane.topic, lane.partition);
                known.push((lane.id, own));
            }
        }
        self.any.store(!known.is_empty(), Relaxed);
        all
    }

    /// Returns the partitions of all.
    pub(crate) fn list(&self) -> TopicPartitionList {
        joined(lock(&self.lanes).iter())
    }

    /// Forgets lanes that have ended; returns their partitions.
    pub(crate) fn take_ended(&self, mut has_ended: impl FnMut(LaneId) -> bool) -> TopicPartitionList {
        let mut known = lock(&self.lanes);
        let (ended, rest): (Vec<_>, Vec<_>) = known.drain(..).partition(|(id, _)| has_ended(*id));
        *known = rest;
        self.any.store(!known.is_empty(), Relaxed);
        joined(ended.iter())
    }
}

fn joined<'a>(lanes: impl Iterator<Item = &'a (LaneId, TopicPartitionList)>) -> TopicPartitionList {
    let mut all = TopicPartitionList::new();
    for element in lanes.flat_map(|(_, list)| list.elements()) {
        all.add_partition(element.topic(), element.partition());
    }
    all
}
