//! Ours and the bare client by turns, on one broker.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::WINDOW;
use crate::behaviour;
use crate::measure::{Cost, by_turns, load, median};
use crate::ours::Ours;

/// The group that reads where one is enough.
const GROUP: &str = "bench";

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Plan {
    pub messages: usize,
    pub rounds: usize,
    /// Dead letters that are sent back.
    pub letters: usize,
}

impl Plan {
    /// Enough to see that everything works, not to measure.
    const QUICK: Self = Self { messages: 2_000, rounds: 1, letters: 200 };
}

/// What the command line asks for.
pub enum Wish {
    Table,
    Quick,
    /// What is promised beside the cost of a message.
    Behaviour,
    /// One run, for a profiler.
    Case(String, usize),
}

/// The bare client of a broker, with the guarantees, settings and headers of ours.
pub trait Twin {
    /// How the publishing twins are called in the table: the one of `publish_each`, the one of `publish_lean`.
    const NAMES: [&'static str; 2];

    /// Sends one by one: so many futures at once as the window holds, each with its result.
    async fn publish_each(&self, destination: &str, count: usize) -> Cost;

    /// Sends in one loop, in the cheapest way that learns of every confirm.
    async fn publish_lean(&self, destination: &str, count: usize) -> Cost;

    /// Handles what is there as ours does.
    async fn consume(&self, destination: &str, group: &str, count: usize) -> Cost;

    /// Throws away what was published.
    async fn clear(&self, destination: &str, group: &str);

    /// Deletes what the measurement has left on the broker.
    async fn remove(&self, destinations: &[&str], group: &str);
}

/// Names of the runs, for a profiler: `benches rabbit case all 100000`.
const PUBLISHING: [&str; 5] = ["each", "bare-each", "alone", "bare-lean", "all"];
const CONSUMING: [&str; 2] = ["consume", "bare-consume"];

/// A broker with both clients.
pub struct Twins<'a, T> {
    pub ours: &'a Ours,
    pub bare: &'a T,
    /// What one group has read can be read by another.
    pub is_log: bool,
}

/// Where a measurement writes and reads.
struct Places {
    written: String,
    read: String,
}

impl Places {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        Self { written: format!("bench-{since}-write"), read: format!("bench-{since}-read") }
    }
}

