//! What holds of the window, the lanes and the retry clock whatever comes in which order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::{View, parcel, settings};
use crate::binder::{LaneId, Parcel, Status, Token};
use crate::config::Ordering;
use crate::handler::{DeliveryRef, HandlerError, Verdict};
use crate::runtime::aside::Exhausted;
use crate::runtime::hooks::HookSet;
use crate::runtime::lanes::{LaneIndex, LaneKey, Lanes, Task, WaitId};
use crate::runtime::state::StateCell;
use crate::runtime::window::SettlementWindow;
use crate::runtime::work::{Settings, Work};

/// What happens to a window. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Event {
    Receive { lane: u32, gap: u64 },
    Pass { lane: u32, gap: u64 },
    Finish { which: usize },
    FinishAgain { which: usize },
    Forget { lane: u32 },
    Take,
    Look,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3_u32, 1..4_u64).prop_map(|(lane, gap)| Event::Receive { lane, gap }),
        2 => (0..3_u32, 1..4_u64).prop_map(|(lane, gap)| Event::Pass { lane, gap }),
        5 => any::<usize>().prop_map(|which| Event::Finish { which }),
        1 => any::<usize>().prop_map(|which| Event::FinishAgain { which }),
        1 => (0..3_u32).prop_map(|lane| Event::Forget { lane }),
        3 => Just(Event::Take),
        2 => Just(Event::Look),
    ]
}

/// A window that keeps everything, and looks through all of it each time.
#[derive(Default)]
struct Everything {
    /// Of each lane: what was received, whether it is finished, up to where it was settled.
    lanes: BTreeMap<u32, (BTreeMap<u64, bool>, Option<u64>)>,
    finished: Vec<Token>,
    /// The first unfinished delivery of each lane at the last look.
    seen: BTreeMap<u32, u64>,
}

impl Everything {
    fn open(&self) -> Vec<Token> {
        let of_lane = |(lane, (all, _)): (&u32, &(BTreeMap<u64, bool>, Option<u64>))| {
            let open = all.iter().filter(|(_, finished)| !**finished);
            open.map(|(sequence, _)| Token { lane: LaneId(*lane), sequence: *sequence }).collect::<Vec<_>>()
        };
        self.lanes.iter().flat_map(of_lane).collect()
    }

    fn prefix(all: &BTreeMap<u64, bool>) -> Option<u64> {
        all.iter().take_while(|(_, finished)| **finished).map(|(sequence, _)| *sequence).last()
    }

    fn unsettled(&self) -> usize {
        self.lanes.values().map(|(all, _)| all.values().skip_while(|finished| **finished).count()).sum()
    }

    fn take(&mut self) -> BTreeMap<u32, u64> {
        let mut taken = BTreeMap::new();
        for (lane, (all, told)) in &mut self.lanes {
            let prefix = Self::prefix(all);
            if prefix > *told {
                *told = prefix;
                taken.extend(prefix.map(|sequence| (*lane, sequence)));
            }
        }
        taken
    }

    /// What is done behind a first unfinished delivery that was there at the last look too.
    fn look(&mut self) -> BTreeMap<u32, Vec<u64>> {
        let mut apart = BTreeMap::new();
        for (lane, (all, _)) in &mut self.lanes {
            let front = all.iter().find(|(_, finished)| !**finished).map(|(sequence, _)| *sequence);
            let known = self.seen.remove(lane);
            let Some(front) = front else { continue };
            self.seen.insert(*lane, front);
            if known == Some(front) {
                let done: Vec<_> = all.range(front..).filter(|(_, finished)| **finished).map(|(at, _)| *at).collect();
                all.retain(|sequence, _| !done.contains(sequence));
                if !done.is_empty() {
                    apart.insert(*lane, done);
                }
            }
        }
        apart
    }
}

