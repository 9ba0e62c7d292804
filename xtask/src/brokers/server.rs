//! What one kind of server has to say about itself; [`control`](super::control) does the rest.

use super::{home::Home, packages::Need, ports::Ports, process::Process};
use crate::error::Result;

/// The purpose of the port that clients use.
pub(crate) const CLIENT: &str = "client";

/// A server that can be started on this machine.
pub(crate) trait Server: Sync {
    /// Its name on the command line and of its folder.
    fn name(&self) -> &'static str;
    /// The variables that tell clients where it is. The first one, if set, names a server to be used instead.
    fn variables(&self, ports: &Ports) -> Vec<(&'static str, String)>;
    /// Every port it takes: what for, and the usual one.
    fn ports(&self) -> &'static [(&'static str, u16)];
    /// What must be installed to start it.
    fn needs(&self) -> Vec<Need>;
    /// Downloads and builds, once, what packages do not contain.
    fn prepare(&self, home: &Home) -> Result<()>;
    /// Starts its processes, the one that serves clients last.
    fn launch(&self, home: &Home, ports: &Ports) -> Result<Vec<Process>>;
    /// Whether it answers.
    fn ready(&self, ports: &Ports) -> bool;
}

/// The server's port of a purpose; every purpose of [`Server::ports`] has one.
pub(crate) fn port(ports: &Ports, purpose: &str) -> u16 {
    ports.get(purpose).copied().unwrap_or_default()
}
