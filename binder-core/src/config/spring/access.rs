//! Who we are, and how that is hidden: TLS, and users with passwords.

use std::collections::BTreeMap;

use super::work::{Given, Spot, Work};
use crate::config::tree::{Node, Style};

/// Keeps what says who we are to Kafka until all of it is there.
pub(super) fn note_access(work: &mut Work<'_>, spot: &Spot, given: &Given, name: &str) {
    if let Some(index) = spot.binder {
        work.binders[index].access.insert(name.to_owned(), given.clone());
    }
}

/// Makes `tls` and `sasl` of a Kafka binder.
pub(super) fn finish_kafka(work: &mut Work<'_>, index: usize) {
    let access = std::mem::take(&mut work.binders[index].access);
    let spot = spot_of(work, index);
    let protocol = access.get("security.protocol").filter(|given| !given.text().is_empty());
    let (tls, sasl) = match protocol.map(|given| given.text().to_uppercase()).as_deref() {
        None | Some("PLAINTEXT") => (false, false),
        Some("SSL") => (true, false),
        Some("SASL_PLAINTEXT") => (false, true),
        Some("SASL_SSL") => (true, true),
        Some(_) => {
            let given = &access["security.protocol"];
            let known = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
            let why = super::convert::one_of(known.into_iter(), &given.text());
            return work.wrong(given, why);
        }
    };
    let idle = access.iter().filter(|(name, _)| match name.as_str() {
        "security.protocol" => false,
        name if name.starts_with("ssl.") => !tls,
        _ => !sasl,
    });
    for (_, given) in idle {
        let protocol = protocol.map_or_else(|| "PLAINTEXT".to_owned(), Given::text);
        work.note(given, format!("has no effect: the `security.protocol` is {protocol}"));
    }
    if let (true, Some(given)) = (tls, protocol) {
        work.tree.put(&path(&spot, &["tls"]), Node { place: Some(given.entry.place.clone()), ..Node::empty_map() });
        certificates(work, &spot, &access);
        if work.binders[index].bundle.is_some() {
            bundle(work, index, &spot);
        }
    }
    if let (true, Some(given)) = (sasl, protocol) {
        user(work, &spot, &access, given);
    }
}

pub(super) fn spot_of(work: &Work<'_>, index: usize) -> Spot {
    let binder = &work.binders[index];
    let base = vec!["binders".to_owned(), binder.name.clone()];
    Spot { base, kind: binder.kind, binder: Some(index), channel: None }
}

fn path(spot: &Spot, keys: &[&str]) -> Vec<String> {
    spot.base.iter().cloned().chain(keys.iter().map(|key| (*key).to_owned())).collect()
}

/// The stores of Java's client, where they are files of PEM.
fn certificates(work: &mut Work<'_>, spot: &Spot, access: &BTreeMap<String, Given>) {
    for (store, keys) in [("truststore", &["tls.ca"][..]), ("keystore", &["tls.certificate", "tls.key"])] {
        let Some(location) = access.get(&format!("ssl.{store}.location")).filter(|given| !given.text().is_empty())
        else {
            continue;
        };
        let kind = access.get(&format!("ssl.{store}.type")).map(Given::text).unwrap_or_default();
        if !kind.eq_ignore_ascii_case("PEM") {
            let why = format!("certificates are PEM files here: convert the store, and say `ssl.{store}.type` is PEM");
            work.refuse(location, why);
            continue;
        }
        put_file(work, spot, location, keys);
    }
    if let Some(password) = access.get("ssl.key.password").filter(|given| !given.text().is_empty()) {
        work.put_setting(spot, "configuration", "ssl.key.password", password.node(password.text(), Style::Text));
    }
    if let Some(algorithm) = access.get("ssl.endpoint.identification.algorithm") {
        let verifies = algorithm.text().eq_ignore_ascii_case("https");
        match algorithm.text().as_str() {
            other if !verifies && !other.is_empty() => work.refuse(algorithm, "it is `https`, or empty"),
            _ => work.put(spot, "tls.verify-host-name", algorithm.node(verifies.to_string(), Style::Plain)),
        }
    }
}

fn put_file(work: &mut Work<'_>, spot: &Spot, given: &Given, keys: &[&str]) {
    match file(&given.text()) {
        Ok(file) => keys.iter().for_each(|key| work.put(spot, key, given.node(file.as_str(), Style::Text))),
        Err(why) => work.refuse(given, why),
    }
}

/// Finds the file that a location names.
fn file(location: &str) -> Result<String, &'static str> {
    let file = location.strip_prefix("file://").or_else(|| location.strip_prefix("file:")).unwrap_or(location);
    match file.split_once(':') {
        Some(("classpath", _)) => Err("there is no class path; name a file"),
        _ if location.contains("-----BEGIN") || location.starts_with("base64:") => {
            Err("name a file, not what is in it")
        }
        _ => Ok(file.to_owned()),
    }
}

