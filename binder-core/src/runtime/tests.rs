//! The receive loop against a scripted consumer: what is settled, when, and what is told to the binder.

mod batches;
mod breaking;
mod committing;
mod holding;
mod properties;
mod searching;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::aside::Exhausted;
use super::assigned::Assigned;
use super::delayed::Delayed;
use super::hooks::HookSet;
use super::keys::KeyPlace;
use super::retry::RetryPolicy;
use super::runner::Runner;
use super::state::{BindingState, Command, StateCell};
use super::work::{Settings, Work};
use crate::binder::{
    BatchView, CommitError, Consumer, ConsumerBinding, ConsumerTransaction, DeadLetter, DeadLetterSink, DelaySink,
    LaneId, Metadata, Parcel, Received, Status, Token,
};
use crate::config::{Backoff, BreakerProperties, ConsumerProperties, Ordering, RetryMode};
use crate::handler::{DeliveryRef, HandlerError, Verdict};
use crate::message::{ContentType, HeaderValue, Headers};
use crate::{Error, ErrorKind, Result};

#[derive(Debug)]
enum Step {
    Batch(Vec<Parcel>),
    Revoked(Vec<LaneId>),
    Lost(Vec<LaneId>),
}

impl Step {
    fn len(&self) -> usize {
        if let Self::Batch(parcels) = self { parcels.len() } else { 0 }
    }
}

/// What the runner told the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Settle(u32, u64),
    Apart(u32, Vec<u64>),
    Release(Vec<u32>),
    Commit(Vec<(u32, u64)>),
    Hold(Vec<u32>),
    GoOn(Vec<u32>),
    Pause,
    Resume,
    Close,
}

#[derive(Debug, Default)]
struct Shared {
    steps: Mutex<VecDeque<Step>>,
    told: Mutex<Vec<Told>>,
    arrived: Notify,
    changed: Notify,
    settles_apart: AtomicBool,
    holds: AtomicBool,
}

impl Shared {
    fn tell(&self, told: Told) {
        self.told.lock().expect("no panic").push(told);
        self.changed.notify_one();
    }

    fn push(&self, step: Step) {
        self.steps.lock().expect("no panic").push_back(step);
        self.arrived.notify_one();
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().expect("no panic").clone()
    }

    async fn until(&self, wanted: Told) {
        let waited = tokio::time::timeout(Duration::from_secs(3600), async {
            while !self.told().contains(&wanted) {
                self.changed.notified().await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never told {wanted:?}, but {:?}", self.told()));
    }
}

/// Hands out steps in order; batches wait while it is paused.
#[derive(Debug)]
struct Scripted {
    shared: Arc<Shared>,
    paused: bool,
    held: Vec<LaneId>,
}

impl Scripted {
    /// Returns which step comes next, if any may.
    fn next(&self, steps: &VecDeque<Step>) -> Option<usize> {
        steps.iter().position(|step| match step {
            Step::Batch(parcels) => !self.paused && !self.held.contains(&parcels[0].token.lane),
            _ => true,
        })
    }
}

struct View(Vec<Parcel>);

impl BatchView for View {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.0[index].payload.as_deref()
    }
    fn key(&self, index: usize) -> Option<&[u8]> {
        self.0[index].key.as_deref()
    }
    fn token(&self, index: usize) -> Token {
        self.0[index].token
    }
    fn content_type(&self, _: usize) -> Option<ContentType> {
        None
    }
    fn header(&self, _: usize, _: &str) -> Option<HeaderValue> {
        None
    }
    fn headers(&self, _: usize) -> Headers {
        Headers::new()
    }
    fn metadata(&self, index: usize) -> Metadata {
        self.0[index].metadata.clone()
    }
    fn detach(&self, index: usize, _: &mut BytesMut) -> Parcel {
        self.0[index].clone()
    }
}

impl Consumer for Scripted {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        let mut steps = self.shared.steps.lock().expect("no panic");
        Ok(match self.next(&steps).and_then(|place| steps.remove(place)) {
            None => None,
            Some(Step::Revoked(lanes)) => Some(Received::Revoked(lanes)),
            Some(Step::Lost(lanes)) => Some(Received::Lost(lanes)),
            Some(Step::Batch(mut parcels)) => {
                let rest = parcels.split_off(parcels.len().min(max));
                if !rest.is_empty() {
                    steps.push_front(Step::Batch(rest));
                }
                Some(Received::Batch(Box::new(View(parcels))))
            }
        })
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        let shared = Arc::clone(&self.shared);
        async move {
            while self.next(&shared.steps.lock().expect("no panic")).is_none() {
                shared.arrived.notified().await;
            }
            self.try_recv_many(max).map(|received| received.expect("it is there"))
        }
        .boxed()
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        self.shared.tell(Told::Settle(lane.0, sequence));
        Ok(())
    }

    fn settle_apart(&mut self, lane: LaneId, sequences: &[u64]) -> Result<bool> {
        self.shared.tell(Told::Apart(lane.0, sequences.to_vec()));
        Ok(self.shared.settles_apart.load(SeqCst))
    }

    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        self.shared.tell(Told::Release(lanes.iter().map(|lane| lane.0).collect()));
        async { Ok(()) }.boxed()
    }

