//! Apache Kafka, one node that is broker and controller, from Maven Central.

mod install;
mod jvm;

use std::fs;

use super::{
    home::{Home, render},
    packages::{BUILD, Need},
    ports::{self, Ports},
    process::Process,
    server::{CLIENT, Server, port},
};
use crate::{
    error::{Context, Result},
    run,
};

const PROPERTIES: &str = include_str!("../../../templates/kafka/server.properties");
const LOGGING: &str = include_str!("../../../templates/kafka/log4j2.xml");
const CONTROLLER: &str = "controller";
/// Any 16 bytes in URL-safe base64.
const CLUSTER: &str = "bWVzc2FnaW5nLXh0YXNrLQ";

/// See the module's documentation.
pub(crate) struct Kafka;

impl Server for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn variables(&self, ports: &Ports) -> Vec<(&'static str, String)> {
        vec![("KAFKA_URL", format!("127.0.0.1:{}", port(ports, CLIENT)))]
    }

    fn ports(&self) -> &'static [(&'static str, u16)] {
        &[(CLIENT, 9092), (CONTROLLER, 9093)]
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = install::needs();
        needs.extend(BUILD);
        needs
    }

    fn prepare(&self, home: &Home) -> Result<()> {
        install::libraries(home)?;
        install::archive(home)
    }

    fn launch(&self, home: &Home, ports: &Ports) -> Result<Vec<Process>> {
        start(home, home, ports, &[])
    }

    fn ready(&self, ports: &Ports) -> bool {
        ports::connect(port(ports, CLIENT)).is_ok()
    }
}

/// Starts a node whose data are in `home` and whose libraries are in `source`.
fn start(source: &Home, home: &Home, ports: &Ports, options: &[String]) -> Result<Vec<Process>> {
    let data = home.data().to_string_lossy().into_owned();
    let (client, controller) = (port(ports, CLIENT).to_string(), port(ports, CONTROLLER).to_string());
    let values = [("CLIENT", &*client), ("CONTROLLER", &*controller), ("DATA", &*data)];
    let properties = home.write("server.properties", &render(PROPERTIES, &values))?;
    home.write("log4j2.xml", LOGGING)?;
    format(source, home)?;
    let mut command = jvm::command(source, home)?;
    command.args(options).arg("kafka.Kafka").arg(&properties);
    Ok(vec![home.spawn(&mut command, &properties.to_string_lossy())?])
}

/// Gives an empty data folder its identity. That takes a JVM; its two files are kept for the next time.
fn format(source: &Home, home: &Home) -> Result<()> {
    const FILES: [&str; 2] = ["bootstrap.checkpoint", "meta.properties"];
    let (data, kept) = (home.data(), source.join("formatted"));
    if data.join(FILES[1]).exists() {
        return Ok(());
    }
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        FILES.iter().try_for_each(|file| fs::copy(from.join(file), to.join(file)).map(drop))
    };
    if kept.join(FILES[1]).exists() {
        return copy(&kept, &data).context("cannot prepare Kafka's data");
    }
    let mut command = jvm::command(source, home)?;
    command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(home.join("server.properties"));
    run::run_ok(run::quiet_stdout(&mut command), "kafka: formatting the data folder")?;
    fs::create_dir_all(&kept).and_then(|()| copy(&data, &kept)).context("cannot keep Kafka's format")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_have_every_value_and_only_loopback() {
        let text = render(PROPERTIES, &[("CLIENT", "1"), ("CONTROLLER", "2"), ("DATA", "/d")]);
        assert!(text.contains("\nlisteners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n"));
        assert!(text.contains("\nlog.dirs=/d\n"));
        let left: Vec<_> = text.lines().filter(|line| line.replace("1@127", "").contains('@')).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
