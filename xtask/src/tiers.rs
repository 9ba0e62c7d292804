//! `cargo xtask test`: the tests, from those that need nothing to all that CI runs.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    brokers::{self, Fleet, Kind},
    demo::{self, Binder},
    error::{Failure, Result},
    project::Project,
    run, soak,
};

/// Nodes of a cluster.
const NODES: u32 = 3;

/// Groups of the conformance suite that are repeated: what goes wrong under load does so now and then only.
const STRESSED: [&str; 2] = ["load::", "membership::"];

/// How often.
const ROUNDS: u32 = 20;

/// How long each binder runs under random faults.
const SOAK_MINUTES: &str = "10";

const BINDERS: [Binder; 3] = [Binder::Memory, Binder::Rabbit, Binder::Kafka];

/// How much is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// What needs no broker.
    Fast,
    /// Every case once, on single nodes.
    Default,
    /// The default, clusters, and what takes long: hours in all.
    Full,
}

/// Runs `cargo xtask test`.
pub(crate) fn main(project: &Project, tier: Tier, install: bool) -> Result<()> {
    let mut steps = Steps { begun: Instant::now(), done: vec![] };
    let result = match tier {
        Tier::Fast => fast(project, &mut steps),
        Tier::Default => default(project, &mut steps, install),
        Tier::Full => default(project, &mut steps, install)
            .and_then(|()| stressed(project, &mut steps))
            .and_then(|()| clusters(project, &mut steps))
            .and_then(|()| soaked(project, &mut steps)),
    };
    eprintln!("== {}", steps.summary(result.is_ok()));
    result
}

fn fast(project: &Project, steps: &mut Steps) -> Result<()> {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--exclude", "binder-kafka", "--exclude", "binder-rabbit"]);
    steps.step("cargo test, no broker", || run::run_ok(&mut command, "cargo test"))
}

fn default(project: &Project, steps: &mut Steps, install: bool) -> Result<()> {
    steps.step("prerequisites", || brokers::check_tests(project, install))?;
    let build = &mut workspace(project);
    steps.step("build of the tests", || run::run_ok(build.arg("--no-run"), "build of the tests"))?;
    let fleet = steps.step("brokers", || Fleet::up(project, &Kind::ALL, None, false))?;
    let test = &mut workspace(project);
    let tested = steps.step("cargo test", || run::run_ok(fleet.tell(test), "cargo test"));
    tested.map_err(|failure| failure.with_note(&fleet.tails()))?;
    for package in ["binder-kafka", "binder-rabbit"] {
        let test = &mut conformance(project, &[package]);
        let tested = steps.step(&format!("conformance of {package}"), || run::run_ok(fleet.tell(test), "cargo test"));
        tested.map_err(|failure| failure.with_note(&fleet.tails()))?;
    }
    for binder in BINDERS {
        let demo = || demo::tested(project, binder);
        steps.step(&format!("demo {}", binder.name()), demo).map_err(|failure| match failure.code() {
            130 => failure,
            _ => Failure::failed(failure.to_string()),
        })?;
    }
    Ok(())
}

/// What goes wrong under load, on every binder, again and again.
fn stressed(project: &Project, steps: &mut Steps) -> Result<()> {
    let fleet = Fleet::up(project, &[Kind::Kafka, Kind::Rabbit], None, false)?;
    for group in STRESSED {
        let test = &mut conformance(project, &["binder-core", "binder-kafka", "binder-rabbit"]);
        test.args(["--", group]).env("CONFORMANCE_REPEAT", ROUNDS.to_string());
        let tested = steps.step(&format!("{group} {ROUNDS} times"), || run::run_ok(fleet.tell(test), "cargo test"));
        tested.map_err(|failure| failure.with_note(&fleet.tails()))?;
    }
    Ok(())
}

/// The conformance suite of some packages. On brokers it is not among what `cargo test` runs by itself: it takes minutes.
fn conformance(project: &Project, packages: &[&str]) -> Command {
    let mut command = project.cargo();
    command.args(["test", "--all-features", "--no-fail-fast", "--test", "conformance"]).env("CI", "true");
    for package in packages {
        command.args(["--package", package]);
    }
    command
}

/// Faults for long, drawn anew each time.
fn soaked(project: &Project, steps: &mut Steps) -> Result<()> {
    let rest = ["--minutes", SOAK_MINUTES, "--faults"].map(str::to_owned);
    for binder in BINDERS {
        let soak = || soak::main(project, binder, &rest, false);
        steps.step(&format!("soak of {SOAK_MINUTES} min on {}", binder.name()), soak)?;
    }
    Ok(())
}

/// Clusters that lose a node.
fn clusters(project: &Project, steps: &mut Steps) -> Result<()> {
    let up = || Fleet::up(project, &[Kind::Kafka, Kind::Rabbit], Some(NODES), false);
    let fleet = steps.step("clusters", up)?;
    let test = &mut workspace(project);
    test.args(["--test", "cluster"]);
    let tested = steps.step("cargo test on clusters", || run::run_ok(fleet.tell(test), "cargo test"));
    tested.map_err(|failure| failure.with_note(&fleet.tails()))
}

fn workspace(project: &Project) -> Command {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--all-features"]).env("CI", "true");
    command
}

/// The steps of a run, with the time each took.
struct Steps {
    begun: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    fn step<T>(&mut self, name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("== {name} ({} s)", self.begun.elapsed().as_secs());
        let begun = Instant::now();
        let result = action();
        self.done.push((name.to_owned(), begun.elapsed()));
        result
    }

    fn summary(&self, passed: bool) -> String {
        let steps: Vec<_> = self.done.iter().map(|(name, time)| format!("{name} {} s", time.as_secs())).collect();
        let verdict = if passed { "passed" } else { "FAILED" };
        format!("{verdict} in {} s: {}", self.begun.elapsed().as_secs(), steps.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Steps {
        Steps { begun: Instant::now(), done: vec![] }
    }

    #[test]
    fn summary_lists_steps_in_order() {
        let mut steps = steps();
        steps.step("one", || Ok(())).unwrap();
        steps.step("two", || Ok(())).unwrap();
        assert_eq!(steps.summary(true), "passed in 0 s: one 0 s, two 0 s");
    }

    #[test]
    fn summary_of_a_failure_ends_with_the_step_that_failed() {
        let mut steps = steps();
        let failed: Result<()> = steps.step("one", || Err(Failure::failed("no")));
        assert!(failed.is_err());
        assert_eq!(steps.summary(false), "FAILED in 0 s: one 0 s");
    }
}
