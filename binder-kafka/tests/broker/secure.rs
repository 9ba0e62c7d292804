//! Passwords and certificates: `KAFKA_SASL_URL` and its like name further listeners of the broker, `KAFKA_CERTIFICATES` the folder
//! of its certificates.

use std::time::{Duration, Instant};

use binder_core::ErrorKind;
use binder_core::binder::BinderHealth;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    let given = !named("KAFKA_SASL_URL").is_empty();
    assert!(given || std::env::var_os("CI").is_none(), "KAFKA_SASL_URL is not set: where is the broker?");
    let ready = ready && given;
    let mut cases = vec![
        case("a_password_lets_in", ready, a_password_lets_in),
        case("a_wrong_password_is_told_and_not_shown", ready, a_wrong_password_is_told_and_not_shown),
    ];
    if cfg!(feature = "tls") {
        cases.extend([
            case("every_mechanism_lets_in_with_and_without_tls", ready, every_mechanism_lets_in_with_and_without_tls),
            case("a_wrong_password_through_tls_is_told_too", ready, a_wrong_password_through_tls_is_told_too),
            case("a_client_shows_its_certificate", ready, a_client_shows_its_certificate),
            case("another_authority_is_named", ready, another_authority_is_named),
            case(
                "another_host_name_is_named_unless_it_is_allowed",
                ready,
                another_host_name_is_named_unless_it_is_allowed,
            ),
            case("an_expired_certificate_is_named", ready, an_expired_certificate_is_named),
            case("files_are_read_before_anything_is_opened", ready, files_are_read_before_anything_is_opened),
        ]);
    }
    cases
}

fn named(variable: &str) -> String {
    std::env::var(variable).unwrap_or_default()
}

fn file(name: &str) -> String {
    format!("{}/{name}", named("KAFKA_CERTIFICATES"))
}

fn alice(mechanism: &str, password: &str) -> Value {
    json!({ "mechanism": mechanism, "username": "alice", "password": password })
}

fn trusting(ca: &str) -> Value {
    json!({ "ca": file(ca) })
}

/// A section of the configuration; null is what is not given.
fn reached(brokers: &str, tls: Value, sasl: Value) -> Value {
    let configuration = json!({ "broker.address.family": "v4", "fetch.wait.max.ms": 50 });
    let mut section = json!({ "brokers": brokers, "configuration": configuration });
    for (key, value) in [("tls", tls), ("sasl", sasl)] {
        if !value.is_null() {
            section[key] = value;
        }
    }
    section
}

async fn works(section: Value) {
    let (binder, topic) = (binder_with(section).unwrap(), unique("secure"));
    let sender = producer(&binder, &topic, 1).await;
    send_all(&*sender, numbered(10)).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    assert_eq!(payloads(&receive(&mut receiver, 10).await), numbered(10));
    assert_eq!(binder.health(), BinderHealth::Up);
}

/// Returns what a binder says that does not come in.
async fn refused(section: Value) -> String {
    let binder = binder_with(section).unwrap();
    let binding = input(&unique("locked"), Some("g"));
    let begun = Instant::now();
    let error = binder.bind_consumer(&binding).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Connection, true), "{error:?}");
    assert_eq!(error.context("binder"), Some("kafka"));
    let reason = error.message().to_owned();
    for health in [binder.health(), binding.status.get()] {
        assert!(
            matches!(&health, BinderHealth::Connecting(why) if reason.ends_with(why.as_str())),
            "{reason}: {health:?}"
        );
    }
    assert!(!format!("{error:?}{binder:?}").contains("hunter2"), "{error:?}");
    reason
}

async fn a_password_lets_in() {
    works(reached(&named("KAFKA_SASL_URL"), Value::Null, alice("plain", "alice-secret"))).await;
}

async fn a_wrong_password_is_told_and_not_shown() {
    let reason = refused(reached(&named("KAFKA_SASL_URL"), Value::Null, alice("plain", "hunter2-wrong"))).await;
    assert!(reason.contains("refuses user `alice`: ") && reason.contains("Invalid username or password"), "{reason}");
}

