//! Apache Kafka from Maven Central: one node that is broker and controller, or three such nodes as a cluster.
//!
//! A single node has listeners with passwords and certificates beside the plain one, and one for clients that come through a proxy: it listens
//! at one port and tells clients another, where nobody listens until a test puts a proxy there; see [`variables`].

mod install;
mod jvm;

use std::{fs, process::Stdio};

use super::{
    certificates,
    home::{Home, render},
    packages::{BUILD, Need},
    ports::{self, Ports},
    process::Process,
    server::{CLIENT, Node, Server, port},
    state::State,
};
use crate::{
    error::{Context, Failure, Result},
    run,
};

const PROPERTIES: &str = include_str!("../../../templates/kafka/server.properties");
const SECURITY: &str = include_str!("../../../templates/kafka/security.properties");
const LOGGING: &str = include_str!("../../../templates/kafka/log4j2.xml");
const NAME: &str = "kafka";
const CONTROLLER: &str = "controller";
/// Any 16 bytes in URL-safe base64.
const CLUSTER: &str = "bWVzc2FnaW5nLXh0YXNrLQ";
/// The one who may come in, but for whom every password is right on the plain listener.
const USER: &str = "[name=alice,password=alice-secret]";
/// Listeners with passwords or certificates: purpose of the port, usual port, name among Kafka's listeners.
const SECURE: [(&str, u16, &str); 4] = [
    ("sasl", 9094, "SASL"),
    ("sasl-tls", 9095, "SASLTLS"),
    ("mutual-tls", 9096, "MUTUAL"),
    ("expired", 9097, "EXPIRED"),
];

/// A listener that is told to clients at another port, where a test may put a proxy before it: the ports' purposes, and name among Kafka's
/// listeners.
const PROXIED: (&str, &str, &str) = ("proxied", "proxy", "PROXIED");

/// See the module's documentation.
pub(crate) struct Kafka {
    /// Which node of a cluster it is.
    pub(crate) node: Option<Node>,
}

/// The variables that tell clients where Kafka is.
pub(crate) fn variables(servers: &[(&Home, Ports)]) -> Vec<(&'static str, String)> {
    let brokers = servers.iter().map(|(_, ports)| format!("127.0.0.1:{}", port(ports, CLIENT)));
    let mut variables = vec![("KAFKA_URL", brokers.collect::<Vec<_>>().join(","))];
    if let [(home, ports)] = servers
        && ports.contains_key(SECURE[0].0)
    {
        let names = ["KAFKA_SASL_URL", "KAFKA_SASL_TLS_URL", "KAFKA_MUTUAL_TLS_URL", "KAFKA_EXPIRED_URL"];
        let secure = names.into_iter().zip(SECURE);
        variables.extend(secure.map(|(name, (purpose, ..))| (name, format!("localhost:{}", port(ports, purpose)))));
        variables.push(("KAFKA_PROXY_TARGET", format!("127.0.0.1:{}", port(ports, PROXIED.0))));
        variables.push(("KAFKA_PROXY_URL", format!("127.0.0.1:{}", port(ports, PROXIED.1))));
        let folder = home.join(certificates::FOLDER);
        variables.push(("KAFKA_CERTIFICATES", folder.display().to_string()));
    }
    variables
}

impl Server for Kafka {
    fn name(&self) -> String {
        Node::name(self.node, NAME)
    }

    fn ports(&self) -> Vec<(&'static str, u16)> {
        let mut ports = vec![(CLIENT, 9092), (CONTROLLER, 9093)];
        if self.node.is_none() {
            ports.extend(SECURE.map(|(purpose, usual, _)| (purpose, usual)));
            ports.extend([(PROXIED.0, 9098), (PROXIED.1, 9099)]);
        }
        ports
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = install::needs();
        needs.extend(BUILD);
        needs.push(certificates::need());
        needs
    }

    fn prepare(&self, home: &Home) -> Result<()> {
        let source = home.sibling(NAME);
        fs::create_dir_all(source.path()).context("cannot create Kafka's folder")?;
        install::libraries(&source)?;
        install::archive(&source)
    }

    fn launch(&self, home: &Home, ports: &Ports) -> Result<Vec<Process>> {
        start(&home.sibling(NAME), home, &properties(self.node, home, ports)?, self.node, &[])
    }

