//! The producers and consumers of a run.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::broker::Switch;
use crate::work::{self, Worker};
use crate::{Carrier, Fallible, Role, RunArguments, WorkerArguments};

/// How long a worker may take to finish what it does.
const PATIENCE: Duration = Duration::from_secs(60);

/// All workers, producers first.
pub(crate) struct Crew {
    broker: Switch,
    members: Vec<Member>,
    producers: usize,
    peak: u64,
}

struct Member {
    arguments: WorkerArguments,
    body: Body,
}

enum Body {
    /// On memory: an application in this process.
    Here(Worker),
    Process(Child),
    Gone,
}

impl Crew {
    pub(crate) async fn start(
        arguments: &RunArguments,
        broker: &Switch,
        destination: &str,
        folder: &Path,
    ) -> Fallible<Self> {
        let rate = arguments.rate / arguments.producers.max(1) as u32;
        let member = |role, index| Member {
            arguments: WorkerArguments {
                role,
                binder: arguments.binder,
                destination: destination.to_owned(),
                folder: folder.to_owned(),
                index,
                life: 0,
                rate,
            },
            body: Body::Gone,
        };
        let producers = (0..arguments.producers).map(|index| member(Role::Producer, index));
        let consumers = (0..arguments.consumers).map(|index| member(Role::Consumer, index));
        let members = producers.chain(consumers).collect::<Vec<_>>();
        let mut crew = Self { broker: broker.clone(), members, producers: arguments.producers, peak: 0 };
        for index in 0..crew.members.len() {
            crew.revive(index).await?;
        }
        Ok(crew)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns what a member is called in the report.
    pub(crate) fn role(&self, index: usize) -> &'static str {
        if index < self.producers { "producer" } else { "consumer" }
    }

    /// Starts a member that is gone.
    pub(crate) async fn revive(&mut self, index: usize) -> Fallible<()> {
        let member = &mut self.members[index];
        member.body = if member.arguments.binder == Carrier::Memory {
            Body::Here(work::start(&member.arguments, &self.broker).await?)
        } else {
            Body::Process(spawn(&member.arguments)?)
        };
        member.arguments.life += 1;
        Ok(())
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self, index: usize) -> Fallible<()> {
        self.note_memory(index);
        match std::mem::replace(&mut self.members[index].body, Body::Gone) {
            Body::Here(worker) => worker.kill().await,
            Body::Process(mut child) => child.kill().await?,
            Body::Gone => {}
        }
        Ok(())
    }

    /// Lets a member finish what it does.
    pub(crate) async fn stop(&mut self, index: usize) -> Fallible<()> {
        self.note_memory(index);
        match std::mem::replace(&mut self.members[index].body, Body::Gone) {
            Body::Here(worker) => worker.stop().await?,
            Body::Process(mut child) => {
                signal(&child, Signal::TERM)?;
                if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
                    child.kill().await?;
                    return Err(format!("{} {index} did not end in {PATIENCE:?}", self.role(index)).into());
                }
            }
            Body::Gone => {}
        }
        Ok(())
    }

    /// Freezes a member, as a machine that swaps or a debugger does; nothing on memory.
    pub(crate) async fn freeze(&self, index: usize, time: Duration) -> io::Result<()> {
        let Body::Process(child) = &self.members[index].body else { return Ok(()) };
        signal(child, Signal::STOP)?;
        tokio::time::sleep(time).await;
        signal(child, Signal::CONT)
    }

    pub(crate) async fn stop_producers(&mut self) -> Fallible<()> {
        for index in 0..self.producers {
            self.stop(index).await?;
        }
        Ok(())
    }

    pub(crate) async fn stop_all(&mut self) -> Fallible<()> {
        for index in 0..self.len() {
            self.stop(index).await?;
        }
        Ok(())
    }

    fn note_memory(&mut self, index: usize) {
        let pid = match &self.members[index].body {
            Body::Process(child) => child.id(),
            Body::Here(_) => Some(std::process::id()),
            Body::Gone => None,
        };
        self.peak = self.peak.max(pid.and_then(peak_kilobytes).unwrap_or_default());
    }

    /// Returns the most memory that a worker has used so far, in MiB.
    pub(crate) fn peak_memory(&mut self) -> u64 {
        (0..self.len()).for_each(|index| self.note_memory(index));
        self.peak / 1024
    }
}

fn spawn(arguments: &WorkerArguments) -> io::Result<Child> {
    let role = if arguments.role == Role::Producer { "producer" } else { "consumer" };
    // this very program, even if its file was replaced meanwhile
    Command::new("/proc/self/exe")
        .args(["worker", "--role", role, "--binder", arguments.binder.name()])
        .args(["--destination", &arguments.destination, "--folder"])
        .arg(&arguments.folder)
        .args(["--index", &arguments.index.to_string(), "--life", &arguments.life.to_string()])
        .args(["--rate", &arguments.rate.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let pid = pid.ok_or_else(|| io::Error::other("a worker has ended by itself"))?;
    Ok(kill_process(pid, signal)?)
}

fn peak_kilobytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
