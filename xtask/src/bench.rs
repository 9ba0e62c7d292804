//! `cargo xtask bench`: the benchmarks, which are a workspace of their own.

use std::process::Command;

use crate::{
    brokers::{self, Fleet, Kind},
    demo::Binder,
    error::{Failure, Result},
    project::Project,
    run,
};

/// Runs `cargo xtask bench`.
pub(crate) fn main(project: &Project, binder: Binder, quick: bool, install: bool) -> Result<()> {
    let broker: Vec<Kind> = binder.broker().into_iter().collect();
    brokers::check(project, &broker, install)?;
    // The broker has the machine for itself only when nothing is compiled any more.
    run::run_ok(&mut cargo(project, "build", binder), "bench: the build")?;
    let fleet = Fleet::up(project, &broker, None, false)?;
    let mut command = cargo(project, "run", binder);
    fleet.tell(&mut command).args(["--", binder.name()]).args(quick.then_some("--quick"));
    let status = run::run(&mut command)?;
    if status.success() {
        return Ok(());
    }
    let failure = Failure::exit(run::exit_code(status), format!("bench: {} failed", binder.name()));
    Err(failure.with_note(&fleet.tails()))
}

fn cargo(project: &Project, verb: &str, binder: Binder) -> Command {
    let mut command = project.cargo();
    command.args([verb, "--release", "--manifest-path", "benches/Cargo.toml"]);
    if binder != Binder::Memory {
        command.args(["--features", binder.name()]);
    }
    command
}
