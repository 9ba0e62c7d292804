//! `cargo xtask brokers`: real servers on loopback.
//!
//! A server that a variable of the environment names is used as it is. The others are started here, each in a folder below
//! `target/brokers`, and told apart from everything else on the machine by what [`process`] records.

mod certificates;
mod control;
mod deployment;
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

use std::str::FromStr;

use clap::{Subcommand, ValueEnum};
use nix::sys::signal::Signal;

pub(crate) use self::fleet::{Fleet, check, check_counting, check_tests};
use self::{
    control::{Control, Place},
    deployment::Deployment,
    home::Home,
    ports::Ports,
    process::Process,
    server::{Node, Server},
};
use crate::{
    error::{Context as _, Failure, Result},
    project::Project,
};

/// The servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Apache Kafka; clients read KAFKA_URL (host:port, those of a cluster separated by commas). A test may put a proxy between
    /// KAFKA_PROXY_URL, which clients are told, and KAFKA_PROXY_TARGET, where a single node listens.
    Kafka,
    /// RabbitMQ; clients read RABBIT_URL (a cluster's addresses are separated by commas) and RABBIT_MANAGEMENT_URL.
    Rabbit,
    /// Redis; clients read REDIS_URL.
    Redis,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Kafka, Self::Rabbit, Self::Redis];

    /// Its name on the command line and of its servers.
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Rabbit => "rabbit",
            Self::Redis => "redis",
        }
    }

    /// Whether there can be more nodes than one.
    fn clusters(self) -> bool {
        self != Self::Redis
    }

    /// The variable that names servers of this kind.
    fn variable(self) -> &'static str {
        match self {
            Self::Kafka => "KAFKA_URL",
            Self::Rabbit => "RABBIT_URL",
            Self::Redis => "REDIS_URL",
        }
    }

    /// The port that is meant if a URL names none.
    fn usual_port(self) -> u16 {
        match self {
            Self::Kafka => 9092,
            Self::Rabbit => 5672,
            Self::Redis => 6379,
        }
    }

    /// What has to run, in the order of the start: a single server, or what nodes share and then the nodes.
    fn servers(self, nodes: u32) -> Vec<Box<dyn Server>> {
        let each = (1..=nodes).map(|number| (nodes > 1).then_some(Node { number, of: nodes }));
        match self {
            Self::Kafka => each.map(|node| Box::new(kafka::Kafka { node }) as _).collect(),
            Self::Rabbit => rabbit::servers(each),
            Self::Redis => vec![Box::new(redis::Redis)],
        }
    }

    /// What tells clients where servers are, the variable of [`variable`](Self::variable) first.
    fn variables(self, servers: &[(&Home, Ports)]) -> Vec<(&'static str, String)> {
        match self {
            Self::Kafka => kafka::variables(servers),
            Self::Rabbit => rabbit::variables(servers),
            Self::Redis => servers.first().map(|(_, ports)| redis::variables(ports)).unwrap_or_default(),
        }
    }
}

/// What a command is about: servers of a kind, or one node of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    kind: Kind,
    node: Option<u32>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, node) = match text.rsplit_once('-') {
            Some((name, node)) => {
                (name, Some(node.parse().map_err(|_| format!("`{node}` is not the number of a node"))?))
            }
            None => (text, None),
        };
        let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = known.ok_or("there are kafka, rabbit and redis, and the nodes of a cluster such as kafka-2")?;
        Ok(Self { kind, node })
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
        /// Nodes of Kafka and of RabbitMQ: 1 or 3 (default: those that are there, else 1)
        #[arg(long, value_parser = nodes)]
        nodes: Option<u32>,
    },
    /// Stop servers and delete their data, leaving nothing running
    Down {
        /// Servers to stop (default: all)
        servers: Vec<Kind>,
    },
    /// Show what runs
    Status {
        /// Servers to show (default: all)
        servers: Vec<Target>,
    },
    /// Print what servers have logged since their data was made
    Log {
        /// Servers to read, or nodes of a cluster: kafka, kafka-2
        #[arg(required = true)]
        servers: Vec<Target>,
    },
    /// Start stopped servers again, on the same ports and with their data
    Start {
        /// Servers to start, or nodes of a cluster: kafka, kafka-2
        #[arg(required = true)]
        servers: Vec<Target>,
    },
    /// Stop servers in good order, keeping ports and data
    Stop {
        /// Servers to stop, or nodes of a cluster: kafka, kafka-2
        #[arg(required = true)]
        servers: Vec<Target>,
    },
    /// Have servers answer nothing, with every connection open (SIGSTOP), until they are thawed
    Freeze {
        /// Servers to freeze, or nodes of a cluster: kafka, kafka-2
        #[arg(required = true)]
        servers: Vec<Target>,
    },
    /// Have frozen servers go on (SIGCONT)
    Thaw {
        /// Servers to thaw, or nodes of a cluster: kafka, kafka-2
        #[arg(required = true)]
        servers: Vec<Target>,
    },
    /// Stop servers with SIGKILL, keeping ports and data
    Kill {
        /// Servers to kill, or nodes of a cluster: kafka, kafka-2
        #[arg(required = true)]
        servers: Vec<Target>,
    },
}

/// A cluster loses a node and works on, so it has three.
fn nodes(text: &str) -> std::result::Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("there is one node, or a cluster of 3".to_owned()),
    }
}

