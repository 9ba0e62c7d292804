//! The servers that one command needs: found or started together, and stopped together if they were started.

use std::{env, process::Command};

use super::{
    Kind,
    control::Place,
    deployment::Deployment,
    external,
    packages::{self, Need},
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
    /// Sees to it that servers run. One that was stopped goes on with its data; `nodes` says how many there are to be of a
    /// kind that can be a cluster, otherwise those that are there will do.
    pub(crate) fn up(project: &'a Project, kinds: &[Kind], nodes: Option<u32>, install: bool) -> Result<Self> {
        check(project, kinds, install)?;
        let mut fleet = Self { project, started: vec![], used: vec![], variables: vec![] };
        for kind in kinds {
            fleet.add(*kind, nodes)?;
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
        let tails = self.used.iter().map(|kind| Deployment::found(self.project, *kind).tails());
        tails.collect::<Vec<_>>().join("\n")
    }

    fn add(&mut self, kind: Kind, nodes: Option<u32>) -> Result<()> {
        let name = kind.name();
        if let Some(url) = outside(self.project, kind) {
            external::reach(kind.variable(), &url, kind.usual_port())?;
            eprintln!("{name}: using {}={}", kind.variable(), external::masked(&url));
            return Ok(());
        }
        let deployment = deployment(self.project, kind, nodes)?;
        if deployment.start(Place::Any)? {
            self.started.push(kind);
        } else {
            eprintln!("{name}: already running");
        }
        self.used.push(kind);
        self.variables.extend(deployment.variables());
        Ok(())
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        for kind in self.started.iter().rev() {
            match Deployment::found(self.project, *kind).remove() {
                Ok(()) => eprintln!("{}: stopped", kind.name()),
                Err(failure) => eprintln!("{}: {failure}", kind.name()),
            }
        }
    }
}

/// What is there, if it has the nodes that are wanted, or what is to be.
fn deployment(project: &Project, kind: Kind, nodes: Option<u32>) -> Result<Deployment<'_>> {
    let found = Deployment::found(project, kind);
    match nodes.filter(|_| kind.clusters()) {
        Some(nodes) if nodes != found.nodes() && found.known() => {
            let (name, there) = (kind.name(), found.nodes());
            Err(Failure::setup(format!(
                "there is a {name} with nodes: {there}, wanted: {nodes}; `cargo xtask brokers down {name}` first"
            )))
        }
        Some(nodes) => Ok(Deployment::of(project, kind, nodes)),
        None => Ok(found),
    }
}

/// Checks for everything that the tests of the whole workspace need, all features on.
pub(crate) fn check_tests(project: &Project, install: bool) -> Result<()> {
    check_with(project, &Kind::ALL, packages::TLS.to_vec(), install)
}

/// Checks for what counting instructions needs.
pub(crate) fn check_counting(install: bool) -> Result<()> {
    packages::ensure(&packages::COUNTING, install)
}

/// Checks for everything that these servers, and programs that talk to them, need.
pub(crate) fn check(project: &Project, kinds: &[Kind], install: bool) -> Result<()> {
    check_with(project, kinds, vec![], install)
}

fn check_with(project: &Project, kinds: &[Kind], mut needs: Vec<Need>, install: bool) -> Result<()> {
    for kind in kinds {
        if outside(project, *kind).is_none() {
            needs.extend(kind.servers(1).iter().flat_map(|server| server.needs()));
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
            kind.name(),
            kind.variable()
        ))),
    }
}

/// The URL of a server that the environment names and that is not ours.
pub(crate) fn outside(project: &Project, kind: Kind) -> Option<String> {
    let found = Deployment::found(project, kind);
    let own = if found.known() { found.variables().into_iter().next() } else { None };
    external::named(env::var(kind.variable()).ok(), own.as_ref().map(|(_, url)| url.as_str()))
}
