//! `cargo xtask soak`: producers and consumers under faults, with the broker they need.

use std::process::Command;

use crate::{
    brokers::{Fleet, Kind},
    demo::Binder,
    error::{Failure, Result},
    project::Project,
    run,
};

/// Runs `cargo xtask soak`; `rest` goes to the program.
pub(crate) fn main(project: &Project, binder: Binder, rest: &[String], install: bool) -> Result<()> {
    let built = run::run(&mut package(project, "build", binder))?;
    if !built.success() {
        return Err(Failure::failed("soak: the build failed"));
    }
    let broker: Vec<Kind> = binder.broker().into_iter().collect();
    let fleet = Fleet::up(project, &broker, None, install)?;
    let mut command = package(project, "run", binder);
    fleet.tell(&mut command).args(["--", "run", "--binder", binder.name()]).args(rest);
    let status = run::run(&mut command)?;
    if status.success() {
        return Ok(());
    }
    let failure = Failure::exit(run::exit_code(status), format!("soak: failed with binder {}", binder.name()));
    Err(failure.with_note(&fleet.tails()))
}

fn package(project: &Project, verb: &str, binder: Binder) -> Command {
    let mut command = project.cargo();
    command.args([verb, "--quiet", "--release", "--package", "soak"]);
    if binder != Binder::Memory {
        command.arg("--features").arg(format!("soak/{}", binder.name()));
    }
    command
}
