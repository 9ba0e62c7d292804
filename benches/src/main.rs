//! What a message costs: `cargo xtask bench [memory|kafka|rabbit]` runs `benches` with the word.

mod behaviour;
mod change;
mod field;
mod gate;
mod measure;
mod memory;

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(any(feature = "kafka", feature = "rabbit"))]
mod ours;
#[cfg(feature = "rabbit")]
mod rabbit;
#[cfg(any(feature = "kafka", feature = "rabbit"))]
mod tally;
#[cfg(any(feature = "kafka", feature = "rabbit"))]
mod twins;

use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// How many messages may be on their way to the broker: the default of an output.
#[cfg(any(feature = "kafka", feature = "rabbit"))]
const WINDOW: usize = 1000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["memory"] => memory::table(false),
        ["memory", "--quick"] => memory::table(true),
        ["gate", path] => gate::main(path.as_ref(), false),
        ["gate", path, "--write"] => gate::main(path.as_ref(), true),
        ["memory", "behaviour"] => memory::behaviour(false),
        ["measure", rest @ ..] => field::measure(rest),
        ["field", rest @ ..] => field::main(rest),
        ["render", rest @ ..] => field::render(rest),
        ["case", name, count] => match count.parse() {
            Ok(count) => memory::run_once(name, count),
            Err(_) => usage(),
        },
        #[cfg(feature = "kafka")]
        ["kafka", rest @ ..] => on_broker(kafka::main, "KAFKA_URL", rest),
        #[cfg(feature = "rabbit")]
        ["rabbit", rest @ ..] => on_broker(rabbit::main, "RABBIT_URL", rest),
        #[cfg(not(feature = "kafka"))]
        ["kafka", ..] => built_without("kafka"),
        #[cfg(not(feature = "rabbit"))]
        ["rabbit", ..] => built_without("rabbit"),
        _ => usage(),
    }
}

#[cfg(any(feature = "kafka", feature = "rabbit"))]
fn on_broker(run: fn(&str, &twins::Wish) -> ExitCode, variable: &str, rest: &[&str]) -> ExitCode {
    let wish = match rest {
        [] => twins::Wish::Table,
        ["--quick"] => twins::Wish::Quick,
        ["behaviour"] => twins::Wish::Behaviour,
        ["case", name, count] => match count.parse() {
            Ok(count) => twins::Wish::Case((*name).to_owned(), count),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match std::env::var(variable).ok().filter(|url| !url.trim().is_empty()) {
        Some(url) => run(&url, &wish),
        None => {
            eprintln!("benches: {variable} is not set: where is the broker?");
            ExitCode::from(2)
        }
    }
}

#[cfg(not(all(feature = "kafka", feature = "rabbit")))]
fn built_without(feature: &str) -> ExitCode {
    eprintln!("benches: built without `--features {feature}`");
    ExitCode::from(2)
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: benches [memory | kafka | rabbit] [--quick]\n       benches [kafka | rabbit] case NAME COUNT\n       benches [memory | kafka | rabbit] behaviour\n       benches gate BASELINE [--write]\n       benches measure WHO BROKER CASE --messages N --size B [--rate R] [--settings defaults|equal] [--headers none] [--beside N] [--handler MS] [--set PATH=VALUE]...\n       benches field BROKER [--quick] [--rounds N] [--parts PART,...] [--peers PROGRAM[=WHO,...]]...\n       benches render [--check]"
    );
    ExitCode::from(2)
}
