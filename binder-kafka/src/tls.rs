//! Certificates: whether the files are right, and what a broker's one lacks.
//!
//! librdkafka says of every certificate that it does not like the same words, so that it is looked at a second time here.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use binder_core::{Error, ErrorKind, Result};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{HandshakeError, SslConnector, SslFiletype, SslMethod};
use openssl::x509::{X509, X509VerifyResult};

use crate::config::Tls;

const PATIENCE: Duration = Duration::from_secs(2);

// OpenSSL's numbers of what may be wrong with a certificate.
const UNKNOWN_ISSUER: [i32; 4] = [18, 19, 20, 21];
const NOT_YET_VALID: i32 = 9;
const EXPIRED: i32 = 10;
const OTHER_NAME: [i32; 2] = [62, 64];

/// Reads the files that the settings name, to tell mistakes before anything is opened.
pub(crate) fn check(tls: &Tls) -> Result<()> {
    if let Some(ca) = &tls.ca {
        certificates("ca", ca)?;
    }
    let (Some(certificate), Some(file)) = (&tls.certificate, &tls.key) else { return Ok(()) };
    let chain = certificates("certificate", certificate)?;
    let refuse = |cause: ErrorStack| refuse("key", file, "no private key without a password").with_source(cause);
    let key = PKey::private_key_from_pem_callback(&read("key", file)?, |_| Ok(0)).map_err(refuse)?;
    match chain.first().map(|first| first.public_key()) {
        Some(Ok(public)) if public.public_eq(&key) => Ok(()),
        _ => Err(Error::new(ErrorKind::Config, "`tls.certificate` and `tls.key` are no pair")),
    }
}

fn certificates(name: &str, file: &Path) -> Result<Vec<X509>> {
    let read = X509::stack_from_pem(&read(name, file)?);
    let read = read.map_err(|cause| refuse(name, file, "not PEM").with_source(cause))?;
    if read.is_empty() { Err(refuse(name, file, "no certificate in it")) } else { Ok(read) }
}

fn read(name: &str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|cause| refuse(name, file, &cause.to_string()).with_source(cause))
}

fn refuse(name: &str, file: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("`tls.{name}`: {}: {why}", file.display()))
}

/// Looks at the certificate of the broker at `host:port` and says what is wrong with it. Waits for the broker.
pub(crate) fn reason(address: &str, tls: &Tls) -> Option<String> {
    let result = look(address, tls)?;
    let text = match result.as_raw() {
        EXPIRED => "has expired",
        NOT_YET_VALID => "is not valid yet",
        number if UNKNOWN_ISSUER.contains(&number) => {
            "is not signed by an authority that is trusted here; see `tls.ca`"
        }
        number if OTHER_NAME.contains(&number) => "is for another host name; see `brokers`, and `tls.verify-host-name`",
        _ => {
            return Some(format!(
                "the certificate of the broker at {address} is not accepted: {}",
                result.error_string()
            ));
        }
    };
    Some(format!("the certificate of the broker at {address} {text}"))
}

fn look(address: &str, tls: &Tls) -> Option<X509VerifyResult> {
    let (host, _) = address.rsplit_once(':')?;
    let mut connector = SslConnector::builder(SslMethod::tls_client()).ok()?;
    if let Some(ca) = &tls.ca {
        connector.set_ca_file(ca).ok()?;
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        connector.set_certificate_chain_file(certificate).ok()?;
        connector.set_private_key_file(key, SslFiletype::PEM).ok()?;
    }
    let mut settings = connector.build().configure().ok()?;
    settings.set_verify_hostname(tls.verify_host_name);
    let socket =
        address.to_socket_addrs().ok()?.find_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok())?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    match settings.connect(host.trim_matches(['[', ']']), socket) {
        Err(HandshakeError::Failure(broken)) => {
            Some(broken.ssl().verify_result()).filter(|result| *result != X509VerifyResult::OK)
        }
        _ => None,
    }
}
