//! `cargo xtask bench`: the benchmarks, which are a workspace of their own.

use crate::{
    brokers::{Fleet, Kind},
    demo::Binder,
    error::{Failure, Result},
    project::Project,
    run,
};

/// Runs `cargo xtask bench`.
pub(crate) fn main(project: &Project, binder: Binder, install: bool) -> Result<()> {
    let broker: Vec<Kind> = binder.broker().into_iter().collect();
    let fleet = Fleet::up(project, &broker, None, install)?;
    let mut command = project.cargo();
    command.args(["run", "--release", "--manifest-path", "benches/Cargo.toml", "--", binder.name()]);
    let status = run::run(fleet.tell(&mut command))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::exit(run::exit_code(status), format!("bench: {} failed", binder.name())))
}