    fn pause(&mut self) -> Result<()> {
        self.paused = true;
        self.shared.tell(Told::Pause);
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        self.paused = false;
        self.shared.tell(Told::Resume);
        Ok(())
    }

    /// The first never comes back.
    fn commit<'a>(&'a mut self, transaction: ConsumerTransaction<'a>) -> BoxFuture<'a, Result<(), CommitError>> {
        let again = self.shared.told().iter().any(|told| matches!(told, Told::Commit(_)));
        self.shared.tell(Told::Commit(transaction.positions.iter().map(|(lane, last)| (lane.0, *last)).collect()));
        if again { async { Ok(()) }.boxed() } else { std::future::pending().boxed() }
    }

    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        let ids = lanes.iter().map(|lane| lane.0).collect();
        self.shared.tell(if hold { Told::Hold(ids) } else { Told::GoOn(ids) });
        self.held.retain(|lane| !lanes.contains(lane));
        let holds = self.shared.holds.load(SeqCst);
        if hold && holds {
            self.held.extend(lanes);
        }
        Ok(holds)
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        None
    }

    fn default_prefetch(&self) -> u32 {
        100
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.shared.tell(Told::Close);
        async { Ok(()) }.boxed()
    }
}

/// Takes dead letters after refusing some.
#[derive(Debug, Default)]
struct Graveyard {
    refuse: Mutex<u32>,
    letters: Mutex<Vec<(String, u32)>>,
}

#[async_trait]
impl DeadLetterSink for Graveyard {
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()> {
        let mut refuse = self.refuse.lock().expect("no panic");
        if *refuse > 0 {
            *refuse -= 1;
            return Err(Error::new(ErrorKind::Refused, "full"));
        }
        self.letters.lock().expect("no panic").push((text(letter.delivery), letter.attempts));
        Ok(())
    }
}

fn text(parcel: &Parcel) -> String {
    String::from_utf8_lossy(parcel.payload.as_deref().unwrap_or_default()).into_owned()
}

/// A delivery of lane 1 whose payload says what the handler does with it.
fn parcel(sequence: u64, key: &str, payload: &str) -> Parcel {
    Parcel {
        payload: Some(Bytes::copy_from_slice(payload.as_bytes())),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        token: Token { lane: LaneId(1), sequence },
        content_type: None,
        headers: Headers::new(),
        metadata: Metadata::new("test"),
    }
}

/// A running runner, and what it is told and tells.
struct Bench {
    shared: Arc<Shared>,
    control: watch::Sender<Command>,
    state: StateCell,
    calls: mpsc::UnboundedReceiver<(String, u32)>,
    open: Arc<Notify>,
    graves: Arc<Graveyard>,
    task: tokio::task::JoinHandle<Result<()>>,
}

fn settings() -> Settings {
    Settings {
        channel: "test".into(),
        retry: RetryPolicy::new(&ConsumerProperties::default().backoff(Backoff::default().jitter(0.0))),
        handler_timeout: Some(Duration::from_secs(300)),
        hands_out: false,
        breaker: BreakerProperties::default(),
        ordering: Ordering::Partition,
        concurrency: 1,
        prefetch: 100,
        key: KeyPlace::Record,
        delayed: None,
    }
}

