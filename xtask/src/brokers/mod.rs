//! `cargo xtask brokers`: real servers on loopback.
//!
//! A server that a variable of the environment names is used as it is. The others are started here, each in a folder below
//! `target/brokers`, and told apart from everything else on the machine by what [`process`] records.

mod control;
mod external;
mod fleet;
mod home;
mod kafka;
mod packages;
mod ports;
mod process;
mod rabbit;
mod redis;
mod server;
mod state;

use clap::{Subcommand, ValueEnum};

pub(crate) use self::fleet::{Fleet, check};
use self::{
    control::{Control, Place},
    process::Process,
    server::Server,
};
use crate::{
    error::{Failure, Result},
    project::Project,
};

/// The servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Apache Kafka; clients read KAFKA_URL (host:port).
    Kafka,
    /// RabbitMQ; clients read RABBIT_URL and RABBIT_MANAGEMENT_URL.
    Rabbit,
    /// Redis; clients read REDIS_URL.
    Redis,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Kafka, Self::Rabbit, Self::Redis];

    fn server(self) -> &'static dyn Server {
        match self {
            Self::Kafka => &kafka::Kafka,
            Self::Rabbit => &rabbit::Rabbit,
            Self::Redis => &redis::Redis,
        }
    }
}

/// What to do with servers.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Start servers (all, if none is named) and print `export` lines that tell clients where they are
    Up {
        /// Servers to start
        servers: Vec<Kind>,
        /// Install missing Debian packages
        #[arg(long)]
        install: bool,
        /// Nodes of each server
        #[arg(long, default_value_t = 1)]
        nodes: u32,
    },
    /// Stop servers and delete their data, leaving nothing running
    Down {
        /// Servers to stop (default: all)
        servers: Vec<Kind>,
    },
    /// Show what runs
    Status {
        /// Servers to show (default: all)
        servers: Vec<Kind>,
    },
    /// Start stopped servers again, on the same ports and with their data
    Start {
        /// Servers to start
        #[arg(required = true)]
        servers: Vec<Kind>,
    },
    /// Stop servers in good order, keeping ports and data
    Stop {
        /// Servers to stop
        #[arg(required = true)]
        servers: Vec<Kind>,
    },
    /// Stop servers with SIGKILL, keeping ports and data
    Kill {
        /// Servers to kill
        #[arg(required = true)]
        servers: Vec<Kind>,
    },
}

/// Runs `cargo xtask brokers`.
pub(crate) fn main(project: &Project, action: &Action) -> Result<()> {
    match action {
        Action::Up { servers, install, nodes } => up(project, servers, *install, *nodes),
        Action::Down { servers } => each(servers, |kind| down(project, kind)),
        Action::Status { servers } => each(servers, |kind| status(project, kind)),
        Action::Start { servers } => each(servers, |kind| start(project, kind)),
        Action::Stop { servers } => each(servers, |kind| own(project, kind)?.stop()),
        Action::Kill { servers } => each(servers, |kind| own(project, kind)?.kill()),
    }
}

fn each(servers: &[Kind], action: impl FnMut(Kind) -> Result<()>) -> Result<()> {
    let servers = if servers.is_empty() { &Kind::ALL } else { servers };
    servers.iter().copied().try_for_each(action)
}

fn up(project: &Project, servers: &[Kind], install: bool, nodes: u32) -> Result<()> {
    if nodes != 1 {
        return Err(Failure::setup(format!("--nodes {nodes}: not yet, servers have a single node")));
    }
    let servers = if servers.is_empty() { &Kind::ALL } else { servers };
    let fleet = Fleet::up(project, servers, install)?;
    for (name, value) in fleet.variables() {
        println!("export {name}={value}");
    }
    fleet.keep();
    Ok(())
}

fn down(project: &Project, kind: Kind) -> Result<()> {
    let control = Control::new(project, kind.server());
    let known = control.state().is_some();
    control.remove()?;
    eprintln!("{}: {}", kind.server().name(), if known { "stopped" } else { "not running" });
    Ok(())
}

fn start(project: &Project, kind: Kind) -> Result<()> {
    let control = own(project, kind)?;
    check(project, &[kind], false)?;
    if !control.start(Place::Same)? {
        eprintln!("{}: already running", kind.server().name());
    }
    Ok(())
}

fn status(project: &Project, kind: Kind) -> Result<()> {
    let name = kind.server().name();
    if let Some(url) = fleet::outside(project, kind) {
        println!("{name:<7} named by {}={}", fleet::variable(kind), external::masked(&url));
        return Ok(());
    }
    let control = Control::new(project, kind.server());
    let Some(state) = control.state() else {
        println!("{name:<7} down");
        return Ok(());
    };
    if !state.running() {
        println!("{name:<7} stopped, data kept; log {}", control.log());
        return Ok(());
    }
    let pids: Vec<_> = state.processes.iter().map(|process| process.pid().to_string()).collect();
    let memory: u64 = state.processes.iter().filter_map(Process::memory).sum();
    println!("{name:<7} up, process {}, {memory} MB; log {}", pids.join(" and "), control.log());
    for (variable, url) in kind.server().variables(&state.ports) {
        println!("        {variable}={url}");
    }
    Ok(())
}

/// The control of a server that is ours to stop and start.
fn own(project: &Project, kind: Kind) -> Result<Control<'_>> {
    match fleet::outside(project, kind) {
        None => Ok(Control::new(project, kind.server())),
        Some(_) => Err(Failure::setup(format!(
            "{} is named by {}: it was not started here and is left alone",
            kind.server().name(),
            fleet::variable(kind)
        ))),
    }
}
