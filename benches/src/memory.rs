//! The memory binder: what of a message's cost is ours.

mod flows;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use binder_core::binding::{Declare, Open};
use binder_core::prelude::*;
use serde_json::json;
use tokio::sync::Notify;

use crate::behaviour;
use crate::measure::{Cost, Meter, cost, instructions, median};

/// 28 bytes of JSON, no owned fields.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Order {
    id: u32,
    amount: u32,
}

const ORDER: Order = Order { id: 1_234_567, amount: 12_345 };

/// How often each case runs; the median counts.
const ROUNDS: usize = 7;

/// What is counted is counted in a short and in a long run: what happens once cancels out.
const COUNTED: [u64; 2] = [20_000, 60_000];

/// Dead letters that are sent back: about as many as a partition keeps.
const LETTERS: usize = 60_000;

/// One way of messages, run for any number of them.
pub struct Case {
    pub name: &'static str,
    what: &'static str,
    run: fn(u64) -> Cost,
    /// The case whose instructions are no part of this one: what had to be done before.
    before: Option<&'static str>,
}

impl Case {
    /// Counts instructions and allocations for each message; `None` without valgrind.
    pub fn counts(&self) -> Option<(f64, f64)> {
        let [few, many] = COUNTED.map(|count| (self.run)(count).allocations as f64);
        let allocations = (many - few).max(0.0) / (COUNTED[1] - COUNTED[0]) as f64;
        Some((own_instructions(self)?, allocations))
    }
}

/// What the table and the gate measure.
pub const CASES: &[Case] = &[
    Case { name: "codec-read", what: "serde_json, read only", run: codec_read, before: None },
    Case { name: "codec-both", what: "serde_json, write and read", run: codec_both, before: None },
    Case { name: "fill", what: "publish only, batches of 128", run: fill, before: None },
    Case { name: "drain", what: "drain to a handler", run: drain, before: Some("fill") },
    Case { name: "fill-bytes", what: "28 raw bytes: publish only", run: flows::fill_bytes, before: None },
    Case {
        name: "drain-bytes",
        what: "28 raw bytes: drain to a handler",
        run: flows::drain_bytes,
        before: Some("fill-bytes"),
    },
    Case { name: "one-by-one", what: "publish + handle, one by one", run: one_by_one, before: None },
    Case { name: "wake", what: "publish + handle, one at a time: sleep and wake", run: flows::wake, before: None },
    Case { name: "batches", what: "publish + handle, batches of 128", run: batches, before: None },
    Case {
        name: "idle-1000",
        what: "publish + handle, one by one, beside 1,000 idle bindings",
        run: beside_idle,
        before: None,
    },
    Case {
        name: "codec-change",
        what: "130 bytes: serde_json, write and read",
        run: flows::codec_change,
        before: None,
    },
    Case {
        name: "change",
        what: "130 bytes: publish + handle, one by one",
        run: flows::changes_one_by_one,
        before: None,
    },
    Case {
        name: "change-batches",
        what: "130 bytes: publish + handle, batches of 128",
        run: flows::changes_in_batches,
        before: None,
    },
];

/// Runs one case once, for callgrind.
pub fn run_once(name: &str, count: u64) -> ExitCode {
    if behaviour::CASES.contains(&name) {
        return behaviour::run_once(&application, name, count as usize);
    }
    match CASES.iter().find(|case| case.name == name) {
        Some(case) => {
            (case.run)(count);
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("no case is called {name}");
            ExitCode::from(2)
        }
    }
}

/// Runs all cases and prints a table; quickly means that everything runs, not that it measures.
pub fn table(quick: bool) -> ExitCode {
    let (count, rounds) = if quick { (20_000, 1) } else { (1_000_000, ROUNDS) };
    println!("28-byte JSON if nothing else is said, {count} messages, {rounds} rounds, current_thread runtime\n");
    println!("| case | ns, median (low–high) | allocations | instructions |");
    println!("|---|---|---|---|");
    let mut measured: Vec<Vec<Cost>> = CASES.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (case, costs) in CASES.iter().zip(&mut measured) {
            costs.push((case.run)(count));
        }
    }
    for (case, costs) in CASES.iter().zip(measured) {
        let ns = costs.iter().map(|cost| cost.time.as_nanos() as f64 / count as f64).collect();
        let (middle, low, high) = median(ns);
        let allocations = costs.iter().map(|cost| cost.allocations as f64 / count as f64).collect();
        let instructions = if quick { None } else { own_instructions(case) };
        let instructions = instructions.map_or_else(|| "not counted".to_owned(), |count| format!("{count:.0}"));
        println!(
            "| {} | {middle:.0} ({low:.0}–{high:.0}) | {:.4} | {instructions} |",
            case.what,
            median(allocations).0
        );
    }
    println!(
        "\nstart to first message: {:.1} ms (median of {rounds})",
        median((0..rounds).map(|_| start()).collect()).0
    );
    workers::table(quick, rounds);
    behaviour(quick)
}

/// Measures what is promised beside the cost of a message.
pub fn behaviour(quick: bool) -> ExitCode {
    behaviour::table("memory", &application, LETTERS, quick)
}

fn application(bindings: serde_json::Value) -> Application {
    let config = json!({ "stream": { "binders": { "memory": { "type": "memory" } }, "bindings": bindings } });
    let config = Config::builder().yaml(config.to_string()).build().expect("the configuration is right");
    Application::builder().config(config).build().expect("it builds")
}

fn own_instructions(case: &Case) -> Option<f64> {
    let all = instructions(case.name, COUNTED)?;
    match case.before {
        Some(before) => Some(all - instructions(before, COUNTED)?),
        None => Some(all),
    }
}

