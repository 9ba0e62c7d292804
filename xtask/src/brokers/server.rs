//! What one server has to say about itself; [`control`](super::control) does the rest.

use std::fmt;

use super::{home::Home, packages::Need, ports::Ports, process::Process};
use crate::error::Result;

/// The purpose of the port that clients use.
pub(crate) const CLIENT: &str = "client";

/// A server that can be started on this machine: the only one of its kind, a node of a cluster, or what nodes share.
pub(crate) trait Server: Send + Sync {
    /// Its name on the command line and of its folder.
    fn name(&self) -> String;
    /// Every port it takes: what for, and the usual one.
    fn ports(&self) -> Vec<(&'static str, u16)>;
    /// What must be installed to start it.
    fn needs(&self) -> Vec<Need>;
    /// Downloads and builds, once, what packages do not contain.
    fn prepare(&self, home: &Home) -> Result<()>;
    /// Starts its processes, the one that serves clients last. Every node of its cluster has its ports by then.
    fn launch(&self, home: &Home, ports: &Ports) -> Result<Vec<Process>>;
    /// Whether it answers.
    fn ready(&self, ports: &Ports) -> bool;
    /// Whether the nodes that were started for the first time have found each other.
    fn joined(&self, ports: &Ports) -> bool;
}

/// The server's port of a purpose; every purpose of [`Server::ports`] has one.
pub(crate) fn port(ports: &Ports, purpose: &str) -> u16 {
    ports.get(purpose).copied().unwrap_or_default()
}

/// One of the nodes of a cluster, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) number: u32,
    pub(crate) of: u32,
}

impl Node {
    /// The name of a server: `kafka`, or `kafka-2` for a node.
    pub(crate) fn name(node: Option<Self>, kind: &str) -> String {
        node.map_or_else(|| kind.to_owned(), |node| format!("{kind}-{}", node.number))
    }

    /// The names of all nodes of its cluster.
    pub(crate) fn all(self, kind: &str) -> impl Iterator<Item = (Self, String)> {
        let nodes = (1..=self.of).map(move |number| Self { number, of: self.of });
        nodes.map(move |node| (node, Self::name(Some(node), kind)))
    }
}

impl fmt::Debug for dyn Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
