//! The broker, and what switches it.

use std::io;

use binder_core::memory::MemoryBinder;
use binder_core::testkit::suite::{Unsteady, Verb};
use tokio::process::Command;

use crate::Carrier;

/// Stops, kills and starts the broker.
#[derive(Clone)]
pub(crate) struct Switch {
    pub(crate) carrier: Carrier,
    /// What all applications share on memory.
    pub(crate) memory: Unsteady,
    /// The program that switches a real broker.
    program: Option<String>,
}

impl Switch {
    pub(crate) fn new(carrier: Carrier) -> Self {
        Self {
            carrier,
            memory: Unsteady::new(MemoryBinder::new()),
            program: std::env::var("DEMO_BROKERCTL").ok().filter(|_| carrier != Carrier::Memory),
        }
    }

    /// Returns whether there is something to switch.
    pub(crate) fn works(&self) -> bool {
        self.carrier == Carrier::Memory || self.program.is_some()
    }

    /// `stop`, `kill` or `start`; returns when that is done.
    pub(crate) async fn set(&self, verb: &str) -> io::Result<()> {
        let Some(program) = &self.program else {
            return self.memory.set(if verb == "start" { Verb::Start } else { Verb::Stop });
        };
        let output = Command::new(program).args(["brokers", verb, self.carrier.name()]).output().await?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(io::Error::other(format!("`{program} brokers {verb}`: {}: {text}", output.status)))
    }
}
