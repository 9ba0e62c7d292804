//! Two workers: how much memory carries in a second, and what lanes do with handlers that sleep, get stuck or compute.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use binder_core::handler::{Handler, IntoOutcome};
use binder_core::prelude::*;
use serde_json::json;
use tokio::sync::Notify;

use super::flows::{changing, met};
use super::{ORDER, Order};
use crate::change::changes;
use crate::measure::median;

const LANES: usize = 16;
const KEYS: usize = 10_000;
const PARTITIONS: u32 = 8;

/// What a handler of the case that computes does.
const COMPUTING: Duration = Duration::from_micros(20);

/// Prints the figures; quickly means that everything runs, not that it measures.
pub fn table(quick: bool, rounds: usize) {
    let (many, few, rounds) = if quick { (20_000, 500, 1) } else { (1_000_000, 10_000, rounds) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // in a task of its own, as a service has it: who blocks on a runtime is no worker
    let run = |case: Case, count: usize| runtime.block_on(async { tokio::spawn(case(count)).await.expect("no panic") });
    let cases: [(&str, Case, usize, f64, &str); 7] = [
        (
            "130-byte JSON, one producer, one consumer, one by one: M/s",
            |count| Box::pin(one_by_one(count)),
            many,
            1e-6,
            "2",
        ),
        ("the same in batches of 128: M/s", |count| Box::pin(batches(count)), many, 1e-6, "2"),
        (
            "28-byte JSON, 2 producers, 2 groups of 2 consumers, 8 partitions: M/s published, each handled twice",
            |count| Box::pin(groups(count)),
            many,
            1e-6,
            "3",
        ),
        ("16 lanes, handlers of 1 ms / 16 tasks that only sleep", |count| Box::pin(sleeping(count)), few, 1.0, "0.97"),
        ("one key of 10,000 stuck: share of the others handled meanwhile", |_| Box::pin(stuck()), few, 1.0, "0.98"),
        ("handlers that compute 20 µs: 16 lanes / one", |count| Box::pin(computing(count)), few, 1.0, "1.8"),
        ("the same, two tasks / one, without the library", |count| Box::pin(computing_tasks(count)), few, 1.0, ""),
    ];
    println!("\n2 workers, {rounds} rounds by turns, median (low–high)\n");
    println!("| what | figure | target |");
    println!("|---|---|---|");
    let mut measured: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((_, case, count, scale, _), figures) in cases.iter().zip(&mut measured) {
            figures.push(run(*case, *count) * scale);
        }
    }
    for ((what, .., target), figures) in cases.iter().zip(measured) {
        let (middle, low, high) = median(figures);
        println!("| {what} | {middle:.2} ({low:.2}–{high:.2}) | {target} |");
    }
}

type Case = fn(usize) -> std::pin::Pin<Box<dyn Future<Output = f64> + Send>>;

fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

async fn one_by_one(count: usize) -> f64 {
    let cost = changing(count as u64, async |output| {
        for change in changes(count) {
            output.send(change).await.expect("sent");
        }
    });
    rate(count, cost.await.time)
}

async fn batches(count: usize) -> f64 {
    let cost = changing(count as u64, async |output| output.send_all(changes(count)).await.expect("sent"));
    rate(count, cost.await.time)
}

#[derive(Binding)]
struct Groups {
    #[output("first")]
    first: Output<Order>,
    #[output("second")]
    second: Output<Order>,
    #[input("a-1")]
    a_1: Input<Order>,
    #[input("a-2")]
    a_2: Input<Order>,
    #[input("b-1")]
    b_1: Input<Order>,
    #[input("b-2")]
    b_2: Input<Order>,
}

/// Messages published in a second; each is handled once in each of two groups.
async fn groups(count: usize) -> f64 {
    let batches = count / 128 / 2;
    let count = batches * 128 * 2;
    let output = json!({ "destination": "orders", "producer": { "partition-count": PARTITIONS } });
    let input = |group: &str| json!({ "destination": "orders", "group": group });
    let config = json!({ "stream": {
        "binders": { "memory": { "type": "memory", "retention": 65_536 } },
        "bindings": {
            "first": output, "second": output,
            "a-1": input("a"), "a-2": input("a"), "b-1": input("b"), "b-2": input("b"),
        },
    } });
    let config = Config::builder().yaml(config.to_string()).build().expect("the configuration is right");
    let app = Application::builder().config(config).build().expect("it builds");
    let channels: Groups = app.bind().await.expect("it binds");
    let done = Shared::new(2 * count);
    for input in [channels.a_1, channels.a_2, channels.b_1, channels.b_2] {
        app.handle(input, count_order.with_state(done.clone())).await.expect("a handler");
    }
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    let start = Instant::now();
    let sends = [channels.first, channels.second].map(|output| {
        tokio::spawn(async move {
            for number in 0..batches {
                // a batch goes to one partition after the other
                let partition = number as u32 % PARTITIONS;
                let batch = (0..128).map(move |_| Message::new(ORDER).with_partition(partition));
                output.send_all_messages(batch).await.expect("sent");
            }
        })
    });
    for send in sends {
        send.await.expect("no panic");
    }
    done.wait().await;
    let elapsed = start.elapsed();
    app.shutdown().await.expect("it ends");
    rate(count, elapsed)
}

