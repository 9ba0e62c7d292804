//! What is committed beside what is stored: transactions, and what nobody ever sees.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::binder::{CommitError, ConsumerTransaction, LaneId};
use binder_core::{Error, ErrorKind, Result};
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::{Interval, MissedTickBehavior};

use crate::consumer::KafkaConsumer;
use crate::held::Held;
use crate::link::lock;
use crate::transaction::Positions;

/// Returns the looks of an idle consumer.
pub(crate) fn looks(interval: Duration) -> Mutex<Interval> {
    let mut looks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Mutex::new(looks)
}

impl KafkaConsumer {
    /// Returns the offsets of lanes, and the member that moves them; nothing if there are none.
    pub(crate) fn positions(&self, lanes: &[(LaneId, u64)]) -> Result<Option<Positions>> {
        if lanes.is_empty() {
            return Ok(None);
        }
        let group = self.group();
        let offsets = lock(&group.lanes).offsets(lanes);
        // of a lane that is gone core is about to hear
        let gone = || Error::new(ErrorKind::Refused, "a partition is no longer this member's").retryable();
        let member =
            self.client.group_metadata().ok_or_else(|| group.link.fail_code(Code::UnknownMemberId).retryable());
        Ok(Some((offsets.ok_or_else(gone)?, member?)))
    }

    pub(crate) fn note_committed(&self, positions: &[(LaneId, u64)]) {
        lock(&self.group().lanes).note_committed(positions);
    }

    /// Publishes, with the positions of this client and perhaps another.
    pub(crate) async fn commit_at(
        &mut self,
        transaction: &ConsumerTransaction<'_>,
        positions: Vec<Positions>,
    ) -> Result<(), CommitError> {
        let Some(transactor) = &mut self.transactor else {
            let error = Error::new(ErrorKind::Unexpected, "the binding is not `transactional`");
            return Err(CommitError::Aborted(error));
        };
        let letters = self.dead_letters.as_deref().map(|sink| (sink, transaction.dead_letters));
        transactor.publish(transaction.parts, letters, &Arc::new(positions)).await
    }

    /// Passes what lies behind the last message: between two messages the offset of the later one does it. Called between two polls, so all
    /// that the client has handed out is in the lanes.
    #[cold]
    pub(crate) fn pass_what_nobody_sees(&self) {
        let Ok(positions) = self.client.position() else { return };
        let held = lock(&self.held);
        let mut lanes = lock(&self.group().lanes);
        for element in positions.elements() {
            let waits = |held: &Held| held.partition == element.partition() && *held.topic == *element.topic();
            if let Offset::Offset(position) = element.offset()
                && !held.iter().any(waits)
            {
                lanes.pass(element.topic(), element.partition(), position);
            }
        }
    }
}