    fn ready(&self, ports: &Ports) -> bool {
        ports::connect(port(ports, CLIENT)).is_ok()
    }

    /// A node opens its port when most of the cluster's controllers have agreed.
    fn joined(&self, _ports: &Ports) -> bool {
        true
    }
}

fn properties(node: Option<Node>, home: &Home, ports: &Ports) -> Result<String> {
    let mut voters = vec![format!("1@127.0.0.1:{}", port(ports, CONTROLLER))];
    if let Some(node) = node {
        voters = node.all(NAME).map(|(peer, name)| voter(home, peer, &name)).collect::<Result<_>>()?;
    }
    let (listeners, advertised) = listeners(node.is_none(), ports);
    let replicas = if node.is_some() { ("3", "2") } else { ("1", "1") };
    let text = render(
        PROPERTIES,
        &[
            ("NODE", &node.map_or(1, |node| node.number).to_string()),
            ("VOTERS", &voters.join(",")),
            ("LISTENERS", &listeners),
            ("ADVERTISED", &advertised),
            ("REPLICAS", replicas.0),
            ("IN_SYNC", replicas.1),
            ("DATA", &home.data().to_string_lossy()),
        ],
    );
    if node.is_some() {
        return Ok(text);
    }
    let folder = certificates::make(home)?;
    Ok(text + &render(SECURITY, &[("CERTIFICATES", &folder.to_string_lossy())]))
}

/// Where a node listens, and what it tells clients.
fn listeners(alone: bool, ports: &Ports) -> (String, String) {
    // each with its own port and the one that clients are told
    let mut listeners = vec![("PLAINTEXT", "127.0.0.1", port(ports, CLIENT), port(ports, CLIENT))];
    if alone {
        let secure = SECURE.iter().map(|(purpose, _, name)| (*name, port(ports, purpose)));
        // a certificate is for a name, not for an address
        listeners.extend(secure.map(|(name, port)| (name, "localhost", port, port)));
        listeners.push((PROXIED.2, "127.0.0.1", port(ports, PROXIED.0), port(ports, PROXIED.1)));
    }
    let own = listeners.iter().map(|(name, _, port, _)| format!("{name}://127.0.0.1:{port}"));
    let own = own.chain([format!("CONTROLLER://127.0.0.1:{}", port(ports, CONTROLLER))]);
    let told = listeners.iter().map(|(name, host, _, port)| format!("{name}://{host}:{port}"));
    (own.collect::<Vec<_>>().join(","), told.collect::<Vec<_>>().join(","))
}

fn voter(home: &Home, node: Node, name: &str) -> Result<String> {
    let state = State::load(home.sibling(name).path());
    let state = state.ok_or_else(|| Failure::failed(format!("{name} has no ports yet")))?;
    Ok(format!("{}@127.0.0.1:{}", node.number, port(&state.ports, CONTROLLER)))
}

/// Starts a node whose data are in `home` and whose libraries are in `source`.
fn start(source: &Home, home: &Home, properties: &str, node: Option<Node>, options: &[String]) -> Result<Vec<Process>> {
    let file = home.write("server.properties", properties)?;
    home.write("log4j2.xml", LOGGING)?;
    format(source, home, node)?;
    let mut command = jvm::command(source, home)?;
    command.args(options).arg("kafka.Kafka").arg(&file);
    Ok(vec![home.spawn(&mut command, &file.to_string_lossy())?])
}

/// Gives an empty data folder its identity. That takes a JVM; its two files are kept for the next time.
fn format(source: &Home, home: &Home, node: Option<Node>) -> Result<()> {
    const FILES: [&str; 2] = ["bootstrap.checkpoint", "meta.properties"];
    let (data, kept) = (home.data(), source.join(install::FORMATTED));
    if data.join(FILES[1]).exists() {
        return Ok(());
    }
    if !kept.join(FILES[1]).exists() {
        let mut command = jvm::command(source, home)?;
        command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(home.join("server.properties"));
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            command.args(["--add-scram", &format!("{mechanism}={USER}")]);
        }
        run::run_ok(command.stdout(Stdio::null()), "kafka: formatting the data folder")?;
        let keep = || {
            fs::create_dir_all(&kept)?;
            FILES.iter().try_for_each(|file| fs::rename(data.join(file), kept.join(file)))
        };
        keep().context("cannot keep Kafka's format")?;
    }
    let prepared = (|| {
        fs::copy(kept.join(FILES[0]), data.join(FILES[0]))?;
        let identity = fs::read_to_string(kept.join(FILES[1]))?;
        fs::write(data.join(FILES[1]), identified(&identity, node.map_or(1, |node| node.number)))
    })();
    prepared.context("cannot prepare Kafka's data")
}

