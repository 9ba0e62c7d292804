//! `cargo xtask conformance`: runs the conformance suite of every binder and writes what came of it into the guide.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
};

use crate::{
    brokers::{Fleet, Kind},
    error::{Context, Failure, Result},
    project::Project,
    run,
};

/// Each binder with its package.
const BINDERS: [(&str, &str); 3] = [("memory", "binder-core"), ("kafka", "binder-kafka"), ("rabbit", "binder-rabbit")];

const HEAD: &str = "# Conformance\n\n<!-- Written by `cargo xtask conformance`; do not edit. -->\n\n\
What every binder is tested for. [Writing a binder](binder-authors.md) tells how one of your own runs the suite. A case that does not apply\n\
is ignored, for the reason that is named below.\n";

/// What became of the cases of one binder, by name.
type Report = BTreeMap<String, Outcome>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Ignored(String),
}

/// Runs `cargo xtask conformance`.
pub(crate) fn main(project: &Project, install: bool) -> Result<()> {
    let fleet = Fleet::up(project, &[Kind::Kafka, Kind::Rabbit], None, install)?;
    let mut names = Vec::new();
    let mut reports = Vec::new();
    for (binder, package) in BINDERS {
        let text = output(project, &fleet, binder, package)?;
        let (order, report) = read(&text);
        if names.is_empty() {
            names = order;
        }
        reports.push((binder, report));
    }
    let path = project.guide("conformance.md");
    names.sort_by_key(|name| place(name));
    fs::write(&path, table(&names, &reports)).context(format_args!("cannot write {}", path.display()))?;
    eprintln!("== {} written", project.shown(&path));
    let failed = reports.iter().flat_map(|(binder, report)| {
        let failed = report.iter().filter(|(_, outcome)| **outcome == Outcome::Failed);
        failed.map(move |(name, _)| format!("{binder}: {name}"))
    });
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::failed(format!("these cases failed: {}", failed.join(", ")))) }
}

/// Runs the suite of one binder and returns what it printed.
fn output(project: &Project, fleet: &Fleet, binder: &str, package: &str) -> Result<String> {
    eprintln!("== conformance of {binder}");
    let path = project.scratch(&format!("conformance-{binder}.txt"));
    let file = File::create(&path).context(format_args!("cannot write {}", path.display()))?;
    let mut command = project.cargo();
    command
        .args(["test", "--package", package, "--all-features", "--test", "conformance"])
        .env("CI", "true")
        .stdout(file);
    // the outcome of each case says more than that of the program
    run::run(fleet.tell(&mut command))?;
    let text = fs::read_to_string(&path).context(format_args!("cannot read {}", path.display()))?;
    if text.contains("test result:") {
        return Ok(text);
    }
    Err(Failure::failed(format!("the conformance suite of {binder} did not run to its end")))
}

/// Reads what the suite printed, with the names in their order.
fn read(text: &str) -> (Vec<String>, Report) {
    let mut names = Vec::new();
    let mut report = Report::new();
    for line in text.lines() {
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) else {
            continue;
        };
        let name = name.trim().to_owned();
        let outcome = match outcome.trim() {
            "ok" => Outcome::Passed,
            "FAILED" => Outcome::Failed,
            ignored => Outcome::Ignored(reason(ignored)),
        };
        names.push(name.clone());
        report.insert(name, outcome);
    }
    (names, report)
}

/// Takes the reason out of `ignored (reason)`.
fn reason(text: &str) -> String {
    let inner = text.strip_prefix("ignored").unwrap_or(text).trim();
    inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner).to_owned()
}

/// Where a group stands in the table.
fn place(name: &str) -> (usize, String) {
    const GROUPS: [&str; 11] = [
        "basics",
        "lives",
        "roundtrip",
        "contract",
        "errors",
        "transactions",
        "settlement",
        "membership",
        "faults",
        "network",
        "load",
    ];
    let group = name.split("::").next().unwrap_or_default();
    (GROUPS.iter().position(|known| *known == group).unwrap_or(GROUPS.len()), name.to_owned())
}

fn table(names: &[String], reports: &[(&str, Report)]) -> String {
    let mut text = HEAD.to_owned();
    let mut group = "";
    let mut reasons = Vec::new();
    for name in names {
        let (of_case, case) = name.split_once("::").unwrap_or(("", name));
        if of_case != group {
            group = of_case;
            let binders: Vec<_> = reports.iter().map(|(binder, _)| *binder).collect();
            let _ = write!(
                text,
                "\n## {group}\n\n| case | {} |\n|---|{}\n",
                binders.join(" | "),
                "---|".repeat(binders.len())
            );
        }
        let cells: Vec<_> = reports.iter().map(|(_, report)| cell(report.get(name), &mut reasons)).collect();
        let _ = writeln!(text, "| `{case}` | {} |", cells.join(" | "));
    }
    text.push_str("\n## Why cases are ignored\n\n");
    for (index, reason) in reasons.iter().enumerate() {
        let _ = writeln!(text, "{}. {reason}", index + 1);
    }
    text
}

fn cell(outcome: Option<&Outcome>, reasons: &mut Vec<String>) -> String {
    match outcome {
        Some(Outcome::Passed) => "passed".to_owned(),
        Some(Outcome::Failed) => "**failed**".to_owned(),
        None => "not run".to_owned(),
        Some(Outcome::Ignored(reason)) => {
            let place = reasons.iter().position(|known| known == reason).unwrap_or_else(|| {
                reasons.push(reason.clone());
                reasons.len() - 1
            });
            format!("ignored ({})", place + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\nrunning 4 tests\n\
        test basics::topic       ... ok\n\
        test load::many_in_order ... FAILED\n\
        test errors::one         ... ignored (no broker)\n\
        test errors::two         ... ignored (no broker)\n\
        \ntest result: FAILED. 1 passed\n";

    #[test]
    fn outcomes_are_read_with_their_reasons() {
        let (names, report) = read(OUTPUT);
        assert_eq!(names, ["basics::topic", "load::many_in_order", "errors::one", "errors::two"]);
        assert_eq!(report["basics::topic"], Outcome::Passed);
        assert_eq!(report["load::many_in_order"], Outcome::Failed);
        assert_eq!(report["errors::two"], Outcome::Ignored("no broker".to_owned()));
    }

    #[test]
    fn the_table_names_a_reason_once() {
        let (names, report) = read(OUTPUT);
        let text = table(&names, &[("memory", report), ("other", Report::new())]);
        assert!(text.contains("| `topic` | passed | not run |"), "{text}");
        assert!(text.contains("| `one` | ignored (1) | not run |"), "{text}");
        assert!(text.contains("| `two` | ignored (1) | not run |"), "{text}");
        assert!(text.contains("| `many_in_order` | **failed** | not run |"), "{text}");
        assert!(text.ends_with("\n1. no broker\n"), "{text}");
    }
}
