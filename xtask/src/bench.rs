//! `cargo xtask bench`: the benchmarks, which are a workspace of their own.

use std::process::Command;

use clap::ValueEnum;

use crate::{
    brokers::{self, Fleet, Kind},
    demo::Binder,
    error::{Failure, Result},
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
}

/// How a broker is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// Everybody by turns, each in a process of its own, into benches/results
    Field,
}

/// Runs `cargo xtask bench`.
pub(crate) fn main(
    project: &Project,
    what: What,
    how: Option<How>,
    quick: bool,
    write: bool,
    install: bool,
) -> Result<()> {
    if write && what != What::Gate {
        return Err(Failure::setup("only `bench gate` has something to write"));
    }
    match what {
        What::Memory => table(project, Binder::Memory, how, quick, install),
        What::Rabbit => table(project, Binder::Rabbit, how, quick, install),
        What::Kafka => table(project, Binder::Kafka, how, quick, install),
        What::Gate if how.is_some() => Err(Failure::setup("the gate has no field")),
        What::Gate => gate(project, write, install),
    }
}

/// Measures and prints tables.
fn table(project: &Project, binder: Binder, how: Option<How>, quick: bool, install: bool) -> Result<()> {
    let broker: Vec<Kind> = binder.broker().into_iter().collect();
    brokers::check(project, &broker, install)?;
    // The broker has the machine for itself only when nothing is compiled any more.
    run::run_ok(&mut cargo(project, "build", binder), "bench: the build")?;
    let fleet = Fleet::up(project, &broker, None, false)?;
    let mut command = cargo(project, "run", binder);
    let field = how.map(|How::Field| "field");
    fleet.tell(&mut command).arg("--").args(field).arg(binder.name()).args(quick.then_some("--quick"));
    let status = run::run(&mut command)?;
    if status.success() {
        return Ok(());
    }
    let failure = Failure::exit(run::exit_code(status), format!("bench: {} failed", binder.name()));
    Err(failure.with_note(&fleet.tails()))
}

/// Counts what cases cost and compares it with the baseline, or writes that.
fn gate(project: &Project, write: bool, install: bool) -> Result<()> {
    brokers::check_counting(install)?;
    let mut command = cargo(project, "run", Binder::Memory);
    command.args(["--locked", "--", "gate"]).arg(project.baseline()).args(write.then_some("--write"));
    run::run_ok(&mut command, "bench: the gate")
}

fn cargo(project: &Project, verb: &str, binder: Binder) -> Command {
    let mut command = project.cargo();
    command.args([verb, "--release", "--manifest-path", "benches/Cargo.toml"]);
    if binder != Binder::Memory {
        command.args(["--features", binder.name()]);
    }
    command
}
