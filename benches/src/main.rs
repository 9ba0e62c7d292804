//! What a message costs: `cargo xtask bench memory` runs `benches memory`.

mod memory;
mod measure;

use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["memory"] => memory::table(),
        ["case", name, count] => match count.parse() {
            Ok(count) => memory::run_once(name, count),
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: benches [memory | case NAME COUNT]");
    ExitCode::from(2)
}
