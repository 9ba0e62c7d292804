//! RabbitMQ with its management plug-in, from its Debian package.
//!
//! The scripts of the package's own folder are used: those on the search path change the user and drop the environment. Its
//! port mapper (`epmd`) is started here, because one that Erlang starts outlives the broker.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    home::{Home, render},
    packages::{self, Need},
    ports::{self, Ports},
    process::Process,
    server::{CLIENT, Server, port},
};
use crate::{
    error::{Context, Failure, Result},
    signals,
};

const CONFIG: &str = include_str!("../../templates/rabbit/rabbitmq.conf");
const MANAGEMENT: &str = "management";
const DISTRIBUTION: &str = "distribution";
const MAPPER: &str = "mapper";

/// See the module's documentation.
pub(crate) struct Rabbit;

impl Server for Rabbit {
    fn name(&self) -> &'static str {
        "rabbit"
    }

    fn variables(&self, ports: &Ports) -> Vec<(&'static str, String)> {
        let (client, management) = (port(ports, CLIENT), port(ports, MANAGEMENT));
        vec![
            ("RABBIT_URL", format!("amqp://guest:guest@127.0.0.1:{client}/%2f")),
            ("RABBIT_MANAGEMENT_URL", format!("http://guest:guest@127.0.0.1:{management}")),
        ]
    }

    fn ports(&self) -> &'static [(&'static str, u16)] {
        &[(CLIENT, 5672), (MANAGEMENT, 15672), (DISTRIBUTION, 25672), (MAPPER, 4370)]
    }

    fn needs(&self) -> Vec<Need> {
        let present = || scripts().is_some() && packages::program("epmd").is_some();
        vec![Need { what: "RabbitMQ", package: "rabbitmq-server", present }]
    }

    fn prepare(&self, _home: &Home) -> Result<()> {
        Ok(())
    }

    fn launch(&self, home: &Home, ports: &Ports) -> Result<Vec<Process>> {
        let mapper = start_mapper(home, port(ports, MAPPER))?;
        let client = port(ports, CLIENT).to_string();
        let management = port(ports, MANAGEMENT).to_string();
        home.write("rabbitmq.conf", &render(CONFIG, &[("CLIENT", &client), ("MANAGEMENT", &management)]))?;
        home.write("advanced.config", "[].\n")?;
        home.write("enabled_plugins", "[rabbitmq_management].\n")?;
        home.write(".erlang.cookie", "XTASK")?;
        let mark = home.path().to_string_lossy().into_owned();
        let broker = home.spawn(&mut broker(home, ports)?, &mark)?;
        Ok(vec![mapper, broker])
    }

    fn ready(&self, ports: &Ports) -> bool {
        greeting(port(ports, CLIENT)).is_ok_and(|frame| is_connection_start(&frame))
            && ports::connect(port(ports, MANAGEMENT)).is_ok()
    }
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
fn broker(home: &Home, ports: &Ports) -> Result<Command> {
    let scripts = scripts().ok_or_else(|| Failure::setup("RabbitMQ is not installed"))?;
    let mut command = Command::new(scripts.join("rabbitmq-server"));
    command.arg("-home_of_xtask").arg(home.path());
    let erlang = "-noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(scripts).chain(std::env::split_paths(&path)));
    command.env("PATH", path.context("odd search path")?).env("HOME", home.path());
    command.env("ERL_EPMD_PORT", port(ports, MAPPER).to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    command.env("RABBITMQ_NODENAME", "xtask@localhost").env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_has_both_ports_and_nothing_open() {
        let text = render(CONFIG, &[("CLIENT", "1"), ("MANAGEMENT", "2")]);
        assert!(text.contains("listeners.tcp.1 = 127.0.0.1:1\n") && text.contains("management.tcp.port = 2\n"));
        assert!(!text.contains('@'));
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
    fn urls_name_the_ports() {
        let ports = Ports::from([(CLIENT.into(), 5), (MANAGEMENT.into(), 6)]);
        let urls: Vec<_> = Rabbit.variables(&ports).into_iter().map(|(_, url)| url).collect();
        assert_eq!(urls, ["amqp://guest:guest@127.0.0.1:5/%2f", "http://guest:guest@127.0.0.1:6"]);
    }
}
