//! The field: the library, bare clients and other libraries, measured by one protocol, each run in a process of its own.

mod charts;
mod event;
mod idle;
#[cfg(feature = "kafka")]
mod kafka;
mod latency;
mod memory;
mod ours;
mod plan;
mod player;
mod progress;
mod protocol;
#[cfg(feature = "rabbit")]
mod rabbit;
mod render;
mod results;
#[cfg(any(feature = "kafka", feature = "rabbit"))]
mod service;
mod sink;
mod tables;
mod turns;

pub use self::render::main as render;
pub use self::turns::main;

use std::process::ExitCode;

use self::player::{Figures, Player};
use self::protocol::{Broker, Case, Line, Task};
use crate::measure::peak;

/// Measures one case once and prints the line.
pub fn measure(words: &[&str]) -> ExitCode {
    let known = |task: Task| {
        if plan::OWN.contains(&task.who.as_str()) { Ok(task) } else { Err(format!("nobody is called {}", task.who)) }
    };
    let task = match Task::parse(words).and_then(known) {
        Ok(task) => task,
        Err(cause) => {
            eprintln!("benches measure: {cause}");
            return ExitCode::from(2);
        }
    };
    // whoever panics in a task leaves others waiting for it
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(1);
    }));
    let watch = progress::watch();
    let mut line = Line::new(&task, version(&task));
    match play(&task) {
        Ok(figures) => fill(&mut line, &figures),
        Err(why) => line.unsupported = Some(why),
    }
    drop(watch);
    println!("{}", serde_json::to_string(&line).expect("it is JSON"));
    ExitCode::SUCCESS
}

fn play(task: &Task) -> Result<Figures, String> {
    let batch = task.who == "ours:batch";
    let tuned = task.who == "tuned";
    match (task.broker, task.who.as_str()) {
        (Broker::Memory, "ours" | "ours:batch") => run(memory::Ours::new(task, batch), task),
        (Broker::Memory, "raw" | "tuned") => run(memory::Raw::new(task, tuned), task),
        #[cfg(feature = "rabbit")]
        (Broker::Rabbit, "ours" | "ours:batch") => {
            run(rabbit::Ours::new(url("RABBIT_URL"), destination(), task, batch), task)
        }
        #[cfg(feature = "rabbit")]
        (Broker::Rabbit, "raw" | "tuned") => run(rabbit::Raw::new(url("RABBIT_URL"), destination(), task, tuned), task),
        #[cfg(feature = "kafka")]
        (Broker::Kafka, "ours" | "ours:batch") => {
            run(kafka::Ours::new(url("KAFKA_URL"), destination(), task, batch), task)
        }
        #[cfg(feature = "kafka")]
        (Broker::Kafka, "raw" | "tuned") => run(kafka::Raw::new(url("KAFKA_URL"), destination(), task, tuned), task),
        #[cfg(not(all(feature = "kafka", feature = "rabbit")))]
        (broker, _) => Err(format!("built without {}", protocol::word(broker))),
        #[cfg(all(feature = "kafka", feature = "rabbit"))]
        (_, who) => unreachable!("{who} was checked"),
    }
}

/// Plays in a task of its own, as a service does: who blocks on a runtime is no worker.
fn run<P: Player + 'static>(player: P, task: &Task) -> Result<Figures, String>
where
    P::Producer: 'static,
    P::Consumer: 'static,
    P::Beside: 'static,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let task = task.clone();
    runtime.block_on(async { tokio::spawn(player::measure(player, task)).await.expect("no panic") })
}

#[cfg(any(feature = "kafka", feature = "rabbit"))]
fn url(variable: &str) -> String {
    let url = std::env::var(variable).unwrap_or_default();
    if url.trim().is_empty() {
        eprintln!("benches: {variable} is not set: where is the broker?");
        std::process::exit(2);
    }
    url
}

/// A name that nobody else has.
#[cfg(any(feature = "kafka", feature = "rabbit"))]
fn destination() -> String {
    use std::time::{SystemTime, UNIX_EPOCH};
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    format!("field-{since}")
}

fn version(task: &Task) -> String {
    let is_ours = ["ours", "ours:batch"].contains(&task.who.as_str());
    let package = match (task.broker, is_ours) {
        (Broker::Memory, true) => "binder-core",
        (Broker::Rabbit, true) => "binder-rabbit",
        (Broker::Kafka, true) => "binder-kafka",
        (Broker::Memory, false) => "tokio",
        (Broker::Rabbit, false) => "lapin",
        (Broker::Kafka, false) => "rdkafka",
    };
    let version = locked(include_str!("../../Cargo.lock"), package).unwrap_or("unknown");
    format!("{package} {version}")
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    after.split('"').next()
}

fn fill(line: &mut Line, figures: &Figures) {
    let Figures { cost, messages, micros, resident } = figures;
    line.resident_kib.clone_from(resident);
    line.seconds = Some(rounded(cost.time.as_secs_f64(), 1e6));
    line.micros = *micros;
    if line.case == Case::First {
        return;
    }
    let each = |figure: f64| rounded(figure / *messages as f64, 1e4);
    line.cpu_micros = Some(each(cost.cpu.all.as_secs_f64() * 1e6));
    line.allocations = Some(each(cost.allocations as f64));
    line.peak_kib = peak();
}

fn rounded(figure: f64, per: f64) -> f64 {
    (figure * per).round() / per
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_that_of_the_lock_file() {
        let lock =
            "name = \"lapin-x\"\nversion = \"1.0.0\"\n\nname = \"lapin\"\nversion = \"4.12.3\"\nsource = \"x\"\n";
        assert_eq!([locked(lock, "lapin"), locked(lock, "rdkafka")], [Some("4.12.3"), None]);
    }
}
