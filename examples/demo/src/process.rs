//! A service in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::Failure;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// A child; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
}

/// How a service's program is started.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// The service, which is also the program's name.
    pub(crate) name: &'a str,
    /// Where its log goes.
    pub(crate) log: &'a Path,
    /// Variables of its environment.
    pub(crate) environment: Vec<(String, String)>,
    /// The folder with its `stream.yaml`.
    pub(crate) folder: PathBuf,
}

impl Program<'_> {
    /// Starts the program, and waits until it says where it listens.
    pub(crate) async fn start(self) -> Result<Process, Failure> {
        let failed = |reason: String| Failure::Start { service: self.name.to_owned(), reason };
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log)?;
        let mut child = Command::new(beside_us(self.name)?)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| failed("no standard output".to_owned()))?;
        let line = timeout(START_TIMEOUT, BufReader::new(output).lines().next_line()).await;
        let line = line.map_err(|_| failed(format!("silent for {START_TIMEOUT:?}")))??;
        let address =
            line.as_deref().and_then(|line| line.rsplit_once("http://")).and_then(|(_, address)| address.parse().ok());
        let address = address.ok_or_else(|| failed("it ended at once".to_owned()))?;
        Ok(Process { child, address })
    }
}

/// The services' programs are built into the folder of this one.
fn beside_us(name: &str) -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?.with_file_name(name);
    if program.is_file() {
        return Ok(program);
    }
    let reason = format!("{} is not there: build it, as examples/demo/README.md says", program.display());
    Err(Failure::Start { service: name.to_owned(), reason })
}

impl Process {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it to stop; kills it if it does not.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if !asked || timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills it with signal 9.
    pub(crate) async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            println!("    (killing: {error})");
        }
    }
}