fn fill(count: u64) -> Cost {
    on_current_thread(async {
        let (app, channels) = bound(0, count + 1).await;
        let orders = vec![ORDER; count as usize];
        app.start().await.expect("it starts");
        let cost = measured(async { channels.output.send_all(&orders).await.expect("sent") }).await;
        app.shutdown().await.expect("it ends");
        cost
    })
}

fn codec_read(count: u64) -> Cost {
    let bytes = serde_json::to_vec(&ORDER).expect("it is JSON");
    cost(|| {
        for _ in 0..count {
            let order: Order = serde_json::from_slice(std::hint::black_box(&bytes)).expect("it is JSON");
            std::hint::black_box(order);
        }
    })
}

fn codec_both(count: u64) -> Cost {
    let mut bytes = Vec::new();
    cost(|| {
        for _ in 0..count {
            bytes.clear();
            serde_json::to_writer(&mut bytes, std::hint::black_box(&ORDER)).expect("it is JSON");
            let order: Order = serde_json::from_slice(std::hint::black_box(&bytes)).expect("it is JSON");
            std::hint::black_box(order);
        }
    })
}

/// An input and an output on one destination, and inputs that never receive.
struct Channels {
    output: Output<Order>,
    input: Input<Order>,
    idle: Vec<Input<Order>>,
}

thread_local! {
    static IDLE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Binding for Channels {
    fn declare(channels: &mut Declare) {
        channels.output("output");
        channels.input("input");
        (0..IDLE.get()).for_each(|number| channels.input(&format!("idle-{number}")));
    }

    fn open(channels: &mut Open<'_>) -> binder_core::Result<Self> {
        let idle = (0..IDLE.get()).map(|number| channels.input(&format!("idle-{number}"))).collect::<Result<_, _>>()?;
        Ok(Self { output: channels.output("output", None)?, input: channels.input("input")?, idle })
    }
}

/// Counts what was handled, and says when all are.
#[derive(Clone)]
struct Done(Arc<Counter>);

struct Counter {
    handled: AtomicU64,
    wanted: u64,
    all: Notify,
}

impl Done {
    fn new(wanted: u64) -> Self {
        Self(Arc::new(Counter { handled: AtomicU64::new(0), wanted, all: Notify::new() }))
    }

    /// Counts one; called by one thread at a time.
    fn note(&self) {
        let handled = self.0.handled.load(Relaxed) + 1;
        self.0.handled.store(handled, Relaxed);
        if handled == self.0.wanted {
            self.0.all.notify_one();
        }
    }

    async fn wait(&self) {
        self.0.all.notified().await;
    }
}

async fn handle(order: Order, State(done): State<Done>) {
    std::hint::black_box(order);
    done.note();
}

fn config(retention: u64) -> Config {
    let text = format!(
        "stream:\n  binders:\n    memory: {{ type: memory, retention: {retention} }}\n  bindings:\n    output: {{ destination: orders }}\n    input: {{ destination: orders, group: bench }}\n"
    );
    Config::builder().yaml(&text).build().expect("the configuration is right")
}

async fn bound(idle: usize, retention: u64) -> (Application, Channels) {
    IDLE.set(idle);
    let app = Application::builder().config(config(retention)).build().expect("it builds");
    let channels = app.bind().await.expect("it binds");
    (app, channels)
}

fn on_current_thread(run: impl Future<Output = Cost>) -> Cost {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run)
}

async fn measured(run: impl Future<Output = ()>) -> Cost {
    let meter = Meter::start();
    run.await;
    meter.cost()
}

fn drain(count: u64) -> Cost {
    on_current_thread(async {
        let (app, channels) = bound(0, count + 1).await;
        let orders = vec![ORDER; count as usize];
        channels.output.send_all(&orders).await.expect("sent");
        let done = Done::new(count);
        app.handle(channels.input, handle.with_state(done.clone())).await.expect("a handler");
        let cost = measured(async {
            app.start().await.expect("it starts");
            done.wait().await;
        })
        .await;
        app.shutdown().await.expect("it ends");
        cost
    })
}

async fn flowing(idle: usize, count: u64, send: impl AsyncFnOnce(&Output<Order>)) -> Cost {
    let (app, channels) = bound(idle, 65_536).await;
    let done = Done::new(count);
    for input in channels.idle {
        app.handle(input, handle.with_state(done.clone())).await.expect("a handler");
    }
    app.handle(channels.input, handle.with_state(done.clone())).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(std::time::Duration::from_secs(5)).await.expect("ready");
    let cost = measured(async {
        send(&channels.output).await;
        done.wait().await;
    })
    .await;
    app.shutdown().await.expect("it ends");
    cost
}

fn one_by_one(count: u64) -> Cost {
    on_current_thread(flowing(0, count, async |output| send_each(output, count).await))
}

fn beside_idle(count: u64) -> Cost {
    on_current_thread(flowing(1_000, count, async |output| send_each(output, count).await))
}

async fn send_each(output: &Output<Order>, count: u64) {
    for _ in 0..count {
        output.send(&ORDER).await.expect("sent");
    }
}

fn batches(count: u64) -> Cost {
    let orders = [ORDER; 128];
    on_current_thread(flowing(0, count / 128 * 128, async |output| {
        for _ in 0..count / 128 {
            output.send_all(&orders).await.expect("sent");
        }
    }))
}

/// Returns the milliseconds from nothing to the first handled message.
fn start() -> f64 {
    let start = Instant::now();
    on_current_thread(flowing(0, 1, async |output| output.send(&ORDER).await.expect("sent")));
    start.elapsed().as_secs_f64() * 1000.0
}