/// The handler does what the payload says: `ok`, `fail`, `permanent`, `wait` until the gate opens, `sleep` for a minute.
async fn obey(payload: String, open: Arc<Notify>) -> Verdict {
    let failure = || std::io::Error::other("told to fail");
    match payload.split(' ').next() {
        Some("fail") => Err(failure().into()),
        Some("permanent") => Err(HandlerError::permanent(failure())),
        Some("sleep") => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        }
        Some("wait") => {
            open.notified().await;
            Ok(())
        }
        _ => Ok(()),
    }
}

impl Bench {
    fn start(settings: Settings, parcels: Vec<Parcel>) -> Self {
        let shared = Arc::new(Shared::default());
        shared.push(Step::Batch(parcels));
        let (control, receiver) = watch::channel(Command::Run);
        let state = StateCell::new("test".into(), Status::new(), HookSet::default());
        state.set(BindingState::Running);
        let (sender, calls) = mpsc::unbounded_channel();
        let open = Arc::new(Notify::new());
        let gate = Arc::clone(&open);
        let invoke = move |delivery: &DeliveryRef<'_>| {
            let payload = String::from_utf8_lossy(delivery.payload().unwrap_or_default()).into_owned();
            sender.send((payload.clone(), delivery.attempt())).expect("somebody listens");
            Ok(obey(payload, Arc::clone(&gate)))
        };
        let graves = Arc::new(Graveyard::default());
        let exhausted = Exhausted::DeadLetter(Arc::clone(&graves) as Arc<dyn DeadLetterSink>);
        let work = Work::new(settings, invoke, exhausted, state.clone());
        let consumer = Box::new(Scripted { shared: Arc::clone(&shared), paused: false, held: Vec::new() });
        let assigned = Assigned::new("test".into(), state.clone());
        let runner = Runner::new(consumer, work, receiver, state.clone(), Arc::default(), assigned);
        let task = tokio::spawn(runner.run());
        Self { shared, control, state, calls, open, graves, task }
    }

    async fn call(&mut self) -> (String, u32) {
        let call = tokio::time::timeout(Duration::from_secs(3600), self.calls.recv());
        call.await.expect("a call in time").expect("the runner runs")
    }

    async fn calls<const N: usize>(&mut self) -> [(String, u32); N] {
        let mut calls = Vec::new();
        for _ in 0..N {
            calls.push(self.call().await);
        }
        calls.try_into().expect("as many as asked for")
    }

    fn no_call(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    async fn stop(self, patience: Duration) -> Vec<Told> {
        self.control.send_replace(Command::Stop(patience));
        self.task.await.expect("no panic").expect("a clean end");
        self.shared.told()
    }
}

fn settled(told: &[Told]) -> Option<u64> {
    told.iter().filter_map(|told| if let Told::Settle(_, sequence) = told { Some(*sequence) } else { None }).max()
}

/// Lets every other task run until nothing is left to do, on a paused clock.
async fn quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_succeeds_is_settled_once() {
    let bench = Bench::start(settings(), (1..=5).map(|n| parcel(n, "k", "ok")).collect());
    bench.shared.until(Told::Settle(1, 5)).await;
    assert_eq!(bench.shared.told(), [Told::Settle(1, 5)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_settled_before_its_handler_is_done() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "ok"), parcel(2, "k", "wait"), parcel(3, "k", "ok")]);
    bench.calls::<2>().await;
    quiet().await;
    assert_eq!(bench.shared.told(), [Told::Settle(1, 1)]);
    assert!(bench.no_call(), "the order of the partition is kept");
    bench.open.notify_one();
    bench.shared.until(Told::Settle(1, 3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_message_is_tried_as_often_as_said_and_then_moved_aside() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "fail"), parcel(2, "k", "ok")]);
    let start = Instant::now();
    let calls = bench.calls::<4>().await;
    let attempts = calls.iter().map(|(payload, attempt)| (payload.as_str(), *attempt)).collect::<Vec<_>>();
    assert_eq!(attempts, [("fail", 1), ("fail", 2), ("fail", 3), ("ok", 1)]);
    assert_eq!(start.elapsed().as_secs(), 3, "1 s and 2 s of backoff");
    bench.shared.until(Told::Settle(1, 2)).await;
    assert_eq!(*bench.graves.letters.lock().expect("no panic"), [("fail".to_owned(), 3)]);
}