proptest! {
    /// Against the model: what is settled is the prefix, all of it, once, and never of a lane that is gone; behind a stuck delivery apart.
    #[test]
    fn a_window_settles_the_finished_prefix_of_each_lane(events in prop::collection::vec(event(), 1..80)) {
        let (mut window, mut model) = (SettlementWindow::default(), Everything::default());
        let mut last = 0;
        // a lane that was forgotten comes back under another id, as the contract says
        let mut ids = [0_u32, 1, 2];
        for event in events {
            match event {
                Event::Receive { lane, gap } | Event::Pass { lane, gap } => {
                    last += gap;
                    let lane = ids[lane as usize];
                    let token = Token { lane: LaneId(lane), sequence: last };
                    let passes = matches!(event, Event::Pass { .. });
                    if passes { window.pass(token) } else { window.receive(token) }
                    model.lanes.entry(lane).or_default().0.insert(last, passes);
                }
                Event::Finish { which } => {
                    let open = model.open();
                    if open.is_empty() { continue }
                    let token = open[which % open.len()];
                    prop_assert!(window.finish(token));
                    model.lanes.entry(token.lane.0).or_default().0.insert(token.sequence, true);
                    model.finished.push(token);
                }
                Event::FinishAgain { which } => {
                    if model.finished.is_empty() { continue }
                    let token = model.finished[which % model.finished.len()];
                    window.finish(token);
                }
                Event::Forget { lane } => {
                    let gone = ids[lane as usize];
                    window.forget(&[LaneId(gone)]);
                    model.lanes.remove(&gone);
                    ids[lane as usize] += 3;
                }
                Event::Look => {
                    let mut apart = BTreeMap::new();
                    let oldest = window.take_stuck(Instant::now(), |lane, sequences| {
                        assert!(apart.insert(lane.0, sequences.to_vec()).is_none(), "each lane once");
                        Ok::<_, ()>(true)
                    });
                    prop_assert_eq!(oldest.expect("no failure").is_some(), !model.open().is_empty());
                    prop_assert_eq!(apart, model.look());
                }
                Event::Take => {
                    let mut taken = BTreeMap::new();
                    let noted = window.take_settled(|lane, sequence| {
                        assert!(taken.insert(lane.0, sequence).is_none(), "each lane once");
                        Ok::<_, ()>(())
                    });
                    noted.expect("no failure");
                    prop_assert_eq!(taken, model.take());
                }
            }
            prop_assert_eq!(window.unsettled(), model.unsettled());
        }
    }
}

/// What happens to lanes. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Deliver { key: u8, partition: u32 },
    Start,
    Advance { which: usize },
    RetryNow { which: usize },
    Wait { which: usize },
    Wake { which: usize },
    WakeGone { which: usize },
    Revoke { partition: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8, 0..2_u32).prop_map(|(key, partition)| Step::Deliver { key, partition }),
        6 => Just(Step::Start),
        3 => any::<usize>().prop_map(|which| Step::Advance { which }),
        1 => any::<usize>().prop_map(|which| Step::RetryNow { which }),
        2 => any::<usize>().prop_map(|which| Step::Wait { which }),
        2 => any::<usize>().prop_map(|which| Step::Wake { which }),
        2 => any::<usize>().prop_map(|which| Step::WakeGone { which }),
        1 => (0..2_u32).prop_map(|partition| Step::Revoke { partition }),
    ]
}

fn delivery(sequence: u64, key: u8, partition: u32) -> Parcel {
    let mut parcel = parcel(sequence, &key.to_string(), "ok");
    parcel.token.lane = LaneId(partition);
    parcel
}

fn key_of(task: &Task) -> u8 {
    let key = task.parcel.key.as_deref().unwrap_or_default();
    std::str::from_utf8(key).expect("text").parse().expect("a number")
}

/// A queue for each key: what is not started, in order.
#[derive(Default)]
struct Queues {
    pending: BTreeMap<u8, VecDeque<(u64, u32)>>,
    running: Vec<Task>,
    /// The keys whose first delivery waits for its next attempt, with what wakes them.
    waiting: Vec<(u8, LaneIndex, WaitId)>,
    /// Timers of what was revoked: they ring later, and must wake nobody.
    gone: Vec<(LaneIndex, WaitId)>,
}

