//! RabbitMQ with its management plug-in, from its Debian package: one node, or three as a cluster.
//!
//! The scripts of the package's own folder are used: those on the search path change the user and drop the environment. Its
//! port mapper (`epmd`) is started here, because one that Erlang starts outlives the broker. A single node starts its own;
//! the nodes of a cluster share one, which must outlive each of them.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    certificates,
    home::{Home, render},
    packages::{self, Need},
    ports::{self, Ports},
    process::Process,
    server::{CLIENT, Node, Server, port},
    state::State,
};
use crate::{
    error::{Context, Failure, Result},
    signals,
};

const CONFIG: &str = include_str!("../../templates/rabbit/rabbitmq.conf");
const CLUSTER: &str = include_str!("../../templates/rabbit/cluster.conf");
const TLS: &str = include_str!("../../templates/rabbit/tls.conf");
const NAME: &str = "rabbit";
const SHARED: &str = "rabbit-mapper";
const MANAGEMENT: &str = "management";
const DISTRIBUTION: &str = "distribution";
const MAPPER: &str = "mapper";
const SECURE: &str = "tls";
/// `guest:guest`, as HTTP wants it.
const GUEST: &str = "Z3Vlc3Q6Z3Vlc3Q=";
const TOOL: &str = "ctl";

/// See the module's documentation.
pub(crate) struct Rabbit {
    /// Which node of a cluster it is.
    node: Option<Node>,
}

/// The port mapper of a cluster.
struct Mapper;

/// What has to run for these nodes.
pub(crate) fn servers(nodes: impl Iterator<Item = Option<Node>>) -> Vec<Box<dyn Server>> {
    let mut servers: Vec<Box<dyn Server>> = vec![];
    for node in nodes {
        if node.is_some() && servers.is_empty() {
            servers.push(Box::new(Mapper));
        }
        servers.push(Box::new(Rabbit { node }));
    }
    servers
}

/// The variables that tell clients where RabbitMQ is.
pub(crate) fn variables(servers: &[(&Home, Ports)]) -> Vec<(&'static str, String)> {
    let nodes: Vec<_> = servers.iter().filter(|(_, ports)| ports.contains_key(CLIENT)).collect();
    let addresses = nodes.iter().map(|(_, ports)| format!("127.0.0.1:{}", port(ports, CLIENT)));
    let addresses = addresses.collect::<Vec<_>>().join(",");
    let management = nodes.first().map_or(0, |(_, ports)| port(ports, MANAGEMENT));
    let mut variables = vec![
        ("RABBIT_URL", format!("amqp://guest:guest@{addresses}/%2f")),
        ("RABBIT_MANAGEMENT_URL", format!("http://guest:guest@127.0.0.1:{management}")),
    ];
    let [(home, ports)] = nodes.as_slice() else { return variables };
    variables.push(("RABBIT_CTL", home.join(TOOL).display().to_string()));
    if ports.contains_key(SECURE) {
        variables.push(("RABBIT_TLS_URL", format!("amqps://guest:guest@localhost:{}/%2f", port(ports, SECURE))));
        variables.push(("RABBIT_CERTIFICATES", home.join(certificates::FOLDER).display().to_string()));
    }
    variables
}

impl Server for Mapper {
    fn name(&self) -> String {
        SHARED.to_owned()
    }

    fn ports(&self) -> Vec<(&'static str, u16)> {
        vec![(MAPPER, 4370)]
    }

    fn needs(&self) -> Vec<Need> {
        vec![need()]
    }

    fn prepare(&self, _home: &Home) -> Result<()> {
        Ok(())
    }

    fn launch(&self, home: &Home, ports: &Ports) -> Result<Vec<Process>> {
        Ok(vec![start_mapper(home, port(ports, MAPPER))?])
    }

    fn ready(&self, ports: &Ports) -> bool {
        ports::connect(port(ports, MAPPER)).is_ok()
    }

    fn joined(&self, _ports: &Ports) -> bool {
        true
    }
}

impl Server for Rabbit {
    fn name(&self) -> String {
        Node::name(self.node, NAME)
    }

    fn ports(&self) -> Vec<(&'static str, u16)> {
        let mut ports = vec![(CLIENT, 5672), (MANAGEMENT, 15672), (DISTRIBUTION, 25672)];
        if self.node.is_none() {
            ports.extend([(MAPPER, 4370), (SECURE, 5671)]);
        }
        ports
    }

    fn needs(&self) -> Vec<Need> {
        vec![need(), certificates::need()]
    }

    fn prepare(&self, _home: &Home) -> Result<()> {
        Ok(())
    }

