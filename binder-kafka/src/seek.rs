//! Where lanes begin that do not begin where the client would: a seek moves them, and a transactional input asks itself where its group stands.
//!
//! A seek ends its lanes at once and opens new ones, of which nothing is delivered yet. A thread finds the offsets and commits them: the
//! position outlives the process before anything is delivered from it. Then the task that owns the consumer moves the client between two
//! polls, so that nothing the client had fetched before gets through.
//!
//! With each assignment a transactional input finds by the same thread where its group stands, before the client has the partition: see
//! `docs/adr/0024-a-transactional-input-finds-its-position.md`.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use binder_core::binder::{LaneId, SeekTo};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use crate::link::lock;
use crate::rebalance::{self, Group};

/// How long the broker has for each question, in which it is asked once more after the pause.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// How long the broker has to say where the group stands. It does not while a transaction is open that moves it, and a close waits for the question.
const STANDING_PATIENCE: Duration = Duration::from_secs(1);

/// After this long somebody should look: a transaction that is left open has ended by then.
const UNDECIDED_AFTER: Duration = Duration::from_secs(30);
const UNDECIDED: &str = "the broker does not say where the group stands; does a transaction hang that moves it (`kafka-transactions.sh find-hanging`)?";

/// How long the client has to move; it asks nobody.
const MOVE_PATIENCE: Duration = Duration::from_secs(5);

/// Where a lane begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Where somebody seeks to.
    At(SeekTo),
    /// Where the group stands.
    Committed,
}

/// A lane of which is to be found where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    pub(crate) lane: LaneId,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) begin: Begin,
}

/// Moves the client to what was found, and has the rest found. Called between two polls, by the task that owns the consumer.
#[cold]
pub(crate) fn go_on(client: &Arc<StreamConsumer<Group>>) {
    let group = client.context();
    let (moves, begins) = lock(&group.lanes).found();
    if begins.count() > 0 && !client.assignment_lost() {
        begin(client, &begins);
    }
    if moves.count() > 0 {
        let moved = client.seek_partitions(moves, MOVE_PATIENCE);
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

/// Has the client read partitions from where they begin.
fn begin(client: &Arc<StreamConsumer<Group>>, list: &TopicPartitionList) {
    let group = client.context();
    if let Err(cause) = rebalance::add(&**client, list) {
        tracing::warn!(link = ?group.link, "the client could not begin yet: {cause}");
        return again_later(client);
    }
    let mut lanes = lock(&group.lanes);
    lanes.unpark(list);
    list.elements().iter().for_each(|element| lanes.moved(element.topic(), element.partition(), element.offset()));
    drop(lanes);
    group.begin(&**client, list);
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
    let (begun, mut told) = (Instant::now(), 0);
    while let Some(client) = client.upgrade() {
        let group = client.context();
        let asked = lock(&group.lanes).asked_or_end_search();
        if asked.is_empty() || group.closing.load(SeqCst) {
            lock(&group.lanes).end_search();
            if told > 1 {
                group.link.up();
            }
            return;
        }
        match find_all(&client, &asked) {
            Ok(()) => {
                if told > 1 {
                    group.link.up();
                }
                told = 0;
                group.sought.notify_one();
            }
            Err(cause) => {
                // a partition may wait for this to be given back
                group.sought.notify_one();
                let link = &group.link;
                if told == 0 {
                    told = 1;
                    tracing::warn!(?link, "where partitions begin is not known yet, it is asked again: {cause}");
                } else if told == 1 && begun.elapsed() > UNDECIDED_AFTER {
                    told = 2;
                    link.waits(UNDECIDED.to_owned());
                    tracing::error!(?link, "{UNDECIDED}: {cause}");
                }
                drop(client);
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Turns positions into offsets, and commits those that somebody seeks. Blocks.
fn find_all(client: &StreamConsumer<Group>, asked: &[Sought]) -> KafkaResult<()> {
    let standing = find_committed(client, asked)?;
    lock(&client.context().lanes).note_found(asked, &standing);
    find_and_commit(client, asked)
}

/// Turns positions that somebody seeks into offsets and commits them. Blocks.
pub(crate) fn find_and_commit(client: &StreamConsumer<Group>, asked: &[Sought]) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    for sought in asked {
        if let Begin::At(to) = sought.begin {
            let offset = Offset::Offset(find(client, &sought.topic, sought.partition, to)?);
            list.add_partition_offset(&sought.topic, sought.partition, offset)?;
        }
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

/// Finds where the group stands; where it has settled nothing, the property `start` decides.
fn find_committed(client: &StreamConsumer<Group>, asked: &[Sought]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for sought in asked.iter().filter(|sought| sought.begin == Begin::Committed) {
        list.add_partition(&sought.topic, sought.partition);
    }
    if list.count() == 0 {
        return Ok(list);
    }
    let mut found = TopicPartitionList::new();
    // while a transaction is open that moves an offset, the answer is that it is not known
    let standing = client.committed_offsets(list, STANDING_PATIENCE)?;
    for element in standing.elements() {
        element.error()?;
        let (topic, partition) = (element.topic(), element.partition());
        let offset = match element.offset() {
            known @ Offset::Offset(_) => known,
            _ => Offset::Offset(find(client, topic, partition, client.context().start)?),
        };
        found.add_partition_offset(topic, partition, offset)?;
    }
    Ok(found)
}

fn find(client: &StreamConsumer<Group>, topic: &str, partition: i32, to: SeekTo) -> KafkaResult<i64> {
    let (first, end) = client.fetch_watermarks(topic, partition, PATIENCE)?;
    Ok(match to {
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