/// Runs `cargo xtask brokers`.
pub(crate) fn main(project: &Project, action: &Action) -> Result<()> {
    match action {
        Action::Up { servers, install, nodes } => up(project, servers, *install, *nodes),
        Action::Down { servers } => or_all(servers, &Kind::ALL).iter().try_for_each(|kind| down(project, *kind)),
        Action::Status { servers } => {
            let all = Kind::ALL.map(|kind| Target { kind, node: None });
            or_all(servers, &all).iter().try_for_each(|target| status(project, *target))
        }
        Action::Log { servers } => servers.iter().try_for_each(|target| log(project, *target)),
        Action::Start { servers } => servers.iter().try_for_each(|target| start(project, *target)),
        Action::Stop { servers } => servers.iter().try_for_each(|target| own(project, *target)?.stop()),
        Action::Freeze { servers } => signal(project, servers, Signal::SIGSTOP),
        Action::Thaw { servers } => signal(project, servers, Signal::SIGCONT),
        Action::Kill { servers } => servers.iter().try_for_each(|target| own(project, *target)?.kill()),
    }
}

fn or_all<'a, T>(named: &'a [T], all: &'a [T]) -> &'a [T] {
    if named.is_empty() { all } else { named }
}

fn up(project: &Project, servers: &[Kind], install: bool, nodes: Option<u32>) -> Result<()> {
    let fleet = Fleet::up(project, or_all(servers, &Kind::ALL), nodes, install)?;
    for (name, value) in fleet.variables() {
        println!("export {name}={value}");
    }
    fleet.keep();
    Ok(())
}

fn down(project: &Project, kind: Kind) -> Result<()> {
    let deployment = Deployment::found(project, kind);
    let known = deployment.known();
    deployment.remove()?;
    eprintln!("{}: {}", kind.name(), if known { "stopped" } else { "not running" });
    Ok(())
}

fn start(project: &Project, target: Target) -> Result<()> {
    let deployment = own(project, target)?;
    check(project, &[target.kind], false)?;
    if deployment.members().iter().all(Control::running) {
        eprintln!("{}: already running", target.kind.name());
    }
    deployment.start(Place::Same).map(drop)
}

fn status(project: &Project, target: Target) -> Result<()> {
    let kind = target.kind;
    if let Some(url) = fleet::outside(project, kind) {
        println!("{:<7} named by {}={}", kind.name(), kind.variable(), external::masked(&url));
        return Ok(());
    }
    let deployment = own(project, target)?;
    if !deployment.known() {
        println!("{:<7} down", kind.name());
        return Ok(());
    }
    deployment.members().iter().for_each(show);
    if target.node.is_none() {
        for (variable, url) in deployment.variables() {
            println!("        {variable}={url}");
        }
    }
    Ok(())
}

fn show(control: &Control<'_>) {
    let (name, state) = (control.server().name(), control.state().unwrap_or_default());
    if !state.running() {
        println!("{name:<7} stopped, data kept; log {}", control.log());
        return;
    }
    let pids: Vec<_> = state.processes.iter().map(|process| process.pid().to_string()).collect();
    let memory: u64 = state.processes.iter().filter_map(Process::memory).sum();
    println!("{name:<7} up, process {}, {memory} MB; log {}", pids.join(" and "), control.log());
}

fn log(project: &Project, target: Target) -> Result<()> {
    for control in own(project, target)?.members() {
        let log = std::fs::read_to_string(control.home().log()).context("cannot read the log")?;
        print!("{log}");
    }
    Ok(())
}

/// Sends a signal to the processes of servers.
fn signal(project: &Project, servers: &[Target], signal: Signal) -> Result<()> {
    servers.iter().try_for_each(|target| own(project, *target)?.signal(signal))
}

/// Servers that are ours to stop and start.
fn own(project: &Project, target: Target) -> Result<Deployment<'_>> {
    if fleet::outside(project, target.kind).is_some() {
        return Err(Failure::setup(format!(
            "{} is named by {}: it was not started here and is left alone",
            target.kind.name(),
            target.kind.variable()
        )));
    }
    let found = Deployment::found(project, target.kind);
    match target.node {
        Some(number) => found.only(number),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_a_kind_or_a_node_of_it() {
        assert_eq!("rabbit".parse(), Ok(Target { kind: Kind::Rabbit, node: None }));
        assert_eq!("kafka-2".parse(), Ok(Target { kind: Kind::Kafka, node: Some(2) }));
        assert!("mysql".parse::<Target>().unwrap_err().contains("kafka-2"));
        assert!("kafka-two".parse::<Target>().unwrap_err().contains("`two`"));
    }

    #[test]
    fn cluster_has_three_nodes_and_redis_none() {
        let names = |kind: Kind, nodes| kind.servers(nodes).iter().map(|server| server.name()).collect::<Vec<_>>();
        assert_eq!(names(Kind::Kafka, 1), ["kafka"]);
        assert_eq!(names(Kind::Kafka, 3), ["kafka-1", "kafka-2", "kafka-3"]);
        assert_eq!(names(Kind::Rabbit, 3), ["rabbit-mapper", "rabbit-1", "rabbit-2", "rabbit-3"]);
        assert_eq!((nodes("3"), nodes("2").is_err()), (Ok(3), true));
    }
}
