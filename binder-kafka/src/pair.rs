//! Two clients for one input: one reads the destinations, the other what comes back to the group.
//!
//! They are two groups, because a sticky assignment balances all partitions of a member together: a member could get those of the destination,
//! and another nothing but those where messages wait.

use std::sync::Arc;

use binder_core::Result;
use binder_core::binder::{CommitError, Consumer, ConsumerTransaction, DeadLetterSink, LaneId, Received, SeekTo};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::consumer::KafkaConsumer;

/// The first id of the second client's lanes.
pub(crate) const SECOND: u32 = 1 << 31;

/// Returns the group that reads what comes back.
pub(crate) fn second_group(group: &str) -> String {
    format!("{group}.retry")
}

/// Receives from both.
#[derive(Debug)]
pub(crate) struct Pair {
    first: KafkaConsumer,
    second: KafkaConsumer,
    /// Who is asked first: neither keeps the other waiting.
    second_is_next: bool,
}

impl Pair {
    pub(crate) fn new(first: KafkaConsumer, second: KafkaConsumer) -> Self {
        Self { first, second, second_is_next: false }
    }

    fn of(&mut self, lane: LaneId) -> &mut KafkaConsumer {
        if lane.0 < SECOND { &mut self.first } else { &mut self.second }
    }
}

impl Consumer for Pair {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        self.second_is_next = !self.second_is_next;
        let (one, other) = match self.second_is_next {
            true => (&mut self.first, &mut self.second),
            false => (&mut self.second, &mut self.first),
        };
        if let Some(received) = one.try_recv_many(max)? {
            return Ok(Some(received));
        }
        other.try_recv_many(max)
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        let (first, second) = (&self.first, &self.second);
        async move {
            tokio::select! {
                received = first.wait(max) => received,
                received = second.wait(max) => received,
            }
        }
        .boxed()
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        self.of(lane).settle(lane, sequence)
    }

    fn settle_apart(&mut self, lane: LaneId, sequences: &[u64]) -> Result<bool> {
        self.of(lane).settle_apart(lane, sequences)
    }

    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        async move {
            self.first.release(lanes).await?;
            self.second.release(lanes).await
        }
        .boxed()
    }

    fn pause(&mut self) -> Result<()> {
        self.first.pause()?;
        self.second.pause()
    }

    fn resume(&mut self) -> Result<()> {
        self.first.resume()?;
        self.second.resume()
    }

    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        let (first, second): (Vec<_>, Vec<_>) = lanes.iter().partition(|lane| lane.0 < SECOND);
        Ok(self.first.hold(&first, hold)? && self.second.hold(&second, hold)?)
    }

    /// Moves the destinations; what comes back is not theirs.
    fn seek(&mut self, partition: Option<u32>, to: SeekTo) -> Result<Vec<LaneId>> {
        self.first.seek(partition, to)
    }

    fn commit<'a>(&'a mut self, transaction: ConsumerTransaction<'a>) -> BoxFuture<'a, Result<(), CommitError>> {
        async move {
            let (first, second): (Vec<_>, Vec<_>) = transaction.positions.iter().partition(|(lane, _)| lane.0 < SECOND);
            let positions = self.first.positions(&first).and_then(|known| Ok([known, self.second.positions(&second)?]));
            let positions = positions.map_err(CommitError::Aborted)?.into_iter().flatten().collect();
            self.first.commit_at(&transaction, positions).await?;
            self.first.note_committed(&first);
            self.second.note_committed(&second);
            Ok(())
        }
        .boxed()
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        self.first.dead_letters()
    }

    fn default_prefetch(&self) -> u32 {
        self.first.default_prefetch()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        let (first, second) = (Box::new(self.first), Box::new(self.second));
        async move {
            let (first, second) = futures::join!(first.close(), second.close());
            first.and(second)
        }
        .boxed()
    }
}
