//! `cargo xtask bench`: the benchmarks, which are a workspace of their own.

use std::{collections::BTreeSet, env, fs, path::PathBuf, process::Command, time::Instant};

use clap::ValueEnum;

use crate::{
    brokers::{self, Fleet, Kind},
    demo::Binder,
    error::{Context, Failure, Result},
    project::Project,
    run,
};

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// The library in one process
    #[default]
    Memory,
    /// The library and the bare client on RabbitMQ
    Rabbit,
    /// The library and the bare client on Kafka
    Kafka,
    /// Instructions and allocations on memory, against benches/baseline.json
    Gate,
    /// What the smallest service on memory takes to build and to ship
    Size,
}

/// One of the two ways in which a broker is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// Ours and the bare client, case by case, in one process
    Table,
    /// Everybody by turns, each in a process of its own, into benches/results
    Field,
}

/// What is asked for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Wish {
    /// What is measured
    #[arg(value_enum, default_value_t)]
    what: What,
    /// One of the two ways only
    #[arg(value_enum)]
    how: Option<How>,
    /// Parts of the field, separated by commas: throughput, latency, first, sizes, bindings, handlers, tuning, memory
    #[arg(long)]
    parts: Option<String>,
    /// Rounds of the field that count
    #[arg(long)]
    rounds: Option<u32>,
    /// Only see that it works: one round with few messages
    #[arg(long)]
    quick: bool,
    /// With `gate`: write the baseline instead of comparing with it
    #[arg(long, conflicts_with = "quick")]
    write: bool,
    /// Install missing Debian packages
    #[arg(long)]
    install: bool,
}

/// Runs `cargo xtask bench`.
pub(crate) fn main(project: &Project, wish: &Wish) -> Result<()> {
    if wish.write && wish.what != What::Gate {
        return Err(Failure::setup("only `bench gate` has something to write"));
    }
    let is_field = !matches!(wish.what, What::Gate | What::Size) && wish.how != Some(How::Table);
    if !is_field && (wish.parts.is_some() || wish.rounds.is_some()) {
        return Err(Failure::setup("only a field has parts and rounds"));
    }
    match wish.what {
        What::Memory => carrier(project, Binder::Memory, wish),
        What::Rabbit => carrier(project, Binder::Rabbit, wish),
        What::Kafka => carrier(project, Binder::Kafka, wish),
        What::Gate | What::Size if wish.how.is_some() => {
            Err(Failure::setup("only what carries messages has a table and a field: memory, rabbit, kafka"))
        }
        What::Gate => gate(project, wish.write, wish.install),
        What::Size => size(project),
    }
}

/// Measures and prints tables.
fn carrier(project: &Project, binder: Binder, wish: &Wish) -> Result<()> {
    let broker: Vec<Kind> = binder.broker().into_iter().collect();
    brokers::check(project, &broker, wish.install)?;
    // The broker has the machine for itself only when nothing is compiled any more.
    run::run_ok(&mut cargo(project, "build", binder, wish.quick), "bench: the build")?;
    let peers = (wish.how != Some(How::Table)).then(|| peers(project, wish.quick)).transpose()?;
    let fleet = Fleet::up(project, &broker, None, false)?;
    let measure = |add: &dyn Fn(&mut Command)| {
        let mut command = cargo(project, "run", binder, wish.quick);
        add(fleet.tell(&mut command).arg("--"));
        command.args(wish.quick.then_some("--quick"));
        let status = run::run(&mut command)?;
        if status.success() {
            return Ok(());
        }
        let failure = Failure::exit(run::exit_code(status), format!("bench: {} failed", binder.name()));
        Err(failure.with_note(&fleet.tails()))
    };
    if wish.how != Some(How::Field) {
        measure(&|command| {
            command.arg(binder.name());
        })?;
    }
    let Some(peers) = peers else { return Ok(()) };
    let measured = measure(&|command| {
        command.args(["field", binder.name(), "--peers"]).arg(&peers);
        if let Some(parts) = &wish.parts {
            command.args(["--parts", parts]);
        }
        if let Some(rounds) = wish.rounds {
            command.args(["--rounds", &rounds.to_string()]);
        }
    });
    if !wish.quick {
        // who has failed stands in the tables
        let mut render = cargo(project, "run", binder, false);
        run::run_ok(render.args(["--", "render"]), "bench: the tables of the field")?;
    }
    measured
}