impl Queues {
    fn is_busy(&self, key: u8) -> bool {
        self.running.iter().any(|task| key_of(task) == key) || self.waiting.iter().any(|(waits, ..)| *waits == key)
    }

    /// The first delivery of each key that may be started.
    fn ready(&self) -> BTreeSet<u64> {
        let free = self.pending.iter().filter(|(key, _)| !self.is_busy(**key));
        free.filter_map(|(_, queue)| queue.front()).map(|(sequence, _)| *sequence).collect()
    }

    fn take_running(&mut self, which: usize) -> Option<Task> {
        (!self.running.is_empty()).then(|| self.running.remove(which % self.running.len()))
    }
}

proptest! {
    /// Against a queue for each key: only heads start, one of a key at a time, whatever can start does, and nothing is left behind.
    #[test]
    fn lanes_keep_the_order_of_each_key(steps in prop::collection::vec(step(), 1..120)) {
        let (mut lanes, mut model) = (Lanes::default(), Queues::default());
        let mut last = 0;
        for step in steps {
            match step {
                Step::Deliver { key, partition } => {
                    last += 1;
                    let name = key.to_string();
                    let lane = lanes.find_key(name.as_bytes()).unwrap_or_else(|| lanes.add(LaneKey::Key(name.into())));
                    lanes.push_back(Task { parcel: delivery(last, key, partition), attempt: 1, lane });
                    model.pending.entry(key).or_default().push_back((last, partition));
                }
                Step::Start => {
                    let ready = model.ready();
                    match lanes.next_ready() {
                        None => prop_assert!(ready.is_empty(), "{:?} could start", ready),
                        Some(task) => {
                            let sequence = task.parcel.token.sequence;
                            prop_assert!(ready.contains(&sequence), "{} started, not one of {:?}", sequence, ready);
                            model.pending.entry(key_of(&task)).or_default().pop_front();
                            model.running.push(task);
                        }
                    }
                }
                Step::Advance { which } => {
                    let Some(task) = model.take_running(which) else { continue };
                    lanes.advance(task.lane);
                }
                Step::RetryNow { which } | Step::Wait { which } => {
                    let Some(task) = model.take_running(which) else { continue };
                    let (key, lane, token) = (key_of(&task), task.lane, task.parcel.token);
                    model.pending.entry(key).or_default().push_front((token.sequence, token.lane.0));
                    if matches!(step, Step::Wait { .. }) {
                        let id = lanes.wait(task);
                        model.waiting.push((key, lane, id));
                    } else {
                        lanes.retry_now(task);
                    }
                }
                Step::Wake { which } => {
                    if model.waiting.is_empty() { continue }
                    let (_, lane, id) = model.waiting.remove(which % model.waiting.len());
                    lanes.wake(lane, id);
                }
                Step::Revoke { partition } => {
                    lanes.drop_waiting(|task| task.parcel.token.lane.0 == partition);
                    let waiting = std::mem::take(&mut model.waiting);
                    let heads = |queues: &Queues, key| queues.pending.get(&key).and_then(|queue| queue.front().copied());
                    let (gone, kept): (Vec<_>, Vec<_>) =
                        waiting.into_iter().partition(|(key, ..)| heads(&model, *key).is_none_or(|(_, of)| of == partition));
                    model.waiting = kept;
                    for queue in model.pending.values_mut() {
                        queue.retain(|(_, of)| *of != partition);
                    }
                    model.gone.extend(gone.into_iter().map(|(_, lane, id)| (lane, id)));
                }
                Step::WakeGone { which } => {
                    if model.gone.is_empty() { continue }
                    let (lane, id) = model.gone[which % model.gone.len()];
                    lanes.wake(lane, id);
                }
            }
            prop_assert_eq!(lanes.has_ready(), !model.ready().is_empty());
        }
        let nothing = model.running.is_empty() && model.pending.values().all(VecDeque::is_empty);
        prop_assert_eq!(lanes.is_empty(), nothing);
    }
}

