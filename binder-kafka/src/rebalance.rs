//! Partitions as they are assigned and taken away.
//!
//! The client tells of a rebalance inside a poll. An assignment is taken at once, by a transactional input without the partitions of which nobody
//! knows yet where they begin (see `seek`). A revoke is only noted: the consumer goes on polling, the running deliveries end, and `release`
//! says when the partitions may be given up. Until then the client itself keeps all partitions of this member paused. See
//! `docs/adr/0010-kafka-revoke-is-deferred.md`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use binder_core::Error;
use binder_core::binder::SeekTo;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use crate::bootstrap::Bootstrap;
use crate::lanes::Lanes;
use crate::link::{Link, lock};

/// Where the client of an input reports.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) link: Link,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) lanes: Mutex<Lanes>,
    /// Grows with each rebalance: a lane that was looked up before may be no more.
    pub(crate) generation: AtomicU64,
    pub(crate) paused: AtomicBool,
    pub(crate) closing: AtomicBool,
    /// Whether the client commits what is stored; a transaction does it otherwise.
    pub(crate) stores: bool,
    /// Where partitions begin of which the group has settled nothing.
    pub(crate) start: SeekTo,
    pub(crate) committing: AtomicBool,
    /// What the next receive fails with.
    pub(crate) failed: Mutex<Option<Error>>,
    /// Wakes the consumer when a seek can go on.
    pub(crate) sought: Notify,
    /// Since when nobody says where the group stands.
    pub(crate) undecided: Mutex<Option<Instant>>,
    /// Settlements of lanes that are no more.
    pub(crate) late: AtomicU64,
}

impl Group {
    pub(crate) fn new(link: Link, stores: bool, start: SeekTo) -> Self {
        Self {
            link,
            bootstrap: Bootstrap::new(),
            stores,
            start,
            lanes: Mutex::default(),
            generation: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            committing: AtomicBool::new(false),
            failed: Mutex::default(),
            sought: Notify::new(),
            undecided: Mutex::default(),
            late: AtomicU64::new(0),
        }
    }

    fn assign(&self, client: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let begins = {
            let mut lanes = lock(&self.lanes);
            lanes.starts(list);
            if self.stores { list.clone() } else { lanes.park(list) }
        };
        self.check("assign", add(client, &begins));
        let mut lanes = lock(&self.lanes);
        lanes.add(list);
        if lanes.is_seeking() {
            self.sought.notify_one();
        }
        drop(lanes);
        self.begin(client, &begins);
        self.link.heard(Duration::ZERO);
        self.link.up();
    }

    /// Has partitions that are assigned be read, or not if the input is paused: the client remembers a pause of an earlier assignment.
    pub(crate) fn begin<C: Consumer<Self>>(&self, client: &C, list: &TopicPartitionList) {
        let paused = self.paused.load(SeqCst);
        self.check("pause", if paused { client.pause(list) } else { client.resume(list) });
    }

    fn revoke(&self, client: &BaseConsumer<Self>, list: &TopicPartitionList) {
        if client.assignment_lost() || self.closing.load(SeqCst) {
            lock(&self.lanes).lose(list);
            give_up(self, client, list);
        } else {
            lock(&self.lanes).revoke(list);
        }
    }

    fn check(&self, what: &str, done: KafkaResult<()>) {
        if let Err(cause) = done {
            tracing::warn!(link = ?self.link, "could not {what} partitions: {cause}");
        }
    }
}

/// Has the client read partitions; all that it is to read, if its protocol is eager.
pub(crate) fn add<C: Consumer<Group>>(client: &C, list: &TopicPartitionList) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_assign(list),
        _ => client.assign(list),
    }
}

/// Gives partitions back to the broker; what was stored for them is committed first, by the client.
pub(crate) fn give_up<C: Consumer<Group>>(group: &Group, client: &C, list: &TopicPartitionList) {
    let read = lock(&group.lanes).unpark(list);
    let done = match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_unassign(&read),
        _ => client.unassign(),
    };
    group.generation.fetch_add(1, SeqCst);
    group.check("unassign", done);
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.link.on_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.on_error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.link.on_statistics(statistics);
        self.bootstrap.look(statistics);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.generation.fetch_add(1, SeqCst);
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(client, list),
            _ => self.revoke(client, list),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.committing.store(false, SeqCst);
        match result {
            Ok(()) => {
                self.link.heard(Duration::ZERO);
                let mut lanes = lock(&self.lanes);
                lanes.starts.retain(|(topic, partition, _)| {
                    !matches!(offsets.find_partition(topic, *partition).map(|e| e.offset()), Some(Offset::Offset(_)))
                });
            }
            Err(cause) if cause.rdkafka_error_code() == Some(Code::NoOffset) => {}
            Err(cause) => tracing::warn!(link = ?self.link, "offsets are not committed yet: {cause}"),
        }
    }
}
