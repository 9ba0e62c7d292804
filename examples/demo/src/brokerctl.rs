//! The program that stops and starts servers.

use std::path::PathBuf;

use tokio::process::Command;

use crate::error::Failure;

/// `PROGRAM brokers stop|start SERVER`.
#[derive(Clone, Debug)]
pub(crate) struct BrokerCtl(PathBuf);

impl BrokerCtl {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self(program)
    }

    pub(crate) async fn stop(&self, server: &str) -> Result<(), Failure> {
        self.run("stop", server).await
    }

    pub(crate) async fn start(&self, server: &str) -> Result<(), Failure> {
        self.run("start", server).await
    }

    async fn run(&self, verb: &str, server: &str) -> Result<(), Failure> {
        let failed = |reason: String| Failure::BrokerCtl { command: format!("brokers {verb} {server}"), reason };
        let output = Command::new(&self.0).args(["brokers", verb, server]).kill_on_drop(true).output().await;
        let output = output.map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
    }
}
