//! The receiving half.

use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use binder_core::binder::{
    BatchView, CommitError, Consumer, ConsumerTransaction, DeadLetterSink, LaneId, Received, SeekTo,
};
use binder_core::{Error, ErrorKind, Result};
use bytes::BytesMut;
use futures::Stream;
use futures::future::BoxFuture;
use rdkafka::consumer::{CommitMode, Consumer as _, MessageStream, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientConfig, TopicPartitionList};
use tokio::time::Interval;

use crate::dead_letters::KafkaDeadLetters;
use crate::full::Full;
use crate::held::{Due, Held, Waiting, rest};
use crate::link::{Link, PROBE_PATIENCE, Shared, lock};
use crate::provision::blocking;
use crate::rebalance::{Group, give_up};
use crate::returned::Return;
use crate::seek;
use crate::transaction::KafkaTransactor;
use crate::view::KafkaView;

/// How long a consumer may take to say goodbye.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// How long its last commit may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(7);
const COMMIT_PAUSE: Duration = Duration::from_millis(100);

/// Receives from the topics of one binding.
pub(crate) struct KafkaConsumer {
    pub(crate) client: Client,
    pub(crate) shared: Arc<Shared>,
    pub(crate) topics: Vec<Arc<str>>,
    /// Topics that are read beside these.
    pub(crate) returns: Vec<Return>,
    /// What was received before its time.
    pub(crate) held: Mutex<Vec<Held>>,
    /// Lanes of which core wants nothing more for now.
    pub(crate) full: Full,
    pub(crate) reads_headers: bool,
    pub(crate) reads_embedded: bool,
    pub(crate) commit_count: u64,
    pub(crate) dead_letters: Option<Arc<KafkaDeadLetters>>,
    /// What commits, if the binding is transactional.
    pub(crate) transactor: Option<KafkaTransactor>,
    /// When an idle consumer looks for what nobody sees.
    pub(crate) looks: Mutex<Interval>,
}

/// The client; a thread of its own lets it go, because leaving a group takes a moment.
pub(crate) struct Client(Option<Arc<StreamConsumer<Group>>>);

impl Client {
    pub(crate) fn new(client: StreamConsumer<Group>, link: &Link, config: &ClientConfig) -> Self {
        let client = Arc::new(client);
        client.context().bootstrap.is_of(&client, config, |client| client.client());
        let asked = Arc::downgrade(&client);
        link.probe_with(move || Some(asked.upgrade()?.fetch_metadata(None, PROBE_PATIENCE).is_ok()));
        Self(Some(client))
    }
}

impl Deref for Client {
    type Target = StreamConsumer<Group>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("taken only when dropped or closed")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            client.context().closing.store(true, SeqCst);
            let leave = std::thread::Builder::new().name("kafka-leave".to_owned());
            if let Err(cause) = leave.spawn(move || drop(client)) {
                tracing::warn!("no thread to leave the group in: {cause}");
            }
        }
    }
}

impl KafkaConsumer {
    pub(crate) fn group(&self) -> &Group {
        self.client.context()
    }