async fn every_mechanism_lets_in_with_and_without_tls() {
    for mechanism in ["scram-sha-256", "SCRAM-SHA-512"] {
        works(reached(&named("KAFKA_SASL_URL"), Value::Null, alice(mechanism, "alice-secret"))).await;
    }
    for mechanism in ["plain", "scram-sha-512"] {
        works(reached(&named("KAFKA_SASL_TLS_URL"), trusting("ca.pem"), alice(mechanism, "alice-secret"))).await;
    }
}

async fn a_wrong_password_through_tls_is_told_too() {
    let sasl = alice("scram-sha-256", "hunter2-wrong");
    let reason = refused(reached(&named("KAFKA_SASL_TLS_URL"), trusting("ca.pem"), sasl)).await;
    assert!(reason.contains("refuses user `alice`: ") && reason.contains("invalid credentials"), "{reason}");
}

async fn a_client_shows_its_certificate() {
    let with = |who: &str| {
        let (certificate, key) = (file(&format!("{who}.pem")), file(&format!("{who}.key")));
        json!({ "ca": file("ca.pem"), "certificate": certificate, "key": key })
    };
    let brokers = named("KAFKA_MUTUAL_TLS_URL");
    works(reached(&brokers, with("client"), Value::Null)).await;
    for tls in [with("stranger"), trusting("ca.pem")] {
        let reason = refused(reached(&brokers, tls, Value::Null)).await;
        // what the broker says may be lost with the connection
        let told = ["refuses the client certificate", "may not accept the client certificate"];
        assert!(told.iter().any(|told| reason.contains(told)) && reason.contains("`tls.certificate`"), "{reason}");
    }
}

async fn another_authority_is_named() {
    let brokers = named("KAFKA_SASL_TLS_URL");
    let reason = refused(reached(&brokers, trusting("other-ca.pem"), alice("plain", "alice-secret"))).await;
    let told = format!(
        "the certificate of the broker at {brokers} is not signed by an authority that is trusted here; see `tls.ca`"
    );
    assert!(reason.ends_with(&told), "{reason}");
}

async fn another_host_name_is_named_unless_it_is_allowed() {
    let by_address = named("KAFKA_SASL_TLS_URL").replace("localhost", "127.0.0.1");
    let sasl = || alice("plain", "alice-secret");
    let reason = refused(reached(&by_address, trusting("ca.pem"), sasl())).await;
    assert!(reason.contains(&format!("at {by_address} is for another host name; see `brokers`")), "{reason}");
    let any_name = |ca: &str| json!({ "ca": file(ca), "verify-host-name": false });
    works(reached(&by_address, any_name("ca.pem"), sasl())).await;
    let reason = refused(reached(&by_address, any_name("other-ca.pem"), sasl())).await;
    assert!(reason.contains("is not signed by an authority"), "only the name is free: {reason}");
}

async fn an_expired_certificate_is_named() {
    let brokers = named("KAFKA_EXPIRED_URL");
    let reason = refused(reached(&brokers, trusting("ca.pem"), Value::Null)).await;
    assert!(reason.ends_with(&format!("the certificate of the broker at {brokers} has expired")), "{reason}");
}

async fn files_are_read_before_anything_is_opened() {
    let refused = |tls: Value| {
        let error = binder_with(json!({ "brokers": "nowhere.invalid", "tls": tls })).unwrap_err();
        assert_eq!((error.kind(), error.context("binder")), (ErrorKind::Config, Some("kafka")), "{error:?}");
        error.to_string()
    };
    let said = refused(json!({ "ca": "/no/such/file.pem" }));
    assert!(said.contains("`tls.ca`: /no/such/file.pem: ") && said.contains("No such file"), "{said}");
    let said = refused(json!({ "ca": file("ca.key") }));
    assert!(said.contains("ca.key: no certificate in it"), "{said}");
    let said = refused(json!({ "certificate": file("client.pem"), "key": file("client.pem") }));
    assert!(said.contains("`tls.key`"), "{said}");
    let said = refused(json!({ "certificate": file("client.pem"), "key": file("stranger.key") }));
    assert!(said.contains("`tls.certificate` and `tls.key` are no pair"), "{said}");
}
