//! One server, whatever its kind: how it is started, waited for and ended. Whoever calls holds the lock of
//! [`deployment`](super::deployment).

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use super::{
    home::Home,
    ports::{self, Ports},
    process::{self, Process},
    server::{CLIENT, Server},
    state::State,
};
use crate::{
    error::{Context, Failure, Result},
    project::Project,
    signals,
};

/// Time for a server to answer after its start.
const START: Duration = Duration::from_secs(120);
/// How much of a log is shown.
const TAIL: usize = 30;

/// Which ports a start may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Those of the last run, else none: clients know them.
    Same,
    /// Those of the last run if they are free, else others.
    Any,
}

/// A server of this checkout.
pub(crate) struct Control<'a> {
    project: &'a Project,
    server: Box<dyn Server>,
    home: Home,
}

/// A server that has been launched and does not answer yet.
pub(crate) struct Launched {
    first: bool,
    begun: Instant,
    state: State,
}

impl<'a> Control<'a> {
    /// A server in this checkout, running or not.
    pub(crate) fn new(project: &'a Project, server: Box<dyn Server>) -> Self {
        let home = Home::new(project.brokers().join(server.name()));
        Self { project, server, home }
    }

    /// What the server says of itself.
    pub(crate) fn server(&self) -> &dyn Server {
        &*self.server
    }

    /// Where the server lives.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// What the last start left, whether it still runs or not.
    pub(crate) fn state(&self) -> Option<State> {
        State::load(self.home.path())
    }

    /// Whether the server runs.
    pub(crate) fn running(&self) -> bool {
        self.state().is_some_and(|state| state.running())
    }

    /// The end of the log, with its name.
    pub(crate) fn tail(&self) -> String {
        let (log, name) = (self.home.log(), self.server.name());
        format!("--- {name}: end of {}\n{}", self.project.shown(&log), self.home.tail(TAIL))
    }

    /// The log as a person wants to read its name.
    pub(crate) fn log(&self) -> String {
        self.project.shown(&self.home.log()).to_string()
    }

    /// Gives the server ports before its first start, so that others can know them.
    pub(crate) fn reserve(&self, ports: Ports) -> Result<()> {
        let state = State { ports, processes: vec![] };
        fs::create_dir_all(self.home.path()).context("cannot create the server's folder")?;
        state.save(self.home.path()).context("cannot write the state")
    }

    /// Starts the server's processes.
    pub(crate) fn launch(&self, place: Place) -> Result<Launched> {
        let begun = Instant::now();
        let first = !self.home.data().exists();
        self.home.create()?;
        self.end(None); // half of a server is none
        if first {
            fs::write(self.home.log(), "").context("cannot empty the log")?;
        }
        let launched = self.server.prepare(&self.home).and_then(|()| self.spawn(place));
        match launched {
            Ok(state) => Ok(Launched { first, begun, state }),
            Err(failure) => Err(self.failed(failure, first)),
        }
    }

    /// Waits until a launched server answers.
    pub(crate) fn await_ready(&self, launched: &Launched) -> Result<()> {
        let ports = &launched.state.ports;
        let ready = || self.server.ready(ports) && (!launched.first || self.server.joined(ports));
        await_ready(&self.server.name(), &launched.state.processes, ready)
            .map_err(|failure| self.failed(failure, launched.first))?;
        if let Some(port) = ports.get(CLIENT) {
            let seconds = launched.begun.elapsed().as_secs_f32();
            eprintln!("{}: up on 127.0.0.1:{port} after {seconds:.1} s", self.server.name());
        }
        Ok(())
    }

    /// Takes back a launch, because another one of the same start failed.
    pub(crate) fn abandon(&self, launched: &Launched) {
        self.end(None);
        if launched.first {
            let _ = self.home.wipe(); // the failure that led here is the one to tell
        }
    }

    /// Gives up the ports that were reserved for a start that did not come.
    pub(crate) fn forget(&self) {
        if !self.home.data().exists() {
            let _ = self.home.wipe(); // the failure that led here is the one to tell
        }
    }

    /// Ends the server, after some time by force; its ports and data stay.
    pub(crate) fn halt(&self, grace: Option<Duration>) -> Result<()> {
        self.end(grace);
        let Some(mut state) = self.state() else {
            return Ok(());
        };
        state.processes.clear();
        state.save(self.home.path()).context("cannot write the state")?;
        let closed = || state.ports.values().all(|port| ports::free(*port));
        if signals::poll(Duration::from_secs(5), closed) {
            return Ok(());
        }
        Err(Failure::failed(format!("{}: a port is still open", self.server.name())))
    }

    /// Ends the server and everything it has left, and deletes its data. Works after a signal, too.
    pub(crate) fn remove(&self) -> Result<()> {
        self.end(None);
        self.home.wipe()
    }

    fn end(&self, grace: Option<Duration>) {
        let known = self.state().unwrap_or_default().processes;
        for process in known.iter().rev() {
            let forced = process.end(grace);
            if forced && grace.is_some() {
                eprintln!("{}: process {} had to be killed", self.server.name(), process.pid());
            }
        }
        let gone = || process::offspring(self.home.path()).is_empty();
        if grace.is_some() && signals::poll(Duration::from_secs(2), gone) {
            return;
        }
        signals::poll(Duration::from_secs(5), || {
            for left in process::offspring(self.home.path()) {
                left.end(None);
            }
            gone()
        });
    }

    fn failed(&self, failure: Failure, first: bool) -> Failure {
        self.end(None);
        let failure = match failure.code() {
            1 => failure.with_note(&self.tail()),
            _ => failure,
        };
        match if first { self.home.wipe() } else { Ok(()) } {
            Ok(()) => failure,
            Err(left) => failure.with_note(&left.to_string()), // data half made
        }
    }

    fn place(&self, place: Place) -> Result<Ports> {
        let wanted = self.server.ports();
        let Some(state) = self.state() else {
            return ports::choose(&wanted);
        };
        let complete = wanted.iter().all(|(purpose, _)| state.ports.contains_key(*purpose));
        match state.ports.values().find(|port| !ports::free(**port)) {
            None if complete => Ok(state.ports),
            _ if place == Place::Any => ports::choose(&wanted),
            None => Err(Failure::failed(format!("{}: its ports are not known", self.server.name()))),
            Some(port) => Err(Failure::failed(format!("{}: port {port} is taken", self.server.name()))),
        }
    }

    fn spawn(&self, place: Place) -> Result<State> {
        let ports = self.place(place)?;
        let processes = self.server.launch(&self.home, &ports)?;
        let state = State { ports, processes };
        state.save(self.home.path()).context("cannot write the state")?;
        Ok(state)
    }
}

/// Waits until a server answers, it ends, a signal comes or the time is over.
pub(crate) fn await_ready(name: &str, processes: &[Process], ready: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + START;
    while !ready() {
        signals::check()?;
        if !processes.iter().all(Process::alive) {
            return Err(Failure::failed(format!("{name}: ended while starting")));
        }
        if Instant::now() >= end {
            return Err(Failure::failed(format!("{name}: no answer within {} s", START.as_secs())));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