/// Keeps what is handed over; refuses as often as it is told to.
#[derive(Debug, Default)]
struct WaitingRoom {
    refuse: Mutex<u32>,
    taken: Mutex<Vec<(String, u32, Duration)>>,
}

#[async_trait]
impl DelaySink for WaitingRoom {
    async fn send(&self, delivery: &Parcel, attempt: u32, wait: Duration) -> Result<()> {
        let mut refuse = self.refuse.lock().expect("no panic");
        if *refuse > 0 {
            *refuse -= 1;
            return Err(Error::new(ErrorKind::Refused, "full"));
        }
        self.taken.lock().expect("no panic").push((text(delivery), attempt, wait));
        Ok(())
    }
}

fn delayed(room: &Arc<WaitingRoom>) -> Settings {
    let mut binding = ConsumerBinding::new("test");
    binding.properties = ConsumerProperties::default().retry(RetryMode::Delayed).ordering(Ordering::None);
    let sink: Arc<dyn DelaySink> = Arc::clone(room) as Arc<dyn DelaySink>;
    Settings { ordering: Ordering::None, delayed: Some(Delayed::new(sink, &binding)), ..settings() }
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_hand_over_keeps_its_delivery_unsettled() {
    let room = Arc::new(WaitingRoom { refuse: Mutex::new(3), ..WaitingRoom::default() });
    let mut bench = Bench::start(delayed(&room), vec![parcel(1, "k", "fail"), parcel(2, "k", "ok")]);
    bench.calls::<2>().await;
    quiet().await;
    assert_eq!(settled(&bench.shared.told()), None, "and the next one was not kept waiting");
    let BindingState::Degraded(why) = bench.state.phase() else { panic!("{:?}", bench.state.phase()) };
    assert!(why.contains("full"), "{why}");
    bench.shared.until(Told::Settle(1, 2)).await;
    assert_eq!(*room.taken.lock().expect("no panic"), [("fail".to_owned(), 2, Duration::from_secs(1))]);
    assert!(bench.graves.letters.lock().expect("no panic").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_not_tried_again() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "permanent"), parcel(2, "k", "ok")]);
    let calls = bench.calls::<2>().await;
    assert_eq!(calls.map(|(payload, _)| payload), ["permanent", "ok"]);
    bench.shared.until(Told::Settle(1, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_dead_letter_keeps_its_delivery_unsettled() {
    let mut bench = Bench::start(settings(), Vec::from([parcel(1, "k", "permanent")]));
    *bench.graves.refuse.lock().expect("no panic") = 3;
    bench.call().await;
    quiet().await;
    assert_eq!(settled(&bench.shared.told()), None);
    let BindingState::Degraded(why) = bench.state.phase() else { panic!("{:?}", bench.state.phase()) };
    assert!(why.contains("full"), "{why}");
    bench.shared.until(Told::Settle(1, 1)).await;
    assert_eq!(bench.state.phase(), BindingState::Running);
}

#[tokio::test(start_paused = true)]
async fn one_stuck_key_stops_only_itself() {
    let keyed = Settings { ordering: Ordering::Key, concurrency: 2, ..settings() };
    let parcels = vec![
        parcel(1, "a", "fail a1"),
        parcel(2, "a", "ok a2"),
        parcel(3, "b", "ok b1"),
        parcel(4, "b", "ok b2"),
        parcel(5, "c", "ok c1"),
    ];
    let mut bench = Bench::start(keyed, parcels);
    let calls = bench.calls::<4>().await.map(|(payload, _)| payload);
    assert_eq!(calls, ["fail a1", "ok b1", "ok b2", "ok c1"]);
    quiet().await;
    assert_eq!(settled(&bench.shared.told()), None, "the first message holds the prefix");
    let calls = bench.calls::<3>().await.map(|(payload, _)| payload);
    assert_eq!(calls, ["fail a1", "fail a1", "ok a2"]);
    bench.shared.until(Told::Settle(1, 5)).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_handlers_run_at_once_than_said() {
    let keyed = Settings { ordering: Ordering::None, concurrency: 3, ..settings() };
    let mut bench = Bench::start(keyed, (1..=5).map(|n| parcel(n, "k", "wait")).collect());
    bench.calls::<3>().await;
    quiet().await;
    assert!(bench.no_call());
    bench.open.notify_one();
    bench.call().await;
    quiet().await;
    assert!(bench.no_call());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_its_retry_holds_no_place() {
    let keyed = Settings { ordering: Ordering::Key, concurrency: 1, ..settings() };
    let mut bench = Bench::start(keyed, vec![parcel(1, "a", "fail"), parcel(2, "b", "ok")]);
    assert_eq!(bench.calls::<2>().await.map(|(payload, _)| payload), ["fail", "ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_a_key_is_its_own_lane() {
    let keyed = Settings { ordering: Ordering::Key, concurrency: 2, ..settings() };
    let keyless = |n, payload| Parcel { key: None, ..parcel(n, "", payload) };
    let parcels = vec![keyless(1, "wait"), keyless(2, "wait"), parcel(3, "k", "ok"), keyless(4, "ok")];
    let mut bench = Bench::start(keyed, parcels);
    bench.calls::<2>().await;
    assert_eq!(bench.state.counts().get().without_key, 3);
}

#[tokio::test(start_paused = true)]
async fn the_intake_pauses_when_prefetch_is_full_and_goes_on_later() {
    let few = Settings { prefetch: 4, ordering: Ordering::Key, ..settings() };
    let mut parcels = vec![parcel(1, "stuck", "wait")];
    parcels.extend((2..=8).map(|n| parcel(n, "stuck", "ok")));
    let mut bench = Bench::start(few, parcels);
    bench.shared.until(Told::Pause).await;
    quiet().await;
    let left: usize = bench.shared.steps.lock().expect("no panic").iter().map(Step::len).sum();
    assert_eq!(left, 4, "no more are taken than may be unsettled");
    bench.open.notify_one();
    bench.shared.until(Told::Resume).await;
    bench.shared.until(Told::Settle(1, 8)).await;
    assert_eq!(bench.calls::<8>().await.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_lane_is_given_back_when_its_handler_is_done() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "wait"), parcel(2, "k", "ok")]);
    bench.call().await;
    bench.shared.push(Step::Revoked(vec![LaneId(1)]));
    quiet().await;
    assert_eq!(bench.shared.told(), []);
    bench.open.notify_one();
    bench.shared.until(Told::Release(vec![1])).await;
    assert_eq!(bench.shared.told(), [Told::Settle(1, 1), Told::Release(vec![1])]);
    assert!(bench.no_call(), "what was not started is left to the new owner");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_lane_is_given_back_at_the_deadline_though_its_handler_runs() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "sleep")]);
    bench.call().await;
    bench.shared.push(Step::Revoked(vec![LaneId(1)]));
    let start = Instant::now();
    bench.shared.until(Told::Release(vec![1])).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(settled(&bench.shared.told()), None, "the late settlement is ignored");
    assert_eq!(bench.state.counts().get().too_late, 1, "and counted");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lane_is_never_settled() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "wait")]);
    bench.call().await;
    bench.shared.push(Step::Lost(vec![LaneId(1)]));
    quiet().await;
    bench.open.notify_one();
    quiet().await;
    assert_eq!(bench.shared.told(), []);
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_a_lost_lane_ends_before_its_message_comes_again() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "wait"), parcel(2, "k", "ok")]);
    bench.call().await;
    let start = Instant::now();
    bench.shared.push(Step::Lost(vec![LaneId(1)]));
    let again = Parcel { token: Token { lane: LaneId(2), sequence: 1 }, ..parcel(1, "k", "ok") };
    bench.shared.push(Step::Batch(vec![again]));
    bench.shared.until(Told::Settle(2, 1)).await;
    assert_eq!(start.elapsed().as_secs(), 0, "the old one holds its place no longer");
    assert_eq!(bench.shared.told(), [Told::Settle(2, 1)], "and nothing of its lane was started");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_running_handlers_and_leaves_the_rest() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "sleep"), parcel(2, "k", "ok")]);
    bench.call().await;
    let told = bench.stop(Duration::from_secs(600)).await;
    assert_eq!(told, [Told::Pause, Told::Settle(1, 1), Told::Close]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_starts_nothing_where_a_place_becomes_free() {
    let keyed = Settings { ordering: Ordering::Key, concurrency: 2, ..settings() };
    let parcels = vec![parcel(1, "a", "sleep"), parcel(2, "b", "wait"), parcel(3, "b", "ok"), parcel(4, "c", "ok")];
    let mut bench = Bench::start(keyed, parcels);
    assert_eq!(bench.calls::<2>().await.map(|(payload, _)| payload), ["sleep", "wait"]);
    bench.control.send_replace(Command::Stop(Duration::from_secs(600)));
    bench.shared.until(Told::Pause).await;
    bench.open.notify_one();
    bench.shared.until(Told::Close).await;
    assert_eq!(bench.shared.told(), [Told::Pause, Told::Settle(1, 2), Told::Close]);
    assert!(bench.calls.recv().await.is_none(), "nothing else was called");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_longer_than_it_may() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "sleep")]);
    bench.call().await;
    let start = Instant::now();
    let told = bench.stop(Duration::from_secs(5)).await;
    assert_eq!((told, start.elapsed().as_secs()), (vec![Told::Pause, Told::Close], 5));
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_move_waiting_messages_to_the_dead_letters() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "fail")]);
    bench.call().await;
    let graves = Arc::clone(&bench.graves);
    let told = bench.stop(Duration::from_secs(60)).await;
    assert_eq!(settled(&told), None);
    assert!(graves.letters.lock().expect("no panic").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pause_keeps_what_runs_and_takes_nothing_new() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "wait")]);
    bench.call().await;
    bench.control.send_replace(Command::Pause);
    bench.shared.until(Told::Pause).await;
    assert_eq!(bench.state.phase(), BindingState::Paused);
    bench.shared.push(Step::Batch(vec![parcel(2, "k", "ok")]));
    bench.open.notify_one();
    bench.shared.until(Told::Settle(1, 1)).await;
    quiet().await;
    assert!(bench.no_call(), "nothing new is taken");
    bench.control.send_replace(Command::Run);
    bench.shared.until(Told::Settle(1, 2)).await;
    assert_eq!(bench.state.phase(), BindingState::Running);
    assert_eq!(bench.shared.told(), [Told::Pause, Told::Settle(1, 1), Told::Resume, Told::Settle(1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_oldest_unsettled_delivery_is_known() {
    let mut bench = Bench::start(settings(), vec![parcel(1, "k", "sleep")]);
    bench.call().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(bench.state.oldest_unsettled() >= Duration::from_secs(29));
    bench.shared.until(Told::Settle(1, 1)).await;
    quiet().await;
    assert_eq!(bench.state.oldest_unsettled(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn progress_of_others_makes_a_stuck_delivery_no_younger() {
    let by_key = Settings { ordering: Ordering::Key, concurrency: 2, ..settings() };
    let mut bench = Bench::start(by_key, vec![parcel(1, "a", "wait")]);
    bench.call().await;
    for sequence in 2..=30 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.shared.push(Step::Batch(vec![parcel(sequence, "b", "ok")]));
        bench.call().await;
    }
    let oldest = bench.state.oldest_unsettled();
    assert!((27..=30).contains(&oldest.as_secs()), "{oldest:?}");
}

fn by_key_with_prefetch_of_4() -> Settings {
    Settings { ordering: Ordering::Key, concurrency: 2, prefetch: 4, ..settings() }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_behind_a_stuck_delivery_is_settled_apart_and_makes_room() {
    let parcels = (1..=10).map(|n| if n == 1 { parcel(1, "a", "wait") } else { parcel(n, "b", "ok") });
    let mut bench = Bench::start(by_key_with_prefetch_of_4(), parcels.collect());
    bench.shared.settles_apart.store(true, SeqCst);
    let start = Instant::now();
    bench.calls::<10>().await;
    assert!((3..=6).contains(&start.elapsed().as_secs()), "three at a time, once in a second: {:?}", start.elapsed());
    bench.open.notify_one();
    bench.shared.until(Told::Settle(1, 10)).await;
    let mut told = bench.stop(Duration::from_secs(1)).await;
    told.retain(|told| matches!(told, Told::Apart(..) | Told::Settle(..)));
    assert_eq!(told, [Told::Apart(1, vec![2, 3, 4]), Told::Apart(1, vec![5, 6, 7]), Told::Settle(1, 10)]);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_knows_prefixes_only_is_asked_once() {
    let parcels = (1..=10).map(|n| if n == 1 { parcel(1, "a", "wait") } else { parcel(n, "b", "ok") });
    let mut bench = Bench::start(by_key_with_prefetch_of_4(), parcels.collect());
    bench.calls::<4>().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(bench.no_call(), "prefetch is used up");
    bench.open.notify_one();
    bench.calls::<6>().await;
    bench.shared.until(Told::Settle(1, 10)).await;
    let asked = bench.shared.told().iter().filter(|told| matches!(told, Told::Apart(..))).count();
    assert_eq!(asked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_ended_and_counts_as_failed() {
    let settings = Settings { handler_timeout: Some(Duration::from_secs(10)), ..settings() };
    let mut bench = Bench::start(settings, vec![parcel(1, "k", "sleep"), parcel(2, "k", "ok")]);
    let start = Instant::now();
    let calls = bench.calls::<4>().await;
    let attempts = calls.iter().map(|(payload, attempt)| (payload.as_str(), *attempt)).collect::<Vec<_>>();
    assert_eq!(attempts, [("sleep", 1), ("sleep", 2), ("sleep", 3), ("ok", 1)]);
    assert_eq!(start.elapsed().as_secs(), 33, "three times 10 s, and the backoff of 1 s and 2 s");
    bench.shared.until(Told::Settle(1, 2)).await;
    assert_eq!(*bench.graves.letters.lock().expect("no panic"), [("sleep".to_owned(), 3)]);
}

#[tokio::test(start_paused = true)]
async fn each_handler_has_its_own_time() {
    let settings = Settings {
        handler_timeout: Some(Duration::from_secs(61)),
        ordering: Ordering::Key,
        concurrency: 2,
        ..settings()
    };
    let mut bench = Bench::start(settings, vec![parcel(1, "a", "sleep")]);
    bench.call().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    bench.shared.push(Step::Batch(vec![parcel(2, "b", "sleep")]));
    bench.call().await;
    bench.shared.until(Told::Settle(1, 2)).await;
    assert!(bench.no_call(), "neither was late");
}

fn with_breaker() -> Settings {
    let breaker = BreakerProperties::default().failure_rate(0.5).calls(2u32).open(Duration::from_secs(20));
    Settings { breaker, ordering: Ordering::None, concurrency: 4, ..settings() }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_starts_no_handler_and_stops_the_intake() {
    let parcels = vec![parcel(1, "a", "permanent"), parcel(2, "b", "permanent"), parcel(3, "c", "ok")];
    let mut bench = Bench::start(with_breaker(), parcels);
    bench.calls::<2>().await;
    bench.shared.until(Told::Pause).await;
    assert!(bench.no_call(), "the third waits");
    let BindingState::Degraded(why) = bench.state.phase() else { panic!("{:?}", bench.state.phase()) };
    assert!(why.contains("2 of the last 2 calls failed"), "{why}");
    bench.shared.push(Step::Batch(vec![parcel(4, "d", "ok")]));
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert!(bench.no_call());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_closes_the_breaker() {
    let parcels = vec![parcel(1, "a", "permanent"), parcel(2, "b", "permanent"), parcel(3, "c", "ok")];
    let mut bench = Bench::start(with_breaker(), parcels);
    let start = Instant::now();
    let calls = bench.calls::<3>().await;
    assert_eq!(calls[2].0, "ok");
    assert_eq!(start.elapsed().as_secs(), 20);
    bench.shared.until(Told::Settle(1, 3)).await;
    bench.shared.push(Step::Batch(vec![parcel(4, "d", "ok"), parcel(5, "e", "ok")]));
    bench.shared.until(Told::Settle(1, 5)).await;
    assert_eq!(bench.state.phase(), BindingState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_the_breaker_again_and_is_alone() {
    let parcels = (1..=5).map(|n| parcel(n, "k", "permanent")).collect();
    let mut bench = Bench::start(with_breaker(), parcels);
    bench.calls::<2>().await;
    tokio::time::sleep(Duration::from_secs(21)).await;
    bench.call().await;
    assert!(bench.no_call(), "one probe at a time");
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert!(bench.no_call());
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.call().await;
}