    fn launch(&self, home: &Home, ports: &Ports) -> Result<Vec<Process>> {
        let mut processes = vec![];
        let mapper = match self.node {
            None => {
                processes.push(start_mapper(home, port(ports, MAPPER))?);
                port(ports, MAPPER)
            }
            Some(_) => port(&State::load(home.sibling(SHARED).path()).unwrap_or_default().ports, MAPPER),
        };
        home.write("rabbitmq.conf", &config(self.node, home, ports)?)?;
        home.write("advanced.config", "[].\n")?;
        home.write("enabled_plugins", "[rabbitmq_management].\n")?;
        home.write(".erlang.cookie", "XTASK")?;
        write_tool(home, self.node, mapper)?;
        let mark = home.path().to_string_lossy().into_owned();
        processes.push(home.spawn(&mut broker(self.node, home, ports, mapper)?, &mark)?);
        Ok(processes)
    }

    fn ready(&self, ports: &Ports) -> bool {
        greeting(port(ports, CLIENT)).is_ok_and(|frame| is_connection_start(&frame))
            && ports::connect(port(ports, MANAGEMENT)).is_ok()
    }

    fn joined(&self, ports: &Ports) -> bool {
        let nodes = self.node.map_or(1, |node| node.of as usize);
        running_nodes(port(ports, MANAGEMENT)).is_ok_and(|running| running == nodes)
    }
}

fn need() -> Need {
    let present = || scripts().is_some() && packages::program("epmd").is_some();
    Need { what: "RabbitMQ", package: "rabbitmq-server", present }
}

fn config(node: Option<Node>, home: &Home, ports: &Ports) -> Result<String> {
    let (client, management) = (port(ports, CLIENT).to_string(), port(ports, MANAGEMENT).to_string());
    let text = render(CONFIG, &[("CLIENT", &client), ("MANAGEMENT", &management)]);
    let Some(node) = node else {
        let folder = certificates::make(home)?;
        let port = port(ports, SECURE).to_string();
        return Ok(text + &render(TLS, &[("PORT", &port), ("CERTIFICATES", &folder.to_string_lossy())]));
    };
    let peers = node.all(NAME).map(|(peer, _)| {
        format!("cluster_formation.classic_config.nodes.{} = {}\n", peer.number, node_name(Some(peer)))
    });
    Ok(text + CLUSTER + &peers.collect::<String>())
}

fn node_name(node: Option<Node>) -> String {
    format!("{}@localhost", Node::name(node, "xtask"))
}

/// A program that runs `rabbitmqctl` against the broker, for tests that change what holds for all of it.
fn write_tool(home: &Home, node: Option<Node>, mapper: u16) -> Result<()> {
    let scripts = scripts().ok_or_else(|| Failure::setup("RabbitMQ is not installed"))?;
    let path = home.write(TOOL, &tool(home.path(), &scripts, &node_name(node), mapper))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).context("cannot make a program of it")
}

fn tool(home: &Path, scripts: &Path, node: &str, mapper: u16) -> String {
    let (home, scripts) = (home.display(), scripts.display());
    format!(
        "#!/bin/sh\nexport HOME='{home}' ERL_EPMD_PORT={mapper} RABBITMQ_NODENAME={node} RABBITMQ_CONF_ENV_FILE=/dev/null\n\
         PATH='{scripts}':$PATH exec rabbitmqctl \"$@\"\n"
    )
}

fn start_mapper(home: &Home, port: u16) -> Result<Process> {
    let port_word = port.to_string();
    let mut command = Command::new("epmd");
    command.args(["-address", "127.0.0.1", "-port", &port_word]);
    let mapper = home.spawn(&mut command, &format!("-port {port_word}"))?;
    let answers = || ports::connect(port).is_ok();
    if signals::poll(std::time::Duration::from_secs(10), answers) {
        return Ok(mapper);
    }
    Err(Failure::failed("rabbit: epmd does not answer"))
}

