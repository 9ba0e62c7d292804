//! The servers that one command needs: found or started together, and stopped together if they were started.

use std::{env, process::Command};

use super::{
    Kind,
    control::{Control, Place},
    external, packages,
};
use crate::{
    error::{Failure, Result},
    project::Project,
};

/// Servers in use. Dropping it stops those that it started, however the command ends.
pub(crate) struct Fleet<'a> {
    project: &'a Project,
    started: Vec<Kind>,
    used: Vec<Kind>,
    variables: Vec<(&'static str, String)>,
}

impl<'a> Fleet<'a> {
    /// Sees to it that servers run. One that was stopped goes on with its data.
    pub(crate) fn up(project: &'a Project, kinds: &[Kind], install: bool) -> Result<Self> {
        check(project, kinds, install)?;
        let mut fleet = Self { project, started: vec![], used: vec![], variables: vec![] };
        for kind in kinds {
            fleet.add(*kind)?;
        }
        Ok(fleet)
    }

    /// The variables that name the servers.
    pub(crate) fn variables(&self) -> &[(&'static str, String)] {
        &self.variables
    }

    /// Tells a program where the servers are, and how it can stop and start them: `$DEMO_BROKERCTL brokers stop redis`.
    pub(crate) fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("DEMO_BROKERCTL", self.project.exe());
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// Leaves the servers running.
    pub(crate) fn keep(mut self) {
        self.started.clear();
    }

    /// The ends of the servers' logs.
    pub(crate) fn tails(&self) -> String {
        let tails = self.used.iter().map(|kind| Control::new(self.project, kind.server()).tail());
        tails.collect::<Vec<_>>().join("\n")
    }

    fn add(&mut self, kind: Kind) -> Result<()> {
        let name = kind.server().name();
        if let Some(url) = outside(self.project, kind) {
            let (variable, usual) = (variable(kind), kind.server().ports()[0].1);
            external::reach(variable, &url, usual)?;
            eprintln!("{name}: using {variable}={}", external::masked(&url));
            return Ok(());
        }
        let control = Control::new(self.project, kind.server());
        if control.start(Place::Any)? {
            self.started.push(kind);
        } else {
            eprintln!("{name}: already running");
        }
        self.used.push(kind);
        let ports = control.state().unwrap_or_default().ports;
        self.variables.extend(kind.server().variables(&ports));
        Ok(())
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        for kind in self.started.iter().rev() {
            match Control::new(self.project, kind.server()).remove() {
                Ok(()) => eprintln!("{}: stopped", kind.server().name()),
                Err(failure) => eprintln!("{}: {failure}", kind.server().name()),
            }
        }
    }
}

/// Checks for everything that these servers, and programs that talk to them, need.
pub(crate) fn check(project: &Project, kinds: &[Kind], install: bool) -> Result<()> {
    let mut needs = vec![];
    for kind in kinds {
        if outside(project, *kind).is_none() {
            needs.extend(kind.server().needs());
        }
        if *kind == Kind::Kafka {
            needs.extend(packages::BUILD);
        }
    }
    packages::ensure(&needs, install)?;
    let linux = std::path::Path::new("/proc/self/stat").exists();
    match kinds.iter().find(|kind| !linux && outside(project, **kind).is_none()) {
        None => Ok(()),
        Some(kind) => Err(Failure::setup(format!(
            "{} can be started only on Linux: use compose.yaml and set {}",
            kind.server().name(),
            variable(*kind)
        ))),
    }
}

/// The URL of a server that the environment names and that is not ours.
pub(crate) fn outside(project: &Project, kind: Kind) -> Option<String> {
    let state = Control::new(project, kind.server()).state();
    let own = state.map(|state| kind.server().variables(&state.ports).swap_remove(0).1);
    external::named(env::var(variable(kind)).ok(), own.as_deref())
}

/// The variable that names a server.
pub(crate) fn variable(kind: Kind) -> &'static str {
    kind.server().variables(&Default::default()).swap_remove(0).0
}
