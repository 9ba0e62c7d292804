//! Servers that variables of the environment name, run by somebody else.

use std::{
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::error::{Failure, Result};

/// Whether a variable's value names a server other than our own.
pub(crate) fn named(value: Option<String>, own: Option<&str>) -> Option<String> {
    value.filter(|value| !value.trim().is_empty() && own != Some(value))
}

/// Checks that a server that a variable names can be reached.
pub(crate) fn reach(variable: &str, url: &str, usual: u16) -> Result<()> {
    let endpoints = endpoints(url, usual);
    if endpoints.iter().any(|(host, port)| answers(host, *port)) {
        return Ok(());
    }
    Err(Failure::setup(format!("{variable}={} does not answer; unset it to have a server started here", masked(url))))
}

/// A URL that can be shown: without user and password.
pub(crate) fn masked(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        (None, Some((_, rest))) => format!("***@{rest}"),
        _ => url.to_owned(),
    }
}

/// Hosts and ports of a URL or of a list `host:port,host:port`.
fn endpoints(url: &str, usual: u16) -> Vec<(String, u16)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let hosts = rest.split(',').map(str::trim).filter(|host| !host.is_empty());
    hosts.map(|host| endpoint(host, usual)).collect()
}

fn endpoint(host: &str, usual: u16) -> (String, u16) {
    let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
    let (name, port) = port.unwrap_or((host, usual));
    (name.trim_matches(['[', ']']).to_owned(), port)
}

fn answers(host: &str, port: u16) -> bool {
    let addresses = (host, port).to_socket_addrs().into_iter().flatten();
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_urls_and_lists() {
        let one = |host: &str, port| vec![(host.to_owned(), port)];
        assert_eq!(endpoints("redis://localhost/3", 6379), one("localhost", 6379));
        assert_eq!(endpoints("amqp://u:p@broker:5673/%2f?heartbeat=5", 5672), one("broker", 5673));
        assert_eq!(endpoints("redis://[::1]:7000", 6379), one("::1", 7000));
        assert_eq!(endpoints("a:1, b", 9092), [("a".to_owned(), 1), ("b".to_owned(), 9092)]);
    }

    #[test]
    fn password_is_not_shown() {
        assert_eq!(masked("amqp://me:secret@broker:5672/%2f"), "amqp://***@broker:5672/%2f");
        assert_eq!(masked("localhost:9092"), "localhost:9092");
    }

    #[test]
    fn own_server_and_empty_value_are_not_external() {
        assert_eq!(named(Some("127.0.0.1:1".into()), Some("127.0.0.1:1")), None);
        assert_eq!(named(Some(String::new()), None), None);
        assert_eq!(named(Some("b:1".into()), Some("127.0.0.1:1")).as_deref(), Some("b:1"));
    }

    #[test]
    fn unreachable_server_is_a_setup_failure() {
        let failure = reach("REDIS_URL", "redis://x:secret@127.0.0.1:1", 6379).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(!failure.to_string().contains("secret"));
    }
}
