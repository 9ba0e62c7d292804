//! Ports on loopback: the usual one where it is free, else another.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use crate::error::{Failure, Result};

/// The ports of a server by what they are for.
pub(crate) type Ports = BTreeMap<String, u16>;

/// The address of a port on loopback.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether nobody listens on a port.
pub(crate) fn free(port: u16) -> bool {
    TcpListener::bind(local(port)).is_ok()
}

/// Connects to a port on loopback, with limits for every wait.
pub(crate) fn connect(port: u16) -> std::io::Result<TcpStream> {
    let limit = Duration::from_secs(2);
    let stream = TcpStream::connect_timeout(&local(port), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

/// Chooses a free port for each purpose, no port twice.
///
/// Others come from below the range that the system gives to outgoing connections: a server that is restarted must find
/// its port free.
pub(crate) fn choose(wanted: &[(&str, u16)]) -> Result<Ports> {
    let mut held = Vec::new();
    let mut ports = Ports::new();
    for (purpose, usual) in wanted {
        let listener = candidates(*usual).find_map(|port| TcpListener::bind(local(port)).ok());
        let listener = listener.ok_or_else(|| Failure::failed(format!("no free port for {purpose}")))?;
        let port = listener.local_addr().map_err(|err| Failure::failed(err.to_string()))?.port();
        ports.insert((*purpose).to_owned(), port);
        held.push(listener);
    }
    Ok(ports)
}

fn candidates(usual: u16) -> impl Iterator<Item = u16> {
    let base = 20_000 + usual % 10_000;
    std::iter::once(usual).chain(base..base + 2_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> (TcpListener, u16) {
        let listener = TcpListener::bind(local(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[test]
    fn free_usual_port_is_chosen() {
        let chosen = |_| {
            let (listener, port) = taken();
            drop(listener); // others on this machine may take it now, but not every time
            choose(&[("client", port)]).unwrap()["client"] == port
        };
        assert!((0..20).any(chosen));
    }

    #[test]
    fn taken_usual_port_is_avoided() {
        let (_listener, port) = taken();
        let chosen = choose(&[("client", port)]).unwrap()["client"];
        assert_ne!(chosen, port);
        assert!((20_000..32_000).contains(&chosen));
    }

    #[test]
    fn two_purposes_never_share_a_port() {
        let (listener, port) = taken();
        drop(listener);
        let ports = choose(&[("client", port), ("controller", port)]).unwrap();
        assert_ne!(ports["client"], ports["controller"]);
    }

    #[test]
    fn port_with_a_listener_is_not_free() {
        let (_listener, port) = taken();
        assert!(!free(port));
    }
}