impl<T: Twin> Twins<'_, T> {
    /// Does what the command line asks for.
    pub fn run(&self, plan: Plan, wish: &Wish) -> ExitCode {
        match wish {
            Wish::Table => self.compare(plan, false),
            Wish::Quick => self.compare(Plan::QUICK, true),
            Wish::Behaviour => self.behaviour(plan, false),
            Wish::Case(name, count) => self.case(name, *count),
        }
    }

    /// Compares and prints a table.
    fn compare(&self, plan: Plan, quick: bool) -> ExitCode {
        let Plan { messages, rounds, .. } = plan;
        let kind = self.ours.kind;
        println!(
            "{kind}: JSON of 130 bytes, key of 36, {messages} messages, window {WINDOW}, {rounds} rounds by turns, load {}\n",
            load()
        );
        runtime().block_on(async {
            let places = Places::new();
            let pairs = [self.publish_by_turns(&places, plan).await, self.consume_by_turns(&places, plan).await];
            println!("| case | ours: msg/s, µs CPU (own), allocations | bare | ratio by CPU | own CPU | CPU, best | time |");
            println!("|---|---|---|---|---|---|---|");
            pairs.iter().flatten().for_each(|pair| println!("{}", pair.row(messages)));
            println!("\nRatio: bare / ours, so above 1 ours is cheaper; median (low–high) of the rounds, and of the cheapest runs. Own: without the client's threads. Load at the end {}.", load());
            self.bare.remove(&[&places.written, &places.read], GROUP).await;
        });
        self.behaviour(plan, quick)
    }

    fn behaviour(&self, plan: Plan, quick: bool) -> ExitCode {
        behaviour::table(self.ours.kind, &|bindings| self.ours.application(bindings), plan.letters, quick)
    }

    /// Runs one case once.
    fn case(&self, name: &str, count: usize) -> ExitCode {
        if behaviour::CASES.contains(&name) {
            return behaviour::run_once(&|bindings| self.ours.application(bindings), name, count);
        }
        if !PUBLISHING.contains(&name) && !CONSUMING.contains(&name) {
            let known = [&PUBLISHING[..], &CONSUMING[..], &behaviour::CASES[..]].concat();
            eprintln!("no case is called {name}: {}", known.join(", "));
            return ExitCode::from(2);
        }
        runtime().block_on(async {
            let places = Places::new();
            let cost = if CONSUMING.contains(&name) {
                self.ours.publish_all(&places.read, count).await;
                self.consume(name, &places.read, GROUP, count).await
            } else {
                self.ours.publish_all(&places.read, WINDOW).await;
                self.publish(name, &places.read, count).await
            };
            println!("{name}: {}", figures(&[cost], count));
            self.bare.remove(&[&places.read], GROUP).await;
        });
        ExitCode::SUCCESS
    }

    async fn publish(&self, name: &str, destination: &str, count: usize) -> Cost {
        match name {
            "each" => self.ours.publish_each(destination, count).await,
            "alone" => self.ours.publish_alone(destination, count).await,
            "all" => self.ours.publish_all(destination, count).await,
            "bare-each" => self.bare.publish_each(destination, count).await,
            _ => self.bare.publish_lean(destination, count).await,
        }
    }

    async fn consume(&self, name: &str, destination: &str, group: &str, count: usize) -> Cost {
        match name {
            "consume" => self.ours.consume(destination, group, count).await,
            _ => self.bare.consume(destination, group, count).await,
        }
    }

    async fn publish_by_turns(&self, places: &Places, plan: Plan) -> Vec<Pair> {
        // Makes what does not exist yet.
        self.ours.publish_all(&places.written, WINDOW).await;
        let mut costs: [Vec<Cost>; 5] = Default::default();
        for round in 0..plan.rounds {
            for index in by_turns(round, 5) {
                self.bare.clear(&places.written, GROUP).await;
                costs[index].push(self.publish(PUBLISHING[index], &places.written, plan.messages).await);
            }
        }
        let [each, bare_each, alone, lean, all] = costs;
        let [futures, looped] = T::NAMES;
        vec![
            Pair::new(format!("publish one by one: 1,000 futures; {futures}"), &each, &bare_each),
            Pair::new(format!("publish one by one: 1,000 futures; {looped}"), &each, &lean),
            Pair::new(format!("publish one by one: the binder without the core; {looped}"), &alone, &lean),
            Pair::new(format!("publish in batches of 128: `send_all`; {looped}"), &all, &lean),
        ]
    }

    async fn consume_by_turns(&self, places: &Places, plan: Plan) -> Vec<Pair> {
        let mut costs: [Vec<Cost>; 2] = Default::default();
        for round in 0..plan.rounds {
            for index in by_turns(round, 2) {
                if !self.is_log || costs.iter().all(Vec::is_empty) {
                    self.ours.publish_all(&places.read, plan.messages).await;
                }
                let own = format!("{}-{round}-{index}", places.read);
                let group = if self.is_log { own.as_str() } else { GROUP };
                costs[index].push(self.consume(CONSUMING[index], &places.read, group, plan.messages).await);
                // More was sent than is read: what warmed up.
                self.bare.clear(&places.read, group).await;
            }
        }
        let [ours, bare] = costs;
        vec![Pair::new("consume to a handler, content type read; one loop".to_owned(), &ours, &bare)]
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A row of the table.
struct Pair {
    case: String,
    ours: Vec<Cost>,
    bare: Vec<Cost>,
}

impl Pair {
    fn new(case: String, ours: &[Cost], bare: &[Cost]) -> Self {
        Self { case, ours: ours.to_vec(), bare: bare.to_vec() }
    }

    fn row(&self, count: usize) -> impl Display {
        let cpu = self.ratio(|cost| cost.cpu.all.as_secs_f64());
        let own = self.ratio(|cost| cost.cpu.own.as_secs_f64());
        let time = self.ratio(|cost| cost.time.as_secs_f64());
        let (ours, bare) = (figures(&self.ours, count), figures(&self.bare, count));
        format!("| {} | {ours} | {bare} | {cpu} | {own} | {:.2} | {time} |", self.case, self.best())
    }

    /// Compares the rounds in which each used the least CPU: a busy machine only ever adds to it.
    fn best(&self) -> f64 {
        let least = |costs: &[Cost]| costs.iter().map(|cost| cost.cpu.all.as_secs_f64()).fold(f64::INFINITY, f64::min);
        least(&self.bare) / least(&self.ours)
    }

    fn ratio(&self, figure: impl Fn(&Cost) -> f64) -> String {
        let ratios = self.ours.iter().zip(&self.bare).map(|(ours, bare)| figure(bare) / figure(ours));
        let (middle, low, high) = median(ratios.collect());
        format!("{middle:.2} ({low:.2}–{high:.2})")
    }
}

fn figures(costs: &[Cost], count: usize) -> String {
    let middle = |figure: &dyn Fn(&Cost) -> f64| median(costs.iter().map(figure).collect()).0;
    let rate = middle(&|cost| count as f64 / cost.time.as_secs_f64() / 1000.0);
    let cpu = middle(&|cost| cost.cpu.all.as_secs_f64() / count as f64 * 1e6);
    let own = middle(&|cost| cost.cpu.own.as_secs_f64() / count as f64 * 1e6);
    let allocations = middle(&|cost| cost.allocations as f64 / count as f64);
    format!("{rate:.0} k, {cpu:.2} ({own:.2}), {allocations:.2}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::Cpu;

    fn cost(millis: u64) -> Cost {
        let cpu = Cpu { all: Duration::from_millis(millis), own: Duration::from_millis(millis / 2) };
        Cost { time: Duration::from_millis(2 * millis), cpu, allocations: 3000 }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_and_above_one_if_ours_is_cheaper() {
        let pair = Pair::new("x".to_owned(), &[cost(10), cost(20), cost(40)], &[cost(20), cost(20), cost(20)]);
        let row = pair.row(1000).to_string();
        let ratio = "1.00 (0.50–2.00)";
        let figures = "25 k, 20.00 (10.00), 3.00";
        assert_eq!(row, format!("| x | {figures} | {figures} | {ratio} | {ratio} | 2.00 | {ratio} |"));
    }
}
