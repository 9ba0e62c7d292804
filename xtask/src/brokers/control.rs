//! Start, stop and kill of one server, whatever its kind.

use std::{
    fs::{self, File, TryLockError},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{
    home::Home,
    ports,
    process::{self, Process},
    server::Server,
    state::State,
};
use crate::{
    error::{Context, Failure, Result},
    project::Project,
    signals,
};

/// Time for a server to answer after its start.
const START: Duration = Duration::from_secs(120);
/// Time for a server to end in good order.
const STOP: Duration = Duration::from_secs(40);
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
    server: &'static dyn Server,
    home: Home,
}

impl<'a> Control<'a> {
    /// The server of a kind in this checkout, running or not.
    pub(crate) fn new(project: &'a Project, server: &'static dyn Server) -> Self {
        let home = Home::new(project.brokers().join(server.name()));
        Self { project, server, home }
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

    /// Starts the server unless it runs; says whether it had to.
    pub(crate) fn start(&self, place: Place) -> Result<bool> {
        let _lock = self.lock(true)?;
        if self.running() {
            return Ok(false);
        }
        self.home.create()?;
        self.end_all(None); // half of a server is none
        let known = self.state();
        let first = known.is_none();
        if first {
            fs::write(self.home.log(), "").context("cannot empty the log")?;
        }
        let ports = self.place(known, place)?;
        self.server.prepare(&self.home)?;
        let begun = Instant::now();
        if let Err(failure) = self.launch(&ports) {
            self.end_all(None);
            if first {
                self.home.wipe()?; // data half made
            }
            return Err(match failure.code() {
                1 => failure.with_note(&self.tail()),
                _ => failure,
            });
        }
        let port = ports.get(super::server::CLIENT).copied().unwrap_or_default();
        eprintln!("{}: up on 127.0.0.1:{port} after {:.1} s", self.server.name(), begun.elapsed().as_secs_f32());
        Ok(true)
    }

    /// Stops the server; its data stay.
    pub(crate) fn stop(&self) -> Result<()> {
        self.halt(Some(STOP))
    }

    /// Stops the server with SIGKILL; its data stay.
    pub(crate) fn kill(&self) -> Result<()> {
        self.halt(None)
    }

    /// Ends the server and everything it has left, and deletes its data. Works after a signal, too.
    pub(crate) fn remove(&self) -> Result<()> {
        let _lock = self.lock(false)?;
        self.end_all(None);
        self.home.wipe()
    }

    fn halt(&self, grace: Option<Duration>) -> Result<()> {
        let _lock = self.lock(true)?;
        self.end_all(grace);
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

    fn end_all(&self, grace: Option<Duration>) {
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

    fn place(&self, known: Option<State>, place: Place) -> Result<ports::Ports> {
        let Some(state) = known else {
            return ports::choose(self.server.ports());
        };
        match state.ports.values().find(|port| !ports::free(**port)) {
            None => Ok(state.ports),
            Some(_) if place == Place::Any => ports::choose(self.server.ports()),
            Some(port) => Err(Failure::failed(format!("{}: port {port} is taken", self.server.name()))),
        }
    }

    fn launch(&self, ports: &ports::Ports) -> Result<()> {
        let processes = self.server.launch(&self.home, ports)?;
        let state = State { ports: ports.clone(), processes };
        state.save(self.home.path()).context("cannot write the state")?;
        await_ready(self.server.name(), &state.processes, || self.server.ready(ports))
    }

    /// One change of a server at a time, also between processes of this program.
    fn lock(&self, until_signal: bool) -> Result<File> {
        let folder: PathBuf = self.project.brokers();
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