/// A message whose first attempts fail, each with the wait that its handler asks for.
#[derive(Clone, Debug)]
struct Plan {
    key: u8,
    waits: Vec<u16>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (0..4_u8, prop::collection::vec(0..500_u16, 0..3)).prop_map(|(key, waits)| Plan { key, waits })
}

/// When each attempt of each message began, in ms.
type Calls = Arc<Mutex<Vec<(u64, u32, u64)>>>;

fn invoke(
    plans: Arc<Vec<Plan>>,
    calls: Calls,
    began: Instant,
) -> impl Fn(&DeliveryRef<'_>) -> crate::Result<std::future::Ready<Verdict>> {
    move |delivery| {
        let payload = String::from_utf8_lossy(delivery.payload().unwrap_or_default()).into_owned();
        let number: u64 = payload.parse().expect("a number");
        let attempt = delivery.attempt();
        let now = u64::try_from(began.elapsed().as_millis()).expect("not that long");
        calls.lock().expect("no panic").push((number, attempt, now));
        let wait = plans[usize::try_from(number).expect("small") - 1].waits.get(attempt as usize - 1);
        Ok(std::future::ready(wait.map_or(Ok(()), |wait| {
            let failure = HandlerError::transient(std::io::Error::other("told to fail"));
            Err(failure.retry_after(Duration::from_millis(u64::from(*wait))))
        })))
    }
}

