//! The gate: what the cases of memory cost may not grow. It counts instructions and allocations, which do not depend on how busy the machine
//! is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::memory;

/// How much of its baseline a case may cost more.
const TOLERANCE: f64 = 0.03;

/// Allocations for each message below which a difference is that of one run.
const STRAY_ALLOCATIONS: f64 = 0.001;

/// Instructions for each message that the compiler adds or saves because something else in the program changes.
const STRAY_INSTRUCTIONS: f64 = 8.0;

/// Measures and compares with the baseline, or writes it.
pub fn main(path: &Path, write: bool) -> ExitCode {
    let Some(measured) = Baseline::measure() else {
        eprintln!("instructions can't be counted: valgrind is not there, or failed");
        return ExitCode::from(2);
    };
    let done =
        if write { measured.write(path) } else { Baseline::read(path).and_then(|known| judge(&known, &measured)) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// What the cases cost with one compiler and the dependencies of one lock file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Baseline {
    compiler: String,
    /// A hash of `Cargo.lock`.
    lock: String,
    cases: BTreeMap<String, Figures>,
}

/// For each message.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Figures {
    instructions: f64,
    allocations: f64,
}

impl Baseline {
    fn measure() -> Option<Self> {
        let mut cases = BTreeMap::new();
        for case in memory::CASES {
            let (instructions, allocations) = case.counts()?;
            let figures =
                Figures { instructions: instructions.round(), allocations: (allocations * 1e4).round() / 1e4 };
            cases.insert(case.name.to_owned(), figures);
        }
        Some(Self { compiler: env!("COMPILER").to_owned(), lock: hash(include_bytes!("../Cargo.lock")), cases })
    }

    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|cause| format!("cannot read {}: {cause}", path.display()))?;
        serde_json::from_str(&text).map_err(|cause| format!("{} is no baseline: {cause}", path.display()))
    }

    fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|cause| cause.to_string())?;
        std::fs::write(path, text + "\n").map_err(|cause| format!("cannot write {}: {cause}", path.display()))
    }
}

/// Prints all cases, and names those that cost more than they may.
fn judge(known: &Baseline, measured: &Baseline) -> Result<(), String> {
    let again = "measure again with `cargo xtask bench gate --write`, and say in the commit why";
    if known.compiler != measured.compiler {
        return Err(format!("the baseline is of {}, this is {}: {again}", known.compiler, measured.compiler));
    }
    if known.lock != measured.lock {
        return Err(format!("the baseline is of another benches/Cargo.lock: {again}"));
    }
    println!("| case | instructions: baseline, now | allocations: baseline, now | |");
    println!("|---|---|---|---|");
    let mut worse = Vec::new();
    for (name, now) in &measured.cases {
        let Some(before) = known.cases.get(name) else { return Err(format!("the baseline has no {name}: {again}")) };
        let verdict = Verdict::of(*before, *now);
        println!(
            "| {name} | {}, {} | {}, {} | {verdict} |",
            before.instructions, now.instructions, before.allocations, now.allocations
        );
        if matches!(verdict, Verdict::Worse(_)) {
            worse.push(format!("{name} costs {verdict}"));
        }
    }
    if let Some(gone) = known.cases.keys().find(|name| !measured.cases.contains_key(*name)) {
        return Err(format!("no case is called {gone} any more: {again}"));
    }
    if worse.is_empty() { Ok(()) } else { Err(worse.join("\n")) }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Same,
    /// The baseline could be lowered.
    Better,
    /// Of what.
    Worse(&'static str),
}

impl Verdict {
    fn of(before: Figures, now: Figures) -> Self {
        let grown = |before: f64, now: f64, stray: f64| now > (before * (1.0 + TOLERANCE)).max(before + stray);
        if grown(before.instructions, now.instructions, STRAY_INSTRUCTIONS) {
            return Self::Worse("more instructions than it may");
        }
        if grown(before.allocations, now.allocations, STRAY_ALLOCATIONS) {
            return Self::Worse("more allocations than it may");
        }
        if grown(now.instructions, before.instructions, STRAY_INSTRUCTIONS) { Self::Better } else { Self::Same }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "",
            Self::Better => "fewer: lower the baseline",
            Self::Worse(what) => what,
        })
    }
}

/// FNV-1a, which is the same with every compiler; nobody tries to find two lock files with one hash.
fn hash(bytes: &[u8]) -> String {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(instructions: f64, allocations: f64) -> Figures {
        Figures { instructions, allocations }
    }

    fn baseline(cases: &[(&str, Figures)]) -> Baseline {
        let cases = cases.iter().map(|(name, figures)| ((*name).to_owned(), *figures)).collect();
        Baseline { compiler: "rustc 1".to_owned(), lock: "a".to_owned(), cases }
    }

    #[test]
    fn what_costs_three_percent_more_passes_and_more_does_not() {
        let before = figures(1000.0, 0.0041);
        assert_eq!(Verdict::of(before, figures(1030.0, 0.0041)), Verdict::Same);
        assert_eq!(Verdict::of(before, figures(1031.0, 0.0041)), Verdict::Worse("more instructions than it may"));
        assert_eq!(Verdict::of(before, figures(1000.0, 0.0060)), Verdict::Worse("more allocations than it may"));
        assert_eq!(Verdict::of(figures(1000.0, 0.0), figures(1000.0, 0.0005)), Verdict::Same);
        assert_eq!(Verdict::of(before, figures(900.0, 0.0041)), Verdict::Better);
        let small = figures(100.0, 0.0);
        assert_eq!(Verdict::of(small, figures(108.0, 0.0)), Verdict::Same, "so much the compiler moves");
        assert_eq!(Verdict::of(small, figures(109.0, 0.0)), Verdict::Worse("more instructions than it may"));
        assert_eq!(Verdict::of(small, figures(92.0, 0.0)), Verdict::Same);
        assert_eq!(Verdict::of(small, figures(91.0, 0.0)), Verdict::Better);
    }

    #[test]
    fn a_case_that_costs_more_is_named() {
        let known = baseline(&[("drain", figures(100.0, 0.0)), ("fill", figures(100.0, 0.0))]);
        let measured = baseline(&[("drain", figures(120.0, 0.0)), ("fill", figures(100.0, 1.0))]);
        assert_eq!(judge(&known, &known), Ok(()));
        let text = judge(&known, &measured).unwrap_err();
        assert_eq!(text, "drain costs more instructions than it may\nfill costs more allocations than it may");
    }

    #[test]
    fn what_cant_be_compared_does_not_pass() {
        let known = baseline(&[("drain", figures(100.0, 0.0))]);
        for (other, begins) in [
            (
                Baseline { compiler: "rustc 2".to_owned(), ..known.clone() },
                "the baseline is of rustc 1, this is rustc 2",
            ),
            (Baseline { lock: "b".to_owned(), ..known.clone() }, "the baseline is of another benches/Cargo.lock"),
            (baseline(&[]), "no case is called drain any more"),
            (baseline(&[("drain", figures(1.0, 0.0)), ("new", figures(1.0, 0.0))]), "the baseline has no new"),
        ] {
            let text = judge(&known, &other).unwrap_err();
            assert!(text.starts_with(begins) && text.contains("bench gate --write"), "{text}");
        }
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!((hash(b"").as_str(), hash(b"a").as_str()), ("cbf29ce484222325", "af63dc4c8601ec8c"));
    }
}