/// Builds the program of other libraries.
fn peers(project: &Project, quick: bool) -> Result<PathBuf> {
    let target = project.scratch("peers");
    let mut command = project.cargo();
    command.args(["build", "--locked", "--profile", profile(quick), "--manifest-path", "benches/peers/Cargo.toml"]);
    run::run_ok(command.env("CARGO_TARGET_DIR", &target), "bench: the other libraries")?;
    Ok(target.join(profile(quick)).join(format!("peers{}", env::consts::EXE_SUFFIX)))
}

/// Whose figures say nothing is built sooner.
fn profile(quick: bool) -> &'static str {
    if quick { "quick" } else { "release" }
}

/// Counts what cases cost and compares it with the baseline, or writes that.
fn gate(project: &Project, write: bool, install: bool) -> Result<()> {
    brokers::check_counting(install)?;
    let mut command = cargo(project, "run", Binder::Memory, false);
    command.args(["--locked", "--", "gate"]).arg(project.baseline()).args(write.then_some("--write"));
    run::run_ok(&mut command, "bench: the gate")
}

/// Builds `benches/hello` from nothing, and tells how long that takes and how large it is.
fn size(project: &Project) -> Result<()> {
    let target = project.scratch("hello");
    let hello = |verb: &str| {
        let mut command = project.cargo();
        command.args([verb, "--locked", "--manifest-path", "benches/hello/Cargo.toml"]);
        command.env("CARGO_TARGET_DIR", &target);
        command
    };
    // what is downloaded is no part of a build
    run::run_ok(&mut hello("fetch"), "bench: what it depends on")?;
    if target.exists() {
        fs::remove_dir_all(&target).context(format!("cannot remove {}", target.display()))?;
    }
    let begun = Instant::now();
    run::run_ok(&mut hello("build"), "bench: the debug build")?;
    let debug = begun.elapsed();
    run::run_ok(hello("build").arg("--release"), "bench: the release build")?;
    let program = target.join("release").join(format!("hello{}", env::consts::EXE_SUFFIX));
    let bytes = fs::metadata(&program).context(format!("cannot read {}", program.display()))?.len();
    let tree = hello("tree").args(["--edges", "normal", "--prefix", "none", "--package", "binder-core"]).output();
    let tree = tree.context("cannot run cargo tree")?;
    if !tree.status.success() {
        return Err(Failure::failed(format!("bench: cargo tree: {}", String::from_utf8_lossy(&tree.stderr))));
    }
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    println!("| what | figure | limit |");
    println!("|---|---|---|");
    println!("| release binary, stripped: MiB | {:.2} | 3 |", bytes as f64 / 1024.0 / 1024.0);
    println!("| crates of `binder-core` with its default features | {} | 80 |", crates(&tree));
    println!("| clean debug build: s | {:.0} | 60 |", debug.as_secs_f64());
    Ok(())
}

/// Counts the crates of a tree without prefixes: a crate stands there as often as somebody depends on it.
fn crates(tree: &str) -> usize {
    tree.lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect::<BTreeSet<_>>()
        .len()
}

fn cargo(project: &Project, verb: &str, binder: Binder, quick: bool) -> Command {
    let mut command = project.cargo();
    command.args([verb, "--profile", profile(quick), "--manifest-path", "benches/Cargo.toml"]);
    if binder != Binder::Memory {
        command.args(["--features", binder.name()]);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_and_each_of_its_versions() {
        let tree = "a v1.0.0 (/src/a)\nb v1.0.0\nc v2.0.0\nb v1.0.0 (*)\nb v1.1.0 (proc-macro)\n\n";
        assert_eq!(crates(tree), 4);
    }
}