    /// What is due before each receive: what was settled is stored in the client, and what a rebalance brought is told.
    fn prepare(&self) -> Result<Option<Received<'static>>> {
        if self.shared.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the binder is closed"));
        }
        self.store_settled();
        let group = self.group();
        if let Some(error) = lock(&group.failed).take() {
            return Err(error);
        }
        let (revoking, seeking) = {
            let lanes = lock(&group.lanes);
            (lanes.is_revoking(), lanes.is_seeking())
        };
        if seeking && let Some(client) = &self.client.0 {
            seek::go_on(client);
        }
        if self.full.is_any() {
            self.forget_full();
        }
        if revoking && self.client.assignment_lost() {
            let list = lock(&group.lanes).lose_revoked();
            give_up(group, &*self.client, &list);
        } else if revoking {
            self.give_up_released();
        }
        Ok(self.news())
    }

    /// Gives partitions back that waited for the end of a seek.
    #[cold]
    fn give_up_released(&self) {
        let given = lock(&self.group().lanes).take_released();
        self.give_up(given);
    }

    fn give_up(&self, given: Option<TopicPartitionList>) {
        if let Some(list) = given {
            // the client commits what is stored before the broker hands the partitions on
            give_up(self.group(), &*self.client, &list);
        }
    }

    fn news(&self) -> Option<Received<'static>> {
        lock(&self.group().lanes).take_news().map(Received::from)
    }

    fn store_settled(&self) {
        let group = self.group();
        let (settled, due) = {
            let mut lanes = lock(&group.lanes);
            (lanes.take_settled(), lanes.commit_is_due(self.commit_count))
        };
        if let Some(settled) = settled
            && let Err(cause) = match group.stores {
                true => self.client.store_offsets(&settled),
                false => self.client.commit(&settled, CommitMode::Async),
            }
        {
            tracing::warn!(link = ?group.link, "what is settled can't be noted: {cause}");
        }
        if due
            && !group.committing.swap(true, SeqCst)
            && let Err(cause) = self.client.commit_consumer_state(CommitMode::Async)
        {
            group.committing.store(false, SeqCst);
            tracing::debug!(link = ?group.link, "no commit by count: {cause}");
        }
    }

    fn drain<'a>(
        &'a self,
        stream: &mut MessageStream<'a, Group>,
        first: Option<BorrowedMessage<'a>>,
        max: usize,
    ) -> Batch<'a> {
        let mut batch = Batch::new(self, max);
        if let Some(message) = first {
            batch.push(message);
        }
        let mut context = Context::from_waker(Waker::noop());
        while batch.messages.len() < max {
            match Pin::new(&mut *stream).poll_next(&mut context) {
                Poll::Ready(Some(Ok(message))) => batch.push(message),
                Poll::Ready(Some(Err(cause))) => self.complain(cause),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        batch.finish();
        batch
    }

    fn view<'a>(&'a self, batch: Batch<'a>) -> Option<Received<'a>> {
        if batch.messages.is_empty() {
            return None;
        }
        self.group().link.worked();
        Some(Received::Batch(Box::new(self.view_of(batch.messages))))
    }

    fn view_of<'a>(&'a self, messages: Vec<(BorrowedMessage<'a>, LaneId)>) -> KafkaView<'a> {
        KafkaView {
            messages,
            topics: &self.topics,
            returns: &self.returns,
            reads_headers: self.reads_headers,
            reads_embedded: self.reads_embedded,
        }
    }

    fn waits(&self) -> bool {
        self.returns.iter().any(|known| known.wait.is_some())
    }

    /// Returns how long records of a topic wait.
    fn wait_of(&self, topic: &str) -> Option<Duration> {
        self.returns.iter().find(|known| known.topic.as_ref() == topic).and_then(|known| known.wait)
    }

    /// Keeps a record whose time has not come, and pauses its partition; gives back one whose time has come.
    #[cold]
    fn hold<'a>(&'a self, message: BorrowedMessage<'a>, lane: LaneId, wait: Duration) -> Option<BorrowedMessage<'a>> {
        let rest = rest(message.timestamp(), wait);
        let mut held = lock(&self.held);
        let known = held.iter_mut().find(|known| known.lane == lane);
        if rest.is_zero() && known.is_none() {
            return Some(message);
        }
        let (topic, partition) = (Arc::from(message.topic()), message.partition());
        let view = self.view_of(vec![(message, lane)]);
        let (parcel, attempt) = (view.detach(0, &mut BytesMut::new()), view.attempt(0));
        let waiting = Waiting { parcel, attempt, due: tokio::time::Instant::now() + rest };
        match known {
            Some(known) => known.waiting.push_back(waiting),
            None => {
                let new = Held { lane, topic, partition, waiting: [waiting].into() };
                let paused = self.client.pause(&new.list());
                self.check("pause", paused);
                held.push(new);
            }
        }
        None
    }

    /// Reads partitions again that were full, unless something else keeps them paused.
    fn go_on(&self, list: &TopicPartitionList) {
        if self.group().paused.load(SeqCst) {
            return;
        }
        let mut wanted = TopicPartitionList::new();
        let (held, full) = (lock(&self.held), self.full.list());
        for element in list.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let waits = held.iter().any(|held| &*held.topic == topic && held.partition == partition);
            if !waits && full.find_partition(topic, partition).is_none() {
                wanted.add_partition(topic, partition);
            }
        }
        drop(held);
        let resumed = self.client.resume(&wanted);
        self.check("resume", resumed);
    }

    /// Forgets full lanes that have ended: their partitions, if they are still here, begin anew.
    #[cold]
    fn forget_full(&self) {
        let ended = {
            let mut lanes = lock(&self.group().lanes);
            self.full.take_ended(|id| lanes.by_id(id).is_none_or(|lane| !lane.is_held()))
        };
        if ended.count() > 0 {
            self.go_on(&ended);
        }
    }

    fn check(&self, what: &str, done: Result<(), KafkaError>) {
        if let Err(cause) = done {
            tracing::debug!(link = ?self.group().link, "could not {what} a partition: {cause}");
        }
    }

    /// Returns when the first record is due that is held.
    fn next_due(&self) -> Option<tokio::time::Instant> {
        if !self.waits() || self.group().paused.load(SeqCst) {
            return None;
        }
        lock(&self.held).iter().filter_map(|held| held.waiting.front()).map(|waiting| waiting.due).min()
    }

    /// Takes the records whose time has come; a partition of which nothing is held is read again.
    fn take_due(&self, max: usize) -> Option<Received<'static>> {
        let due = if self.waits() && max > 0 { self.find_due(max) } else { Vec::new() };
        (!due.is_empty()).then(|| Received::Batch(Box::new(Due(due))))
    }

    #[cold]
    fn find_due(&self, max: usize) -> Vec<Waiting> {
        let mut due = Vec::new();
        let group = self.group();
        if group.paused.load(SeqCst) {
            return due;
        }
        let now = tokio::time::Instant::now();
        lock(&self.held).retain_mut(|held| {
            let is_its = |lane: &&mut crate::lanes::Lane| lane.is_held();
            let mut lanes = lock(&group.lanes);
            if let Some(lane) = lanes.by_id(held.lane).filter(is_its) {
                let is_due = |waiting: &Waiting| waiting.due <= now;
                while due.len() < max && held.waiting.front().is_some_and(is_due) {
                    let Some(waiting) = held.waiting.pop_front() else { break };
                    lane.next = lane.next.max(waiting.parcel.token.sequence.cast_signed() + 1);
                    due.push(waiting);
                }
                if !held.waiting.is_empty() {
                    return true;
                }
            }
            drop(lanes);
            if !self.full.has(held.lane) {
                let resumed = self.client.resume(&held.list());
                self.check("resume", resumed);
            }
            false
        });
        due
    }

    /// Sorts an error: what may pass is logged (and was reported by the link), anything else fails the next receive.
    fn complain(&self, cause: KafkaError) {
        let group = self.group();
        let fatal = matches!(cause, KafkaError::MessageConsumptionFatal(_));
        let denied = matches!(
            cause.rdkafka_error_code(),
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::InvalidGroupId)
        );
        if fatal || denied {
            let waits = cause.rdkafka_error_code() == Some(Code::UnreleasedInstanceId);
            let error = group.link.fail(cause);
            *lock(&group.failed) = Some(if waits { error } else { error.permanent() });
        } else {
            tracing::debug!(link = ?group.link, "receiving: {cause}");
        }
    }

    pub(crate) async fn wait(&self, max: usize) -> Result<Received<'_>> {
        let mut stream = self.client.stream();
        let mut closed = std::pin::pin!(self.shared.wait_closed());
        loop {
            if let Some(news) = self.prepare()? {
                return Ok(news);
            }
            if let Some(due) = self.take_due(max) {
                return Ok(due);
            }
            let due = self.next_due();
            let first = tokio::select! {
                biased;
                () = &mut closed => None,
                () = at(due) => None,
                () = self.group().sought.notified() => None,
                first = self.first(&mut stream) => first,
            };
            if first.is_some()
                && let Some(received) = self.view(self.drain(&mut stream, first, max))
            {
                return Ok(received);
            }
        }
    }

    fn has_something_to_do(&self) -> bool {
        let lanes = lock(&self.group().lanes);
        lanes.has_news() || lanes.has_unstored()
    }

    /// Waits for a message; `None` when there is something else to look at.
    async fn first<'a>(&'a self, stream: &mut MessageStream<'a, Group>) -> Option<BorrowedMessage<'a>> {
        poll_fn(|context| match Pin::new(&mut *stream).poll_next(context) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Some(message)),
            Poll::Ready(Some(Err(cause))) => {
                self.complain(cause);
                Poll::Ready(None)
            }
            // the poll may have run a rebalance
            Poll::Pending => {
                // until the next one is registered
                while lock(&self.looks).poll_tick(context).is_ready() {
                    self.pass_what_nobody_sees();
                }
                if self.has_something_to_do() { Poll::Ready(None) } else { Poll::Pending }
            }
            Poll::Ready(None) => Poll::Pending,
        })
        .await
    }
}

