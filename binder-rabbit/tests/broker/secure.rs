//! TLS and what goes wrong with it: `RABBIT_TLS_URL` names a listener for `localhost`, `RABBIT_CERTIFICATES` the folder of its
//! certificates.

use std::sync::Arc;
use std::time::Duration;

use binder_core::ErrorKind;
use binder_core::binder::{Binder, BinderHealth, ProducerBinding};
use binder_core::config::Section;
use binder_rabbit::RabbitBinder;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::*;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        messages_go_through_tls,
        a_client_shows_its_certificate,
        another_authority_is_named,
        another_host_name_is_named_unless_it_is_allowed,
        an_expired_certificate_is_named,
        a_wrong_password_through_tls_is_named_and_not_printed,
        a_port_without_tls_is_named,
        files_are_read_before_anything_is_opened,
    ]
}

fn url() -> String {
    std::env::var("RABBIT_TLS_URL").expect("checked by run")
}

fn file(name: &str) -> String {
    format!("{}/{name}", std::env::var("RABBIT_CERTIFICATES").expect("checked by run"))
}

fn trusting(ca: &str) -> Value {
    json!({ "ca": file(ca) })
}

fn broker(url: &str) -> Broker {
    Broker { url: url.to_owned() }
}

async fn works(broker: &Broker, tls: Value) {
    let binder = broker.binder_with(json!({ "tls": tls }));
    let destination = name("tls");
    let mut receiver = consumer(&binder, &destination, Some("g")).await;
    let sender = producer(&binder, &destination).await;
    assert!(send_all(&*sender, &numbers(10)).await.iter().all(Result::is_ok));
    assert_eq!(texts(&receive(&mut *receiver, 10).await), numbers(10));
    assert_eq!(binder.health(), BinderHealth::Up);
}

/// Returns what a binder says that can't connect.
async fn refused(broker: &Broker, tls: Value) -> String {
    let binder = broker.binder_with(json!({ "tls": tls }));
    let begun = std::time::Instant::now();
    let error = binder.bind_producer(&ProducerBinding::new("x")).await.expect_err("no connection");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Connection, true), "{error:?}");
    let BinderHealth::Connecting(reason) = binder.health() else { panic!("up") };
    assert_eq!(reason, error.message());
    assert!(!format!("{error:?} {binder:?}").contains("guest:guest"), "{error:?} {binder:?}");
    reason
}

async fn messages_go_through_tls(_: Broker) {
    works(&broker(&url()), trusting("ca.pem")).await;
}

async fn a_client_shows_its_certificate(_: Broker) {
    let with = |who: &str| {
        let (certificate, key) = (file(&format!("{who}.pem")), file(&format!("{who}.key")));
        json!({ "ca": file("ca.pem"), "certificate": certificate, "key": key })
    };
    works(&broker(&url()), with("client")).await;
    // the broker would accept a client without a certificate, so this one was shown
    let reason = refused(&broker(&url()), with("stranger")).await;
    // what the broker says may be lost with the connection
    let told = ["refuses the TLS connection: UnknownCA", "may not accept the client's certificate"];
    assert!(told.iter().any(|told| reason.contains(told)) && reason.contains("`tls.certificate`"), "{reason}");
}

async fn another_authority_is_named(_: Broker) {
    let reason = refused(&broker(&url()), trusting("other-ca.pem")).await;
    assert!(reason.ends_with("is not signed by an authority that is trusted here; see `tls.ca`"), "{reason}");
    assert!(reason.starts_with("the certificate of the broker at localhost:"), "{reason}");
}

async fn another_host_name_is_named_unless_it_is_allowed(_: Broker) {
    let by_address = broker(&url().replace("localhost", "127.0.0.1"));
    let reason = refused(&by_address, trusting("ca.pem")).await;
    assert!(reason.contains("127.0.0.1") && reason.contains("is for another host name"), "{reason}");
    let any_name = |ca: &str| json!({ "ca": file(ca), "verify-host-name": false });
    works(&by_address, any_name("ca.pem")).await;
    let reason = refused(&by_address, any_name("other-ca.pem")).await;
    assert!(reason.contains("is not signed by an authority"), "only the name is free: {reason}");
}

/// The broker has one certificate for all, so TLS ends before it, as with a load balancer.
async fn an_expired_certificate_is_named(plain: Broker) {
    let chain = CertificateDer::pem_file_iter(file("expired.pem")).expect("a file").map(|read| read.expect("PEM"));
    let key = PrivateKeyDer::from_pem_file(file("expired.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut inner) = acceptor.accept(socket).await else { continue };
            let mut outer = TcpStream::connect(plain.address()).await.expect("the broker");
            let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
        }
    });
    let front = broker(&format!("amqps://guest:guest@localhost:{port}/%2f"));
    let reason = refused(&front, trusting("ca.pem")).await;
    assert_eq!(reason, format!("the certificate of the broker at localhost:{port} has expired"));
}

async fn a_wrong_password_through_tls_is_named_and_not_printed(_: Broker) {
    let url = url().replace("guest:guest", "guest:s3cret-w0rd");
    let reason = refused(&broker(&url), trusting("ca.pem")).await;
    assert!(reason.contains("ACCESS_REFUSED") && reason.contains("user `guest`"), "{reason}");
    assert!(!reason.contains("s3cret"), "{reason}");
}

async fn a_port_without_tls_is_named(plain: Broker) {
    let reason = refused(&broker(&plain.url.replace("amqp://", "amqps://")), trusting("ca.pem")).await;
    assert!(reason.contains(&plain.address()) && reason.ends_with("does not speak TLS on this port"), "{reason}");
}

async fn files_are_read_before_anything_is_opened(_: Broker) {
    let refused = |tls: Value| {
        let section = Section::new("binders.rabbit", json!({ "url": "amqps://nowhere.invalid", "tls": tls }));
        let context = binder_core::binder::BinderContext::new("rabbit", section);
        let error = RabbitBinder::new(&context).expect_err("refused");
        assert_eq!((error.kind(), error.context("binder")), (ErrorKind::Config, Some("rabbit")), "{error:?}");
        error.to_string()
    };
    let said = refused(json!({ "ca": "/no/such/file.pem" }));
    assert!(said.contains("`tls.ca`: /no/such/file.pem: ") && said.contains("No such file"), "{said}");
    let said = refused(json!({ "ca": file("ca.key") }));
    assert!(said.contains("ca.key has no certificate"), "{said}");
    let said = refused(json!({ "ca": file("ca.pem"), "certificate": file("client.pem"), "key": file("client.pem") }));
    assert!(said.contains("`tls.key`"), "{said}");
    let said = refused(json!({ "ca": file("ca.pem"), "certificate": file("client.pem"), "key": file("stranger.key") }));
    assert!(said.contains("`tls.certificate` and `tls.key`"), "{said}");
}