/// Runs all messages on a paused clock until nothing is left to do; returns what was settled, in order.
async fn run(settings: Settings, plans: Vec<Plan>, calls: Calls) -> Vec<u64> {
    let began = Instant::now();
    let state = StateCell::new("test".into(), Status::new(), HookSet::default());
    let plans = Arc::new(plans);
    let mut work = Work::new(settings, invoke(Arc::clone(&plans), calls, began), Exhausted::Discard, state);
    let parcels =
        plans.iter().zip(1..).map(|(plan, number)| parcel(number, &plan.key.to_string(), &number.to_string()));
    work.accept(&View(parcels.collect()));
    let mut settled = Vec::new();
    loop {
        work.pump(usize::MAX);
        let noted = work.window().take_settled(|_, sequence| {
            settled.push(sequence);
            Ok::<_, ()>(())
        });
        noted.expect("no failure");
        if work.window().unsettled() == 0 {
            return settled;
        }
        std::future::poll_fn(|context| work.poll_event(context)).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Each attempt begins when it is due, not a millisecond before or after; a key stops only itself, and keeps its order.
    #[test]
    fn an_attempt_begins_when_it_is_due(plans in prop::collection::vec(plan(), 1..24)) {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let calls = Calls::default();
        let settings = Settings { ordering: Ordering::Key, concurrency: 2, ..settings() };
        let settled = clock.block_on(run(settings, plans.clone(), Arc::clone(&calls)));
        let calls = calls.lock().expect("no panic");

        let mut free = BTreeMap::new();
        for (plan, number) in plans.iter().zip(1_u64..) {
            // a message begins when the one before it of its key is done, and then waits for itself
            let mut due = *free.entry(plan.key).or_insert(0);
            for attempt in 1..=u32::try_from(plan.waits.len() + 1).expect("few") {
                let began: Vec<_> = calls.iter().filter(|call| (call.0, call.1) == (number, attempt)).map(|call| call.2).collect();
                prop_assert_eq!(began, vec![due], "attempt {} of {}", attempt, number);
                due += plan.waits.get(attempt as usize - 1).map_or(0, |wait| u64::from(*wait));
            }
            free.insert(plan.key, due);
        }
        prop_assert_eq!(calls.len(), plans.iter().map(|plan| plan.waits.len() + 1).sum::<usize>());
        prop_assert!(settled.is_sorted());
        prop_assert_eq!(settled.last().copied(), u64::try_from(plans.len()).ok());
    }
}

/// Every order in which handlers, a rebalance and the settling can meet, tried one after the other.
mod interleavings {
    use shuttle::sync::Mutex;
    use shuttle::thread;

    use super::*;

    fn token(lane: u32, sequence: u64) -> Token {
        Token { lane: LaneId(lane), sequence }
    }

    #[derive(Default)]
    struct Shared {
        window: SettlementWindow,
        /// What is really done.
        done: BTreeSet<(u32, u64)>,
        gone: bool,
    }

    impl Shared {
        fn settle(&mut self) {
            let Self { window, done, gone } = self;
            let noted = window.take_settled(|lane, sequence| {
                assert!(!*gone || lane != LaneId(1), "a lane that is gone is never settled");
                for before in 1..=sequence {
                    assert!(done.contains(&(lane.0, before)), "{before} is settled and not done");
                }
                Ok::<_, ()>(())
            });
            noted.expect("no failure");
        }
    }

    fn finish(shared: &Mutex<Shared>, token: Token) {
        let Shared { window, done, .. } = &mut *shared.lock().expect("no panic");
        done.insert((token.lane.0, token.sequence));
        window.finish(token);
    }

    #[test]
    fn no_order_of_events_settles_what_is_not_done() {
        shuttle::check_dfs(
            || {
                let shared = Arc::new(Mutex::new(Shared::default()));
                for (lane, sequence) in [(1, 1), (1, 2), (1, 3), (2, 1)] {
                    shared.lock().expect("no panic").window.receive(token(lane, sequence));
                }
                let spawn = |act: fn(&Mutex<Shared>)| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || act(&shared))
                };
                let handler = spawn(|shared| finish(shared, token(1, 2)));
                let rebalance = spawn(|shared| {
                    shared.lock().expect("no panic").settle();
                    let Shared { window, gone, .. } = &mut *shared.lock().expect("no panic");
                    window.forget(&[LaneId(1)]);
                    *gone = true;
                });
                finish(&shared, token(1, 1));
                handler.join().expect("no panic");
                rebalance.join().expect("no panic");
                let mut shared = shared.lock().expect("no panic");
                shared.settle();
                assert_eq!(shared.window.unsettled(), 1, "that of lane 2");
            },
            None,
        );
    }

    #[derive(Default)]
    struct Started {
        lanes: Lanes,
        running: Vec<u8>,
        order: Vec<u64>,
    }

    fn deliver(shared: &Mutex<Started>, sequence: u64) {
        let Started { lanes, .. } = &mut *shared.lock().expect("no panic");
        let lane = lanes.find_key(b"0").unwrap_or_else(|| lanes.add(LaneKey::Key("0".into())));
        lanes.push_back(Task { parcel: delivery(sequence, 0, 1), attempt: 1, lane });
    }

    /// Starts what is ready, if anything is, and ends it.
    fn handle(shared: &Mutex<Started>) -> bool {
        let task = {
            let Started { lanes, running, order } = &mut *shared.lock().expect("no panic");
            let Some(task) = lanes.next_ready() else { return false };
            assert!(!running.contains(&key_of(&task)), "two of a key run");
            running.push(key_of(&task));
            order.push(task.parcel.token.sequence);
            task
        };
        let Started { lanes, running, .. } = &mut *shared.lock().expect("no panic");
        running.retain(|key| *key != key_of(&task));
        lanes.advance(task.lane);
        true
    }

    #[test]
    fn no_order_of_events_starts_two_of_a_key() {
        shuttle::check_dfs(
            || {
                let shared = Arc::new(Mutex::new(Started::default()));
                deliver(&shared, 1);
                let spawn = |act: fn(&Mutex<Started>)| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || act(&shared))
                };
                let intake = spawn(|shared| deliver(shared, 2));
                let other = spawn(|shared| {
                    handle(shared);
                });
                handle(&shared);
                intake.join().expect("no panic");
                other.join().expect("no panic");
                while handle(&shared) {}
                let shared = shared.lock().expect("no panic");
                assert_eq!(shared.order, [1, 2]);
                assert!(shared.lanes.is_empty(), "nothing is left behind");
            },
            None,
        );
    }
}
