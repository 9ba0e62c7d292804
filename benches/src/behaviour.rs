//! What is promised beside the cost of a message: lanes that work side by side, and dead letters that go back fast.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use binder_core::prelude::*;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::measure::median;

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "bench";
const LANES: usize = 16;
const KEYS: usize = 10_000;
const ROUNDS: usize = 5;

/// Handlers at once of what becomes a dead letter.
const FAILING: usize = 256;

/// Makes an application with these bindings on the broker that is measured.
pub type Make<'a> = &'a dyn Fn(Value) -> Application;

#[derive(Clone, Serialize, Deserialize)]
struct Keyed {
    key: String,
    number: usize,
}

#[derive(Binding)]
struct Channels {
    #[output(key = "key")]
    output: Output<Keyed>,
    #[input]
    input: Input<Keyed>,
}

/// Counts what was handled.
#[derive(Clone)]
struct Progress(Arc<Counted>);

#[derive(Default)]
struct Counted {
    handled: AtomicUsize,
    wanted: usize,
    began: OnceLock<Instant>,
    news: Notify,
}

impl Progress {
    fn new(wanted: usize) -> Self {
        Self(Arc::new(Counted { wanted, ..Counted::default() }))
    }

    fn note(&self) {
        if self.0.handled.fetch_add(1, SeqCst) + 1 == self.0.wanted {
            self.0.news.notify_one();
        }
    }
}

/// Prints both figures; quickly means that they can be taken, not that they mean something. So many letters are sent back that it takes the
/// broker about a second, and what is opened at first does not count.
pub fn table(kind: &str, make: Make<'_>, letters: usize, quick: bool) -> ExitCode {
    let (side_by_side, letters, rounds) = if quick { (320, letters.min(200), 1) } else { (16_000, letters, ROUNDS) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("\n{kind}, {rounds} rounds, median (low–high)\n");
    println!("| what | figure | target |");
    println!("|---|---|---|");
    let figures = |take: &mut dyn FnMut() -> f64| {
        let (middle, low, high) = median((0..rounds).map(|_| take()).collect());
        format!("{middle:.2} ({low:.2}–{high:.2})")
    };
    let lanes = figures(&mut || runtime.block_on(speed_up(make, side_by_side)));
    println!(
        "| `ordering: key`, handlers of 1 ms, {KEYS} keys: throughput of {LANES} lanes / of one | {lanes} | 14.4 |"
    );
    let redrive = figures(&mut || runtime.block_on(redrive(make, letters)));
    println!("| {letters} dead letters: rate of `redrive` / rate of `send_all` | {redrive} | 0.5 |");
    ExitCode::SUCCESS
}

/// The cases for a profiler: until all are dead letters; the same, and sending them back.
pub const CASES: [&str; 2] = ["dead", "redrive"];

/// Runs one of the [`CASES`] once.
pub fn run_once(make: Make<'_>, case: &str, letters: usize) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let dead = Dead::new(make, letters).await;
        if case == "redrive" {
            let elapsed = dead.send_back().await;
            println!("{letters} letters sent back in {elapsed:?}, sent in {:?}", dead.sending);
        }
        dead.app.shutdown().await.expect("it ends");
    });
    ExitCode::SUCCESS
}

fn destination() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    format!("bench-{since}")
}

fn messages(count: usize) -> Vec<Keyed> {
    (0..count).map(|number| Keyed { key: format!("key-{}", number % KEYS), number }).collect()
}

/// An application whose messages are there before its input starts; returns how long sending them took.
async fn filled(make: Make<'_>, consumer: Value, count: usize) -> (Application, Input<Keyed>, Duration) {
    let destination = destination();
    let app = make(json!({
        "output": { "destination": destination, "producer": { "required-groups": [GROUP] } },
        "input": { "destination": destination, "group": GROUP, "auto-startup": false, "consumer": consumer },
    }));
    let channels: Channels = app.bind().await.expect("it binds");
    app.start().await.expect("it starts");
    let messages = messages(count);
    // what is opened by the first send is no part of the rate
    channels.output.send(&messages[0]).await.expect("sent");
    let start = Instant::now();
    channels.output.send_all(&messages[1..]).await.expect("sent");
    (app, channels.input, start.elapsed())
}

async fn speed_up(make: Make<'_>, count: usize) -> f64 {
    let many = rate_of_lanes(make, LANES, count).await;
    let one = rate_of_lanes(make, 1, count / LANES).await;
    many / one
}

/// Messages in a second, with so many handlers at once that take 1 ms each.
async fn rate_of_lanes(make: Make<'_>, lanes: usize, count: usize) -> f64 {
    let consumer = json!({ "ordering": "key", "concurrency": lanes });
    let (app, input, _) = filled(make, consumer, count).await;
    let progress = Progress::new(count);
    app.handle(input, take_1_ms.with_state(progress.clone())).await.expect("a handler");
    app.control("input").expect("it is there").start();
    tokio::time::timeout(PATIENCE, progress.0.news.notified()).await.expect("handled in time");
    let elapsed = progress.0.began.get().expect("set by the first").elapsed();
    app.shutdown().await.expect("it ends");
    count as f64 / elapsed.as_secs_f64()
}

/// How fast dead letters go back, as a share of how fast they were sent.
async fn redrive(make: Make<'_>, count: usize) -> f64 {
    let dead = Dead::new(make, count).await;
    let elapsed = dead.send_back().await;
    dead.app.shutdown().await.expect("it ends");
    dead.sending.as_secs_f64() / elapsed.as_secs_f64()
}

/// An application with dead letters, whose input is stopped: what comes back is left alone.
struct Dead {
    app: Application,
    count: usize,
    /// How long the messages took to be sent at first.
    sending: Duration,
}

impl Dead {
    async fn new(make: Make<'_>, count: usize) -> Self {
        let consumer = json!({ "ordering": "none", "concurrency": FAILING, "max-attempts": 1 });
        let (app, input, sending) = filled(make, consumer, count).await;
        let progress = Progress::new(count);
        app.handle(input, fail.with_state(progress.clone())).await.expect("a handler");
        app.control("input").expect("it is there").start();
        tokio::time::timeout(PATIENCE, progress.0.news.notified()).await.expect("failed in time");
        let letters = app.dead_letters("input").expect("it is there");
        let all_aside = async {
            while letters.count().await.expect("counted") < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all_aside).await.expect("all are dead letters");
        app.control("input").expect("it is there").stop().await;
        Self { app, count, sending }
    }

    /// Sends all back; returns how long that took.
    async fn send_back(&self) -> Duration {
        let letters = self.app.dead_letters("input").expect("it is there");
        let start = Instant::now();
        let report = letters.redrive().run().await.expect("sent back");
        let elapsed = start.elapsed();
        assert_eq!(report.sent, self.count, "{report:?}");
        elapsed
    }
}

async fn take_1_ms(_: Keyed, State(progress): State<Progress>) {
    progress.0.began.get_or_init(Instant::now);
    tokio::time::sleep(Duration::from_millis(1)).await;
    progress.note();
}

async fn fail(_: Keyed, State(progress): State<Progress>) -> Result<(), HandlerError> {
    progress.note();
    Err(HandlerError::permanent(std::io::Error::other("told to fail")))
}