/// Counts on several threads.
#[derive(Clone)]
struct Shared(Arc<Counts>);

struct Counts {
    handled: AtomicUsize,
    wanted: usize,
    began: OnceLock<Instant>,
    all: Notify,
}

impl Shared {
    fn new(wanted: usize) -> Self {
        let (handled, began) = (AtomicUsize::new(0), OnceLock::new());
        Self(Arc::new(Counts { handled, wanted, began, all: Notify::new() }))
    }

    fn note(&self) {
        if self.0.handled.fetch_add(1, Relaxed) + 1 == self.0.wanted {
            self.0.all.notify_one();
        }
    }

    fn begin(&self) {
        self.0.began.get_or_init(Instant::now);
    }

    /// Waits for the last; returns how long it took from the first.
    async fn wait(&self) -> Duration {
        self.0.all.notified().await;
        self.0.began.get().map_or(Duration::ZERO, Instant::elapsed)
    }
}

async fn count_order(order: Order, State(done): State<Shared>) {
    std::hint::black_box(order);
    done.note();
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Keyed {
    number: usize,
}

fn keyed(count: usize) -> impl Iterator<Item = Message<Keyed>> {
    (0..count).map(|number| Message::new(Keyed { number }).with_key(format!("key-{}", number % KEYS)))
}

/// Messages handled in a second, of those that are there when the input starts.
async fn through_lanes<A, H>(count: usize, lanes: usize, done: &Shared, handler: H) -> f64
where
    H: Handler<Keyed, A, Output: IntoOutcome>,
{
    let consumer = json!({ "auto-startup": false, "consumer": { "ordering": "key", "concurrency": lanes } });
    let (app, channels) = met::<Keyed>(count as u64 + 1, json!({}), consumer).await;
    app.start().await.expect("it starts");
    channels.output.send_all_messages(keyed(count)).await.expect("sent");
    app.handle(channels.input, handler).await.expect("a handler");
    app.control("input").expect("it is there").start();
    let elapsed = done.wait().await;
    app.shutdown().await.expect("it ends");
    rate(count, elapsed)
}

/// Handlers that sleep, against tasks that only sleep.
async fn sleeping(count: usize) -> f64 {
    let done = Shared::new(count);
    let lanes = through_lanes(count, LANES, &done, sleep.with_state(done.clone())).await;
    let done = Shared::new(count / LANES * LANES);
    let tasks = (0..LANES).map(|_| {
        let done = done.clone();
        tokio::spawn(async move {
            for number in 0..count / LANES {
                sleep(Keyed { number }, State(done.clone())).await;
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let ideal = rate(count / LANES * LANES, done.wait().await);
    for task in tasks {
        task.await.expect("no panic");
    }
    lanes / ideal
}

async fn sleep(_: Keyed, State(done): State<Shared>) {
    done.begin();
    tokio::time::sleep(Duration::from_millis(1)).await;
    done.note();
}

/// One message of each key; the first of all never ends. Returns which share of the others is handled before they stop coming.
async fn stuck() -> f64 {
    let handled = Arc::<Mutex<HashSet<usize>>>::default();
    let consumer = json!({ "consumer": { "ordering": "key", "concurrency": LANES } });
    let (app, channels) = met::<Keyed>(KEYS as u64 * 2 + 1, json!({}), consumer).await;
    channels.output.send_all_messages(keyed(2 * KEYS)).await.expect("sent");
    app.handle(channels.input, get_stuck.with_state(Arc::clone(&handled))).await.expect("a handler");
    app.start().await.expect("it starts");
    let count = || handled.lock().expect("no panic").len();
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = count();
        if now == before {
            break;
        }
        before = now;
    }
    // the handler that is stuck would be waited for
    drop(app);
    count() as f64 / (KEYS - 1) as f64
}

async fn get_stuck(message: Keyed, State(handled): State<Arc<Mutex<HashSet<usize>>>>) {
    if message.number.is_multiple_of(KEYS) {
        std::future::pending::<()>().await;
    }
    handled.lock().expect("no panic").insert(message.number % KEYS);
}

/// Handlers that need the processor: what lanes gain on two cores.
async fn computing(count: usize) -> f64 {
    let rate_of = async |lanes| {
        let done = Shared::new(count);
        through_lanes(count, lanes, &done, compute.with_state(done.clone())).await
    };
    let one = rate_of(1).await;
    rate_of(LANES).await / one
}

async fn compute(_: Keyed, State(done): State<Shared>) {
    done.begin();
    burn();
    done.note();
}

fn burn() {
    let start = Instant::now();
    while start.elapsed() < COMPUTING {
        std::hint::spin_loop();
    }
}

/// What two cores give without the library.
async fn computing_tasks(count: usize) -> f64 {
    let elapsed = async |tasks: usize| {
        let start = Instant::now();
        let tasks: Vec<_> =
            (0..tasks).map(|_| tokio::spawn(async move { (0..count / tasks).for_each(|_| burn()) })).collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        start.elapsed().as_secs_f64()
    };
    elapsed(1).await / elapsed(2).await
}
