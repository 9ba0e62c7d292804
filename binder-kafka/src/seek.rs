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
use rdkafka::consumer::{CommitMode, Consumer as _, RebalanceProtocol, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use crate::link::lock;
use crate::rebalance::{self, Group};

/// How long the broker has for each question, in which it is asked once more after the pause.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// How long the broker has to say where the group stands. It does not while a transaction is open that moves it, and a close waits for the question.
const STANDING_PATIENCE: Duration = Duration::from_secs(1);

/// After this long somebody should look: unless `transaction.timeout.ms` is longer, a transaction that was left open has ended by then.
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
    // an eager client takes assignments whole
    let whole = !matches!(client.rebalance_protocol(), RebalanceProtocol::Cooperative);
    let (moves, begins) = lock(&group.lanes).found(whole);
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
    let mut told = false;
    while let Some(client) = client.upgrade() {
        let group = client.context();
        let asked = lock(&group.lanes).asked_or_end_search();
        if asked.is_empty() {
            return group.link.waits(None);
        }
        if group.closing.load(SeqCst) {
            return lock(&group.lanes).end_search();
        }
        let found = find_all(&client, &asked);
        // a partition may wait for this to be given back
        group.sought.notify_one();
        if let Err(cause) = found {
            if !std::mem::replace(&mut told, true) {
                let link = &group.link;
                tracing::warn!(?link, "where partitions begin is not known yet, it is asked again: {cause}");
            }
            drop(client);
            std::thread::sleep(PAUSE);
        }
    }
}

/// Finds what can be found; the error is of the rest.
fn find_all(client: &StreamConsumer<Group>, asked: &[Sought]) -> KafkaResult<()> {
    let (standing, sought): (Vec<_>, Vec<_>) =
        asked.iter().cloned().partition(|sought| sought.begin == Begin::Committed);
    let found = find_standing(client, &standing);
    tell_undecided(client.context(), found.is_err());
    find_and_commit(client, &sought).and(found)
}

/// One partition must not hold up the others, so they are asked for one by one if nobody answers for all.
fn find_standing(client: &StreamConsumer<Group>, asked: &[Sought]) -> KafkaResult<()> {
    let together = find_committed(client, asked);
    if together.is_ok() || asked.len() < 2 {
        return together;
    }
    let closing = || client.context().closing.load(SeqCst);
    let mut all = Ok(());
    for one in asked.chunks(1).take_while(|_| !closing()) {
        // the others are asked for all the same
        all = all.and(find_committed(client, one));
    }
    all
}

/// Has the health of the input say that nobody says where the group stands, if that is so for long.
fn tell_undecided(group: &Group, undecided: bool) {
    let mut since = lock(&group.undecided);
    if !undecided {
        *since = None;
        return group.link.waits(None);
    }
    let long = since.get_or_insert_with(Instant::now).elapsed() > UNDECIDED_AFTER;
    if long && !group.link.is_down() {
        group.link.waits(Some(UNDECIDED));
    }
}

/// Turns positions that somebody seeks into offsets and commits them. Blocks.
pub(crate) fn find_and_commit(client: &StreamConsumer<Group>, asked: &[Sought]) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    for sought in asked {
        if let Begin::At(to) = sought.begin {
            let offset = Offset::Offset(find(client, &sought.topic, sought.partition, to, PATIENCE)?);
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

/// Finds where the group stands; where it has settled nothing, the property `start` decides. What is found is noted, the error is of the rest.
fn find_committed(client: &StreamConsumer<Group>, asked: &[Sought]) -> KafkaResult<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::new();
    for sought in asked {
        list.add_partition(&sought.topic, sought.partition);
    }
    // while a transaction is open that moves an offset, nobody answers
    let standing = client.committed_offsets(list, STANDING_PATIENCE)?;
    let (group, mut all) = (client.context(), Ok(()));
    for element in standing.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let offset = element.error().and_then(|()| match element.offset() {
            Offset::Offset(offset) => Ok(offset),
            _ if group.closing.load(SeqCst) => Err(KafkaError::Canceled),
            _ => find(client, topic, partition, group.start, STANDING_PATIENCE),
        });
        match offset {
            Ok(offset) => {
                let mut found = TopicPartitionList::new();
                found.add_partition_offset(topic, partition, Offset::Offset(offset))?;
                lock(&group.lanes).note_found(asked, &found);
            }
            Err(cause) => all = Err(cause),
        }
    }
    all
}

fn find(
    client: &StreamConsumer<Group>,
    topic: &str,
    partition: i32,
    to: SeekTo,
    patience: Duration,
) -> KafkaResult<i64> {
    let (first, end) = client.fetch_watermarks(topic, partition, patience)?;
    Ok(match to {
        SeekTo::Beginning => first,
        SeekTo::End => end,
        SeekTo::Offset(offset) => i64::try_from(offset).unwrap_or(i64::MAX).clamp(first, end.max(first)),
        SeekTo::Timestamp(time) => {
            let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().div_ceil(1_000_000));
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX)))?;
            let found = client.offsets_for_times(list, patience)?;
            match found.find_partition(topic, partition).map(|element| (element.error(), element.offset())) {
                Some((Ok(()), Offset::Offset(offset))) => offset,
                Some((Err(cause), _)) => return Err(cause),
                _ => end,
            }
        }
        other => return Err(KafkaError::Seek(format!("unknown position {other:?}"))),
    })
}
