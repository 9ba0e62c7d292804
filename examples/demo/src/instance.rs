//! One running service, wherever it runs.

use std::net::SocketAddr;

use example_service::Running;

use crate::process::Process;

/// A service at work.
#[derive(Debug)]
pub(crate) enum Instance {
    /// In this process.
    Here(Running),
    /// In one of its own.
    Process(Process),
}

impl Instance {
    /// Returns where it serves HTTP.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Here(running) => running.address(),
            Self::Process(process) => process.address(),
        }
    }

    /// Stops it gently.
    pub(crate) async fn stop(self) {
        match self {
            Self::Here(running) => {
                if let Err(error) = running.stop().await {
                    println!("    (stopping: {})", error.chain());
                }
            }
            Self::Process(process) => process.stop().await,
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill(self) {
        match self {
            Self::Here(running) => running.abort(),
            Self::Process(process) => process.kill().await,
        }
    }
}
