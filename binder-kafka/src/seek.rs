//! Moving a group to other offsets.
//!
//! A seek ends its lanes at once and opens new ones, of which nothing is delivered yet. A thread finds the offsets and commits them: the
//! position outlives the process before anything is delivered from it. Then the task that owns the consumer moves the client between two
//! polls, so that nothing the client had fetched before gets through.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use binder_core::binder::{LaneId, SeekTo};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use crate::link::lock;
use crate::rebalance::Group;

/// How long the broker has for each question, in which it is asked once more after the pause.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// How long the client has to move; it asks nobody.
const MOVE_PATIENCE: Duration = Duration::from_secs(5);

/// A lane that is to begin elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    pub(crate) lane: LaneId,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) to: SeekTo,
}

/// Moves the client to what was found, and has the rest found. Called between two polls, by the task that owns the consumer.
#[cold]
pub(crate) fn go_on(client: &Arc<StreamConsumer<Group>>) {
    let group = client.context();
    let found = lock(&group.lanes).found();
    if found.count() > 0 {
        let moved = client.seek_partitions(found, MOVE_PATIENCE);
        if !settle_moved(group, moved) {
            again_later(client);
        }
    }
    if lock(&group.lanes).begin_search() {
        let (client, seeker) = (Arc::downgrade(client), std::thread::Builder::new().name("kafka-seek".to_owned()));
        if let Err(cause) = seeker.spawn(move || search(&client)) {
            tracing::error!(link = ?group.link, "no thread to seek in: {cause}");
            lock(&group.lanes).end_search();
        }
    }
}

/// Notes which lanes deliver from now on; false if one could not be moved yet, as one that was assigned only just now.
fn settle_moved(group: &Group, moved: KafkaResult<TopicPartitionList>) -> bool {
    let list = match moved {
        Ok(list) => list,
        Err(cause) => {
            tracing::warn!(link = ?group.link, "the client could not seek yet: {cause}");
            return false;
        }
    };
    let mut lanes = lock(&group.lanes);
    let mut complete = true;
    for element in list.elements() {
        match element.error() {
            Ok(()) => lanes.moved(element.topic(), element.partition(), element.offset()),
            Err(cause) => {
                tracing::debug!(link = ?group.link, "a partition can't be moved yet: {cause}");
                complete = false;
            }
        }
    }
    complete
}

fn again_later(client: &Arc<StreamConsumer<Group>>) {
    let client = Arc::downgrade(client);
    tokio::spawn(async move {
        tokio::time::sleep(PAUSE).await;
        if let Some(client) = client.upgrade() {
            client.context().sought.notify_one();
        }
    });
}

/// Finds and commits until nothing is left to be found.
fn search(client: &Weak<StreamConsumer<Group>>) {
    while let Some(client) = client.upgrade() {
        let group = client.context();
        let asked = lock(&group.lanes).asked_or_end_search();
        if asked.is_empty() || group.closing.load(SeqCst) {
            lock(&group.lanes).end_search();
            return;
        }
        match find_and_commit(&client, &asked) {
            Ok(()) => group.sought.notify_one(),
            Err(cause) => {
                // a partition may wait for this to be given back
                group.sought.notify_one();
                tracing::warn!(link = ?group.link, "the position to seek to is not committed yet: {cause}");
                drop(client);
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Turns positions into offsets and commits them. Blocks.
pub(crate) fn find_and_commit(client: &StreamConsumer<Group>, asked: &[Sought]) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    for sought in asked {
        let offset = Offset::Offset(find(client, sought)?);
        list.add_partition_offset(&sought.topic, sought.partition, offset)?;
    }
    let group = client.context();
    // a partition that is gone, or about to go, is no longer ours to commit
    let list = lock(&group.lanes).begin_move(asked, &list);
    if list.count() == 0 {
        return Ok(());
    }
    let committed = commit(client, &list);
    let mut lanes = lock(&group.lanes);
    if committed.is_ok() {
        lanes.note_found(asked, &list);
    }
    lanes.end_move();
    committed
}

fn commit(client: &StreamConsumer<Group>, list: &TopicPartitionList) -> KafkaResult<()> {
    if client.context().stores {
        // what was stored before would be committed again by the client's timer
        client.store_offsets(list)?;
    }
    client.commit(list, CommitMode::Sync)
}

fn find(client: &StreamConsumer<Group>, sought: &Sought) -> KafkaResult<i64> {
    let (topic, partition) = (sought.topic.as_ref(), sought.partition);
    let (first, end) = client.fetch_watermarks(topic, partition, PATIENCE)?;
    Ok(match sought.to {
        SeekTo::Beginning => first,
        SeekTo::End => end,
        SeekTo::Offset(offset) => i64::try_from(offset).unwrap_or(i64::MAX).clamp(first, end.max(first)),
        SeekTo::Timestamp(time) => {
            let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().div_ceil(1_000_000));
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX)))?;
            let found = client.offsets_for_times(list, PATIENCE)?;
            match found.find_partition(topic, partition).map(|element| (element.error(), element.offset())) {
                Some((Ok(()), Offset::Offset(offset))) => offset,
                Some((Err(cause), _)) => return Err(cause),
                _ => end,
            }
        }
        other => return Err(KafkaError::Seek(format!("unknown position {other:?}"))),
    })
}