/// The identity of a node: its number, and a folder's name that no other node has.
fn identified(identity: &str, number: u32) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some(("node.id", _)) => format!("node.id={number}\n"),
        Some(("directory.id", id)) if id.len() > 2 => format!("directory.id={}{}{}\n", &id[..1], number % 10, &id[2..]),
        _ => format!("{line}\n"),
    };
    identity.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(list: &[(&str, u16)]) -> Ports {
        list.iter().map(|(purpose, port)| ((*purpose).to_owned(), *port)).collect()
    }

    #[test]
    fn nodes_of_a_cluster_know_each_other_and_are_all_on_loopback() {
        let home = std::env::temp_dir().join(format!("xtask-kafka-{}", std::process::id()));
        let node = |number| Node { number, of: 3 };
        for number in 1..=3 {
            let folder = home.join(format!("kafka-{number}"));
            fs::create_dir_all(&folder).unwrap();
            let number = u16::try_from(number).unwrap();
            let state = State { ports: ports(&[(CLIENT, number), (CONTROLLER, number + 10)]), processes: vec![] };
            state.save(&folder).unwrap();
        }
        let own = Home::new(home.join("kafka-2"));
        let text = properties(Some(node(2)), &own, &ports(&[(CLIENT, 2), (CONTROLLER, 12)])).unwrap();
        fs::remove_dir_all(&home).unwrap();
        assert!(text.contains("\nnode.id=2\n") && text.contains("\nmin.insync.replicas=2\n"), "{text}");
        let voters = "\ncontroller.quorum.voters=1@127.0.0.1:11,2@127.0.0.1:12,3@127.0.0.1:13\n";
        assert!(text.contains(voters), "{text}");
        assert!(text.contains("\nlisteners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:12\n"), "{text}");
        let left: Vec<_> = text.lines().filter(|line| line.replace("@127", "").contains('@')).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn clients_of_the_proxied_listener_are_told_the_port_of_the_proxy() {
        let list = [(CLIENT, 1), (CONTROLLER, 2), ("sasl", 3), ("sasl-tls", 4), ("mutual-tls", 5), ("expired", 6)];
        let ports: Ports = ports(&list).into_iter().chain(ports(&[("proxied", 7), ("proxy", 8)])).collect();
        let (own, told) = listeners(true, &ports);
        assert!(
            own.starts_with("PLAINTEXT://127.0.0.1:1,")
                && own.ends_with("PROXIED://127.0.0.1:7,CONTROLLER://127.0.0.1:2"),
            "{own}"
        );
        assert!(told.contains("SASL://localhost:3,") && told.ends_with(",PROXIED://127.0.0.1:8"), "{told}");
        let variables = variables(&[(&Home::new("/x".into()), ports)]);
        assert!(variables.contains(&("KAFKA_PROXY_TARGET", "127.0.0.1:7".to_owned())), "{variables:?}");
        assert!(variables.contains(&("KAFKA_PROXY_URL", "127.0.0.1:8".to_owned())), "{variables:?}");
    }

    #[test]
    fn each_node_has_an_identity_of_its_own() {
        let text = identified("#\nnode.id=1\ndirectory.id=AbC\nversion=1\n", 3);
        assert_eq!(text, "#\nnode.id=3\ndirectory.id=A3C\nversion=1\n");
    }

    #[test]
    fn cluster_is_named_by_all_its_nodes() {
        let home = Home::new("/x".into());
        let nodes = [1, 2].map(|number| (&home, ports(&[(CLIENT, number)])));
        assert_eq!(variables(&nodes), [("KAFKA_URL", "127.0.0.1:1,127.0.0.1:2".to_owned())]);
    }
}
