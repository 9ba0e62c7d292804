//! TLS to the broker: what is trusted, what is shown, and what an error means.

use std::path::Path;
use std::sync::Arc;

use binder_core::{Error, ErrorKind, Result};
use lapin::tcp::RustlsConnector;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::{RabbitProperties, Tls};

/// Makes what speaks TLS, if the broker is to be spoken to so. Reads all files anew: a renewed certificate is used by the next connection.
pub(crate) fn connector(settings: &RabbitProperties) -> Result<Option<RustlsConnector>> {
    if !settings.url.has_tls() {
        return Ok(None);
    }
    let tls = settings.tls.clone().unwrap_or_default();
    let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(trusted(&tls)?), Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|cause| refuse("`tls.ca`", cause))?;
    let verifier: Arc<dyn ServerCertVerifier> =
        if tls.verify_host_name { verifier } else { Arc::new(AnyHostName(verifier)) };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|cause| refuse("TLS", cause))?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    let config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|cause| unreadable("key", key, cause))?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|cause| refuse("`tls.certificate` and `tls.key`", cause))?
        }
        _ => config.with_no_client_auth(),
    };
    Ok(Some(RustlsConnector::from(config)))
}

/// Says what an error of a connection with TLS means, if it is one of TLS or may be.
pub(crate) fn reason(address: &str, error: &lapin::Error) -> Option<String> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let lapin::ErrorKind::IOError(cause) = error.kind() else { return None };
    if matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) {
        // the broker looks at it when the client is already through, and what it says may be lost with the connection
        return Some(format!(
            "no connection to the broker at {address}: {cause}; it may not accept the client's certificate, or the lack of one: see \
             `tls.certificate`"
        ));
    }
    let cause = cause.get_ref()?.downcast_ref::<rustls::Error>()?;
    let of_broker = |text: &str| Some(format!("the certificate of the broker at {address} {text}"));
    match cause {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => of_broker("has expired"),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                of_broker("is not valid yet")
            }
            CertificateError::UnknownIssuer => {
                of_broker("is not signed by an authority that is trusted here; see `tls.ca`")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                of_broker("is for another host name; see `url`, and `tls.verify-host-name`")
            }
            other => of_broker(&format!("is not accepted: {other}")),
        },
        rustls::Error::InvalidMessage(_) => Some(format!("the broker at {address} does not speak TLS on this port")),
        rustls::Error::AlertReceived(alert) => {
            Some(format!("the broker at {address} refuses the TLS connection: {alert:?}; see `tls.certificate`"))
        }
        other => Some(format!("no TLS with the broker at {address}: {other}")),
    }
}

fn trusted(tls: &Tls) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Some(ca) = &tls.ca {
        for certificate in certificates("ca", ca)? {
            store.add(certificate).map_err(|cause| refuse(&format!("`tls.ca`: {}", ca.display()), cause))?;
        }
        return Ok(store);
    }
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    if store.is_empty() {
        let text = "the system has no certificate authorities; set `tls.ca`";
        return Err(Error::new(ErrorKind::Config, text));
    }
    Ok(store)
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let read = read.map_err(|cause| unreadable(key, file, cause))?;
    if read.is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("`tls.{key}`: {} has no certificate", file.display())));
    }
    Ok(read)
}

fn unreadable(key: &str, file: &Path, cause: rustls::pki_types::pem::Error) -> Error {
    refuse(&format!("`tls.{key}`: {}", file.display()), cause)
}

fn refuse(what: &str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Config, format!("{what}: {cause}")).with_source(cause)
}

/// Checks all but the name, which is checked last.
#[derive(Debug)]
struct AnyHostName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHostName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