impl Consumer for KafkaConsumer {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        if let Some(news) = self.prepare()? {
            return Ok(Some(news));
        }
        if let Some(due) = self.take_due(max) {
            return Ok(Some(due));
        }
        let batch = self.drain(&mut self.client.stream(), None, max);
        Ok(self.view(batch).or_else(|| self.news()))
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        Box::pin(self.wait(max))
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        let group = self.group();
        if !lock(&group.lanes).settle(lane, sequence) {
            let late = group.late.fetch_add(1, SeqCst) + 1;
            tracing::debug!(link = ?group.link, late, "a settlement came after its partition had gone");
        }
        Ok(())
    }

    fn settle_apart(&mut self, _: LaneId, _: &[u64]) -> Result<bool> {
        Ok(false)
    }

    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.store_settled();
            let given = lock(&self.group().lanes).release(lanes);
            self.give_up(given);
            Ok(())
        })
    }

    fn pause(&mut self) -> Result<()> {
        let group = self.group();
        group.paused.store(true, SeqCst);
        let held = lock(&group.lanes).partitions();
        self.client.pause(&held).map_err(|cause| group.link.fail(cause))
    }

    fn resume(&mut self) -> Result<()> {
        let group = self.group();
        group.paused.store(false, SeqCst);
        let partitions = lock(&group.lanes).partitions();
        self.client.resume(&partitions).map_err(|cause| group.link.fail(cause))?;
        for held in lock(&self.held).iter() {
            let paused = self.client.pause(&held.list());
            self.check("pause", paused);
        }
        let paused = self.client.pause(&self.full.list());
        self.check("pause", paused);
        Ok(())
    }

    fn hold(&mut self, ids: &[LaneId], hold: bool) -> Result<bool> {
        let list = self.full.note(&mut lock(&self.group().lanes), ids, hold);
        if hold {
            let paused = self.client.pause(&list);
            self.check("pause", paused);
        } else {
            self.go_on(&list);
        }
        Ok(true)
    }

    fn seek(&mut self, partition: Option<u32>, to: SeekTo) -> Result<Vec<LaneId>> {
        let group = self.group();
        let ended = lock(&group.lanes).seek(partition, to)?;
        group.generation.fetch_add(1, SeqCst);
        Ok(ended)
    }

    fn commit<'a>(&'a mut self, transaction: ConsumerTransaction<'a>) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async move {
            let positions = self.positions(transaction.positions).map_err(CommitError::Aborted)?;
            self.commit_at(&transaction, positions.into_iter().collect()).await?;
            self.note_committed(transaction.positions);
            Ok(())
        })
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        let sink = Arc::clone(self.dead_letters.as_ref()?);
        Some(sink)
    }

    fn default_prefetch(&self) -> u32 {
        10_000
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            self.store_settled();
            let Some(client) = self.client.0.take() else { return Ok(()) };
            let leaving = tokio::time::timeout(CLOSE_PATIENCE, blocking(move || leave(client)));
            match leaving.await {
                Ok(left) => left?,
                Err(_) => {
                    Err(Error::new(ErrorKind::Timeout, "the group was not left in time; a commit may be missing"))
                }
            }
        })
    }
}

