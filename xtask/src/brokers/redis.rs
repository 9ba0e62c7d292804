//! Redis, from its Debian package. It appends every write to a file, so that a restart finds the data.

use std::{
    io::{Read, Write},
    process::Command,
};

use super::{
    home::Home,
    packages::{self, Need},
    ports::{self, Ports},
    process::Process,
    server::{CLIENT, Server, port},
};
use crate::error::Result;

/// See the module's documentation.
pub(crate) struct Redis;

impl Server for Redis {
    fn name(&self) -> String {
        "redis".to_owned()
    }

    fn ports(&self) -> Vec<(&'static str, u16)> {
        vec![(CLIENT, 6379)]
    }

    fn needs(&self) -> Vec<Need> {
        let present = || packages::program("redis-server").is_some();
        vec![Need { what: "Redis", package: "redis-server", present }]
    }

    fn prepare(&self, _home: &Home) -> Result<()> {
        Ok(())
    }

    fn launch(&self, home: &Home, ports: &Ports) -> Result<Vec<Process>> {
        let data = home.data();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port(ports, CLIENT).to_string()]);
        command.args(["--save", "", "--appendonly", "yes", "--set-proc-title", "no", "--dir"]).arg(&data);
        Ok(vec![home.spawn(&mut command, &data.to_string_lossy())?])
    }

    fn ready(&self, ports: &Ports) -> bool {
        ping(port(ports, CLIENT)).is_ok_and(|answer| &answer == b"+PONG\r\n")
    }

    fn joined(&self, _ports: &Ports) -> bool {
        true
    }
}

/// The variables that tell clients where Redis is.
pub(crate) fn variables(ports: &Ports) -> Vec<(&'static str, String)> {
    vec![("REDIS_URL", format!("redis://127.0.0.1:{}", port(ports, CLIENT)))]
}

fn ping(port: u16) -> std::io::Result<[u8; 7]> {
    let mut stream = ports::connect(port)?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