/// The broker as a direct child: input allowed makes the script become the broker, `-noinput` takes the input away again.
fn broker(node: Option<Node>, home: &Home, ports: &Ports, mapper: u16) -> Result<Command> {
    let scripts = scripts().ok_or_else(|| Failure::setup("RabbitMQ is not installed"))?;
    let mut command = Command::new(scripts.join("rabbitmq-server"));
    command.arg("-home_of_xtask").arg(home.path());
    // a node that is gone is noticed within 10 s
    let erlang = "-noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1} -kernel net_ticktime 10";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(scripts).chain(std::env::split_paths(&path)));
    command.env("PATH", path.context("odd search path")?).env("HOME", home.path());
    command.env("ERL_EPMD_PORT", mapper.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    command.env("RABBITMQ_NODENAME", node_name(node)).env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
    command.env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq.conf"));
    command.env("RABBITMQ_ADVANCED_CONFIG_FILE", home.join("advanced.config"));
    command.env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("enabled_plugins"));
    command.env("RABBITMQ_MNESIA_BASE", home.data()).env("RABBITMQ_PID_FILE", home.join("pid"));
    command.env("RABBITMQ_LOG_BASE", home.path()).env("RABBITMQ_LOGS", "-");
    command.env("RABBITMQ_DIST_PORT", port(ports, DISTRIBUTION).to_string());
    command.env("RABBITMQ_ALLOW_INPUT", "1").env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang);
    Ok(command)
}

/// The folder of the package's real scripts.
fn scripts() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/rabbitmq/lib").ok()?.flatten();
    let folders = versions.map(|version| version.path().join("sbin"));
    folders.filter(|folder| runs(&folder.join("rabbitmq-server"))).max()
}

fn runs(script: &Path) -> bool {
    script.is_file()
}

/// Greets the broker as an AMQP client does and returns the head of its answer.
fn greeting(port: u16) -> std::io::Result<[u8; 11]> {
    let mut stream = ports::connect(port)?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut frame = [0; 11];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// A method frame (1) on channel 0 with class 10 (connection), method 10 (start); the size lies between.
fn is_connection_start(frame: &[u8; 11]) -> bool {
    frame[..3] == [1, 0, 0] && frame[7..] == [0, 10, 0, 10]
}

/// Asks the management plug-in how many nodes of the cluster run.
fn running_nodes(port: u16) -> std::io::Result<usize> {
    let mut stream = ports::connect(port)?;
    let head = format!("Host: 127.0.0.1:{port}\r\nAuthorization: Basic {GUEST}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("GET /api/nodes?columns=name,running HTTP/1.1\r\n{head}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.matches(r#""running":true"#).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(list: &[(&str, u16)]) -> Ports {
        list.iter().map(|(purpose, port)| ((*purpose).to_owned(), *port)).collect()
    }

    #[test]
    fn nodes_of_a_cluster_know_each_other() {
        let node = Node { number: 2, of: 3 };
        let text = config(Some(node), &Home::new("/x".into()), &ports(&[(CLIENT, 1), (MANAGEMENT, 2)])).unwrap();
        assert!(text.contains("listeners.tcp.1 = 127.0.0.1:1\n") && text.contains("management.tcp.port = 2\n"));
        assert!(text.contains("\ncluster_formation.classic_config.nodes.3 = xtask-3@localhost\n"), "{text}");
        let left: Vec<_> = text.lines().filter(|line| line.replace("@localhost", "").contains('@')).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn connection_start_is_an_answer() {
        assert!(is_connection_start(&[1, 0, 0, 0, 0, 1, 0xf6, 0, 10, 0, 10]));
    }

    #[test]
    fn refusal_of_the_protocol_is_no_answer() {
        assert!(!is_connection_start(b"AMQP\x00\x00\x09\x01\x00\x00\x00"));
    }

    #[test]
    fn the_tool_asks_the_node_that_was_started() {
        let text = tool(Path::new("/a b"), Path::new("/sbin of it"), "xtask@localhost", 7);
        assert!(text.contains("HOME='/a b' ERL_EPMD_PORT=7 RABBITMQ_NODENAME=xtask@localhost "), "{text}");
        assert!(text.ends_with("PATH='/sbin of it':$PATH exec rabbitmqctl \"$@\"\n"), "{text}");
    }

    #[test]
    fn a_single_node_has_a_tool_to_disturb_it_with() {
        let home = Home::new("/x".into());
        let found = variables(&[(&home, ports(&[(CLIENT, 5), (MANAGEMENT, 6)]))]);
        assert!(found.contains(&("RABBIT_CTL", "/x/ctl".to_owned())), "{found:?}");
    }

    #[test]
    fn urls_name_the_ports_of_all_nodes() {
        let home = Home::new("/x".into());
        let nodes = [5, 7].map(|number| (&home, ports(&[(CLIENT, number), (MANAGEMENT, number + 1)])));
        let urls: Vec<_> = variables(&nodes).into_iter().map(|(_, url)| url).collect();
        assert_eq!(urls, ["amqp://guest:guest@127.0.0.1:5,127.0.0.1:7/%2f", "http://guest:guest@127.0.0.1:6"]);
    }
}
