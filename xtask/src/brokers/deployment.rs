//! The servers of one kind together: a single one, or the nodes of a cluster with what they share.
//!
//! Every change of servers happens here, one at a time, also between processes of this program.

use std::{
    fs::{self, File, TryLockError},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{
    Kind,
    control::{Control, Launched, Place},
    ports::{self, Ports},
    server::Node,
};
use crate::{
    error::{Context, Failure, Result},
    project::Project,
    signals,
};

/// Time for a server to end in good order.
const STOP: Duration = Duration::from_secs(40);

/// Servers of one kind, or some of them.
pub(crate) struct Deployment<'a> {
    project: &'a Project,
    kind: Kind,
    nodes: u32,
    /// Whether one node is meant, not the cluster.
    one: bool,
    /// In the order of their start: what the nodes share comes first.
    members: Vec<Control<'a>>,
}

impl<'a> Deployment<'a> {
    /// The servers that are there, running or stopped; as if there were one before the first start.
    pub(crate) fn found(project: &'a Project, kind: Kind) -> Self {
        let names = |node: Node| Node::name(Some(node), kind.name());
        let known = |node: &Node| project.brokers().join(names(*node)).join("state").exists();
        let nodes = (1..).map(|number| Node { number, of: number }).take_while(known).count();
        Self::of(project, kind, u32::try_from(nodes).unwrap_or_default().max(1))
    }

    /// So many servers, whether or not they have ever been started.
    pub(crate) fn of(project: &'a Project, kind: Kind, nodes: u32) -> Self {
        let nodes = if kind.clusters() { nodes } else { 1 };
        let members = kind.servers(nodes).into_iter().map(|server| Control::new(project, server)).collect();
        Self { project, kind, nodes, one: false, members }
    }

    /// Keeps one node of a cluster, and what it shares with the others.
    pub(crate) fn only(mut self, number: u32) -> Result<Self> {
        let (kind, nodes) = (self.kind.name(), self.nodes);
        if nodes == 1 || !(1..=nodes).contains(&number) {
            let there = if nodes == 1 { "is not a cluster".to_owned() } else { format!("has {nodes} nodes") };
            return Err(Failure::setup(format!("{kind}-{number}: {kind} {there}")));
        }
        let shared = self.members.len() - nodes as usize;
        let chosen = shared + number as usize - 1;
        let mut index = 0..;
        self.members.retain(|_| index.next().is_some_and(|index| index < shared || index == chosen));
        self.one = true;
        Ok(self)
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> u32 {
        self.nodes
    }

    /// The servers themselves.
    pub(crate) fn members(&self) -> &[Control<'a>] {
        &self.members
    }

    /// Whether any of them has ever been started and still has its data.
    pub(crate) fn known(&self) -> bool {
        self.members.iter().any(|member| member.state().is_some())
    }

    /// The variables that tell clients where the servers are. The first one, if set, names servers to be used instead.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let nodes = self.members.iter().map(|member| (member.home(), member.state().unwrap_or_default().ports));
        self.kind.variables(&nodes.collect::<Vec<_>>())
    }

    /// The ends of the servers' logs.
    pub(crate) fn tails(&self) -> String {
        self.members.iter().map(Control::tail).collect::<Vec<_>>().join("\n")
    }

    /// Starts the servers that do not run, all at once; says whether none ran before.
    pub(crate) fn start(&self, place: Place) -> Result<bool> {
        let _lock = self.lock(true)?;
        let stopped: Vec<_> = self.members.iter().filter(|member| !member.running()).collect();
        if stopped.is_empty() {
            return Ok(false);
        }
        self.reserve()?;
        let mut launched: Vec<(&Control<'_>, Launched)> = vec![];
        let place = if self.nodes > 1 { Place::Same } else { place };
        let started = stopped.iter().try_for_each(|member| {
            launched.push((member, member.launch(place)?));
            Ok(())
        });
        let started = started.and_then(|()| launched.iter().try_for_each(|(member, begun)| member.await_ready(begun)));
        if started.is_err() {
            launched.iter().for_each(|(member, begun)| member.abandon(begun));
            self.members.iter().for_each(Control::forget);
        }
        started.map(|()| stopped.len() == self.members.len())
    }

    /// Stops the servers in good order; their data stay.
    pub(crate) fn stop(&self) -> Result<()> {
        self.halt(Some(STOP))
    }

    /// Stops the servers with SIGKILL; their data stay.
    pub(crate) fn kill(&self) -> Result<()> {
        self.halt(None)
    }

    /// Sends a signal to the servers' processes.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let _lock = self.lock(false)?;
        let running = self.members.iter().filter_map(Control::state);
        running.flat_map(|state| state.processes).for_each(|process| process.signal(signal));
        Ok(())
    }

    /// Ends the servers and everything they have left, and deletes their data. Works after a signal, too.
    pub(crate) fn remove(&self) -> Result<()> {
        let _lock = self.lock(false)?;
        self.members.iter().rev().map(Control::remove).fold(Ok(()), Result::and)
    }

    /// The nodes end together: the last one of a cluster waits for the others otherwise.
    fn halt(&self, grace: Option<Duration>) -> Result<()> {
        let _lock = self.lock(true)?;
        let nodes = if self.one { 1 } else { self.nodes as usize };
        let (shared, nodes) = self.members.split_at(self.members.len() - nodes);
        thread::scope(|scope| {
            let halted: Vec<_> = nodes.iter().map(|node| scope.spawn(move || node.halt(grace))).collect();
            let halted =
                halted.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            halted.fold(Ok(()), Result::and)
        })?;
        if self.one { Ok(()) } else { shared.iter().rev().try_for_each(|member| member.halt(grace)) }
    }

    /// Gives every node of a cluster its ports before the first one starts: each must know the others'.
    fn reserve(&self) -> Result<()> {
        let new: Vec<_> = self.members.iter().filter(|member| member.state().is_none()).collect();
        if self.nodes == 1 || new.is_empty() {
            return Ok(());
        }
        let purposes = new.iter().flat_map(|member| {
            let name = member.server().name();
            member.server().ports().into_iter().map(move |(purpose, usual)| (format!("{name} {purpose}"), usual))
        });
        let purposes: Vec<_> = purposes.collect();
        let wanted: Vec<_> = purposes.iter().map(|(purpose, usual)| (purpose.as_str(), *usual)).collect();
        let chosen = ports::choose(&wanted)?;
        new.iter().try_for_each(|member| {
            let own = format!("{} ", member.server().name());
            let ports =
                chosen.iter().filter_map(|(purpose, port)| Some((purpose.strip_prefix(&own)?.to_owned(), *port)));
            member.reserve(ports.collect::<Ports>())
        })
    }

    fn lock(&self, until_signal: bool) -> Result<File> {
        let folder = self.project.brokers();
        fs::create_dir_all(&folder).context(format_args!("cannot create {}", folder.display()))?;
        let file = File::create(folder.join("lock")).context("cannot open the lock")?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(err)) => return Err(err).context("cannot lock"),
            }
            if until_signal {
                signals::check()?;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