async fn at(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Commits what is settled; a coordinator that is about to move, or to come back, gets some time.
fn commit(client: &StreamConsumer<Group>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let cause = match client.commit_consumer_state(CommitMode::Sync) {
            Ok(()) => return Ok(()),
            Err(cause) => cause,
        };
        // what was lost is nobody's to commit: it comes again, to whoever has it now
        if matches!(cause.rdkafka_error_code(), Some(Code::NoOffset | Code::AssignmentLost)) {
            tracing::debug!(link = ?client.context().link, "nothing to commit: {cause}");
            return Ok(());
        }
        let error = client.context().link.fail(cause);
        if !error.is_retryable() || begun.elapsed() > COMMIT_PATIENCE {
            return Err(error);
        }
        std::thread::sleep(COMMIT_PAUSE);
    }
}

/// Commits and leaves.
fn leave(client: Arc<StreamConsumer<Group>>) -> Result<()> {
    let group = Arc::clone(client.context());
    group.closing.store(true, SeqCst);
    let asked = lock(&group.lanes).asked();
    let sought = seek::find_and_commit(&client, &asked).map_err(|cause| group.link.fail(cause));
    let committed = sought.and_then(|()| commit(&client));
    // a question to the broker may still be under way; the last to hold the client leaves the group, and that is waited for
    let mut held = client;
    while let Err(client) = Arc::try_unwrap(held) {
        held = client;
        std::thread::sleep(Duration::from_millis(10));
    }
    committed
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        if self.client.0.is_some() {
            self.store_settled();
        }
    }
}

