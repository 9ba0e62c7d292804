//! Where RabbitMQ is, and who asks: `spring.rabbitmq.*` as one address.

use super::access::{bundle, spot_of};
use super::binders::BinderPlan;
use super::convert::flag;
use super::source::split;
use super::work::{Given, Work};
use crate::config::tree::Style;

/// What decides the address; the first that is there says where it was written.
const KEYS: [&str; 8] =
    ["addresses", "host", "port", "username", "password", "virtual-host", "ssl.enabled", "ssl.bundle"];

/// The parts of an address.
struct Address {
    tls: bool,
    user: String,
    password: String,
    virtual_host: String,
    /// Each with its port.
    hosts: Vec<String>,
}

fn get(binder: &BinderPlan, name: &str) -> Option<Given> {
    binder.get(&format!("spring.rabbitmq.{name}")).cloned()
}

impl Address {
    fn of(binder: &BinderPlan, tls: bool) -> Self {
        let said =
            |name: &str, default: &str| get(binder, name).map_or_else(|| default.to_owned(), |given| given.text());
        let mut address = Self {
            tls,
            user: said("username", "guest"),
            password: said("password", "guest"),
            virtual_host: said("virtual-host", "/"),
            hosts: Vec::new(),
        };
        match split(&said("addresses", "")) {
            none if none.is_empty() => {
                let port = said("port", address.port());
                address.hosts.push(format!("{}:{port}", said("host", "localhost")));
            }
            nodes => address.take(&nodes),
        }
        address
    }

    fn port(&self) -> &'static str {
        if self.tls { "5671" } else { "5672" }
    }

    /// Takes `amqp://user:password@host:port/virtual-host`; what the first says besides its host holds for all.
    fn take(&mut self, nodes: &[String]) {
        for (index, node) in nodes.iter().enumerate() {
            let (scheme, rest) = node.split_once("://").unwrap_or(("", node));
            let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
            let (host, virtual_host) = rest.split_once('/').map_or((rest, None), |(host, name)| (host, Some(name)));
            if index == 0 {
                self.tls = if scheme.is_empty() { self.tls } else { scheme == "amqps" };
                if let Some((user, password)) = user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
                    (self.user, self.password) = (user.to_owned(), password.to_owned());
                }
                if let Some(name) = virtual_host {
                    let name = if name.is_empty() { "/" } else { name };
                    name.clone_into(&mut self.virtual_host);
                }
            }
            let has_port = host.rsplit_once(']').map_or(host, |(_, rest)| rest).contains(':');
            self.hosts.push(if has_port { host.to_owned() } else { format!("{host}:{}", self.port()) });
        }
    }

    fn url(&self) -> String {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        let [user, password, host] = [&self.user, &self.password, &self.virtual_host].map(|part| encoded(part));
        format!("{scheme}://{user}:{password}@{}/{host}", self.hosts.join(","))
    }
}

/// Makes `url` and `tls` of a RabbitMQ binder.
pub(super) fn finish(work: &mut Work<'_>, index: usize) {
    let binder = &work.binders[index];
    let Some(first) = KEYS.iter().find_map(|name| get(binder, name)) else { return };
    let tls = match get(binder, "ssl.enabled").map(|given| (flag(&given.text()), given)) {
        Some((Ok(enabled), _)) => enabled,
        Some((Err(why), given)) => return work.wrong(&given, why),
        None => binder.bundle.is_some(),
    };
    let address = Address::of(binder, tls);
    let overridden = get(binder, "addresses").map(|_| [get(binder, "host"), get(binder, "port")]);
    for given in overridden.into_iter().flatten().flatten() {
        work.note(&given, "has no effect: `spring.rabbitmq.addresses` wins");
    }
    let spot = spot_of(work, index);
    work.put(&spot, "url", first.node(address.url(), Style::Text));
    let verifies = get(&work.binders[index], "ssl.verify-hostname");
    if !address.tls {
        // Only `amqps` has `tls`.
        let idle = work.binders[index].bundle.clone().into_iter().chain(verifies);
        return idle.into_iter().for_each(|given| work.note(&given, "has no effect: TLS is off"));
    }
    bundle(work, index, &spot);
    if let Some(given) = verifies {
        match flag(&given.text()) {
            Ok(on) => work.put(&spot, "tls.verify-host-name", given.node(on.to_string(), Style::Plain)),
            Err(why) => work.wrong(&given, why),
        }
    }
}

/// Writes a text so that it can stand in a part of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_address_is_encoded() {
        assert_eq!(encoded("/"), "%2f");
        assert_eq!(encoded("p@ss:w/rd ž"), "p%40ss%3aw%2frd%20%c5%be");
    }
}