/// The certificates of `spring.ssl.bundle.pem.<name>`.
pub(super) fn bundle(work: &mut Work<'_>, index: usize, spot: &Spot) {
    let Some(named) = work.binders[index].bundle.clone() else { return };
    let name = named.text();
    let base = format!("spring.ssl.bundle.pem[{name}]");
    let mut found = false;
    for (part, key) in [
        ("truststore.certificate", "tls.ca"),
        ("keystore.certificate", "tls.certificate"),
        ("keystore.private-key", "tls.key"),
    ] {
        if let Some(given) = work.binders[index].get(&format!("{base}.{part}")).cloned() {
            found = true;
            put_file(work, spot, &given, &[key]);
        }
    }
    if let Some(password) = work.binders[index].get(&format!("{base}.keystore.private-key-password")).cloned() {
        match spot.kind {
            Some(super::binders::Kind::Kafka) => {
                work.put_setting(
                    spot,
                    "configuration",
                    "ssl.key.password",
                    password.node(password.text(), Style::Text),
                );
            }
            _ => work.wrong(&password, "is refused: the key of a certificate has no password here; decrypt the file"),
        }
    }
    if !found {
        let why = format!("there is no `{base}` with certificates; other kinds of bundles than PEM are not read");
        work.refuse(&named, why);
    }
}

/// User and password.
fn user(work: &mut Work<'_>, spot: &Spot, access: &BTreeMap<String, Given>, protocol: &Given) {
    let said = |name: &str| access.get(name).filter(|given| !given.text().is_empty());
    let config = said("sasl.jaas.config").and_then(|given| Some((given, login(&given.text())?)));
    if let (Some(given), None) = (said("sasl.jaas.config"), &config) {
        work.wrong(
            given,
            "is refused: only PlainLoginModule and ScramLoginModule with `username` and `password` are understood",
        );
        return;
    }
    let module = said("login-module").map(Given::text);
    let by_module = module.as_deref().filter(|module| module.ends_with("PlainLoginModule")).map(|_| "PLAIN");
    let mechanism = said("sasl.mechanism").map(|given| (given, given.text()));
    let mechanism = mechanism.or_else(|| by_module.map(|name| (protocol, name.to_owned())));
    let Some((given, mechanism)) = mechanism else {
        work.wrong(protocol, "needs a `sasl.mechanism`: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512` (Java's default is Kerberos, which is not in this library)");
        return;
    };
    if !["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism.as_str()) {
        work.refuse(given, "only `PLAIN`, `SCRAM-SHA-256` and `SCRAM-SHA-512` are in this library");
        return;
    }
    let given = given.clone();
    work.put(spot, "sasl.mechanism", given.node(mechanism.to_lowercase(), Style::Plain));
    for (index, part) in ["username", "password"].into_iter().enumerate() {
        let option = said(&format!("option.{part}")).map(|given| (given, given.text()));
        let value = config.as_ref().map(|(given, user)| (*given, user[index].clone())).or(option);
        match value {
            Some((given, value)) => work.put(spot, &format!("sasl.{part}"), given.node(value, Style::Text)),
            None => work.wrong(&given, format!("needs a {part}: `sasl.jaas.config`, or `jaas.options.{part}`")),
        }
    }
}

/// Reads `…PlainLoginModule required username="u" password="p";`.
fn login(config: &str) -> Option<[String; 2]> {
    let (module, mut rest) = config.trim().split_once(char::is_whitespace)?;
    if !module.ends_with("PlainLoginModule") && !module.ends_with("ScramLoginModule") {
        return None;
    }
    let mut user = [None, None];
    while let Some((before, after)) = rest.split_once('=') {
        let name = before.split_whitespace().last()?;
        let (value, next) = quoted(after.trim_start())?;
        match name {
            "username" => user[0] = Some(value),
            "password" => user[1] = Some(value),
            _ => return None,
        }
        rest = next;
    }
    let [Some(username), Some(password)] = user else { return None };
    Some([username, password])
}

/// Reads a value in quotes, in which a backslash escapes, or one up to a blank or semicolon.
fn quoted(text: &str) -> Option<(String, &str)> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = text.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            c if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Some((value, &text[at + 1..])),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_with_its_quotes() {
        let config = |options: &str| {
            login(&format!("org.apache.kafka.common.security.plain.PlainLoginModule required {options};"))
        };
        let user = |name: &str, password: &str| Some([name.to_owned(), password.to_owned()]);
        assert_eq!(config("username=\"u\" password=\"p;=\\\" x\""), user("u", "p;=\" x"));
        assert_eq!(config("password='p' username=u"), user("u", "p"));
        for options in ["username=\"u\"", "username=\"u\" password=\"p", "username=u password=p tokenauth=true", ""] {
            assert_eq!(config(options), None, "{options}");
        }
        assert_eq!(login("com.sun.security.auth.module.Krb5LoginModule required username=u password=p;"), None);
    }

    #[test]
    fn a_location_is_a_file() {
        assert_eq!(file("file:/etc/ca.pem").as_deref(), Ok("/etc/ca.pem"));
        assert_eq!(file("file:///etc/ca.pem").as_deref(), Ok("/etc/ca.pem"));
        assert_eq!(file("ca.pem").as_deref(), Ok("ca.pem"));
        assert!(file("classpath:ca.pem").is_err() && file("-----BEGIN CERTIFICATE-----").is_err());
    }
}