impl fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConsumer").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// Messages that are taken together, each with its lane.
struct Batch<'a> {
    owner: &'a KafkaConsumer,
    group: &'a Group,
    messages: Vec<(BorrowedMessage<'a>, LaneId)>,
    run: Run,
}

/// Consecutive messages of one partition: the lane is looked up once for them.
#[derive(Default)]
struct Run {
    topic: usize,
    partition: i32,
    generation: u64,
    lane: Option<LaneId>,
    next: i64,
    /// How long the partition's records wait.
    wait: Option<Duration>,
}

impl<'a> Batch<'a> {
    fn new(owner: &'a KafkaConsumer, max: usize) -> Self {
        Self { owner, group: owner.group(), messages: Vec::with_capacity(max.min(64)), run: Run::default() }
    }

    /// Takes a message, unless its partition is gone. A partition that goes back has begun anew and gets another lane.
    fn push(&mut self, message: BorrowedMessage<'a>) {
        let generation = self.group.generation.load(SeqCst);
        let (topic, partition) = (message.topic_ptr() as usize, message.partition());
        let run = &self.run;
        if run.topic != topic || run.partition != partition || run.generation != generation {
            self.finish();
            let (lane, next) = self.look_up(&message);
            let wait = if self.owner.waits() { self.owner.wait_of(message.topic()) } else { None };
            self.run = Run { topic, partition, generation, lane, next, wait };
        }
        if message.offset() < self.run.next {
            self.finish();
            lock(&self.group.lanes).reopen(message.topic(), partition);
            (self.run.lane, self.run.next) = self.look_up(&message);
        }
        if let Some(lane) = self.run.lane {
            let message = match self.run.wait {
                None => message,
                Some(wait) => match self.owner.hold(message, lane, wait) {
                    Some(message) => message,
                    None => return,
                },
            };
            self.run.next = message.offset() + 1;
            self.messages.push((message, lane));
        }
    }

    fn look_up(&self, message: &BorrowedMessage<'_>) -> (Option<LaneId>, i64) {
        let mut lanes = lock(&self.group.lanes);
        let lane = lanes.by_partition(message.topic(), message.partition()).filter(|lane| lane.is_held());
        lane.map_or((None, 0), |lane| (Some(lane.id), lane.begin(message.offset())))
    }

    fn finish(&mut self) {
        if let Some(lane) = self.run.lane.take()
            && let Some(lane) = lock(&self.group.lanes).by_id(lane)
        {
            lane.next = lane.next.max(self.run.next);
        }
    }
}
