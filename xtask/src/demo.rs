//! `cargo xtask demo`: the demonstration, with the servers it needs.

use std::process::Command;

use clap::ValueEnum;

use crate::{
    brokers::{self, Fleet, Kind},
    error::{Failure, Result},
    project::Project,
    run,
};

/// What carries the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Binder {
    /// Everything in one process, nothing to install
    #[default]
    Memory,
    /// RabbitMQ and Redis
    Rabbit,
    /// Kafka and Redis
    Kafka,
}

impl Binder {
    /// Its name on command lines and among cargo features.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Rabbit => "rabbit",
            Self::Kafka => "kafka",
        }
    }

    /// The broker it talks to.
    pub(crate) fn broker(self) -> Option<Kind> {
        match self {
            Self::Memory => None,
            Self::Rabbit => Some(Kind::Rabbit),
            Self::Kafka => Some(Kind::Kafka),
        }
    }

    fn servers(self) -> Vec<Kind> {
        self.broker().into_iter().flat_map(|broker| [broker, Kind::Redis]).collect()
    }
}

/// Runs `cargo xtask demo`; fails with the demonstration's own exit code.
pub(crate) fn main(project: &Project, binder: Binder, instances: Option<u32>, install: bool) -> Result<()> {
    brokers::check(project, &binder.servers(), install)?;
    play(project, binder, instances, "")
}

/// Runs the demonstration with what the tests have been built with: the Kafka client is not compiled a second time.
pub(crate) fn tested(project: &Project, binder: Binder) -> Result<()> {
    play(project, binder, None, ",demo/tls")
}

fn play(project: &Project, binder: Binder, instances: Option<u32>, features: &str) -> Result<()> {
    let built = run::run(&mut package(project, "build", binder, features))?;
    if !built.success() {
        return Err(Failure::failed("demo: the build failed"));
    }
    let fleet = Fleet::up(project, &binder.servers(), None, false)?;
    let mut command = package(project, "run", binder, features);
    fleet.tell(&mut command).args(["--", "--binder", binder.name()]);
    if let Some(instances) = instances {
        command.args(["--instances", &instances.to_string()]);
    }
    let status = run::run(&mut command)?;
    if status.success() {
        return Ok(());
    }
    let failure = Failure::exit(run::exit_code(status), format!("demo: failed with binder {}", binder.name()));
    Err(failure.with_note(&fleet.tails()))
}

fn package(project: &Project, verb: &str, binder: Binder, features: &str) -> Command {
    let mut command = project.cargo();
    command.args([verb, "--quiet", "--package", "demo"]);
    if binder != Binder::Memory {
        command.arg("--features").arg(format!("demo/{}{features}", binder.name()));
        if verb == "build" {
            // On a broker the demonstration starts the services' own programs, which have to lie beside it.
            command.args(["--package", "organization", "--package", "licensing", "--package", "audit"]);
        }
    }
    command
}
