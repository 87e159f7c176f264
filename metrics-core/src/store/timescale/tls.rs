//! TLS: the trusted certificates, and the reasons why one is not trusted.

use std::error::Error as _;
use std::sync::Arc;
use std::{fmt, io};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::chain::chain;
use super::error::unusable;
use super::messages;
use crate::store::Error;

/// The trust of TLS: with `verified`, the certificates in `root_file` or else those of the system; otherwise any
/// certificate.
pub(super) fn config(verified: bool, root_file: Option<&str>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|err| unusable(format!("TLS cannot be used ({err})")))?;
    Ok(if verified {
        builder.with_root_certificates(roots(root_file)?).with_no_client_auth()
    } else {
        let anyone = Arc::new(AnyCertificate { provider });
        builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth()
    })
}

/// The remedy for a connection that can never get TLS; `None` if TLS is not the cause.
pub(super) fn refusal(err: &tokio_postgres::Error) -> Option<String> {
    if let Some(err) = untrusted(err) {
        return Some(describe_distrusted(err));
    }
    let text = chain(err);
    if messages::lacks_tls(&text) {
        return Some(
            "the server does not support TLS, which sslmode requires: set `ssl = on` in its postgresql.conf, or \
             sslmode=disable in the URL if the network is trusted"
                .to_owned(),
        );
    }
    messages::lacks_host_name(&text).then(|| {
        "the URL names an address only, and TLS needs the name of the server: \
         name it before the port, and the address in hostaddr"
            .to_owned()
    })
}

/// The error of the server's certificate, if there is one.
fn untrusted(err: &tokio_postgres::Error) -> Option<&CertificateError> {
    let err = err.source()?.downcast_ref::<io::Error>()?.get_ref()?;
    match err.downcast_ref()? {
        rustls::Error::InvalidCertificate(err) => Some(err),
        _ => None,
    }
}

fn describe_distrusted(err: &CertificateError) -> String {
    match err {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: correct the clock of this machine, or of the one that \
             issued it"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            // Names come as `DnsName("db.example.com")`.
            let name = |name: &String| {
                let inner = name.split_once('(').and_then(|(_, name)| name.strip_suffix(')'));
                inner.unwrap_or(name).to_owned()
            };
            let names: Vec<_> = presented.iter().map(name).collect();
            if names.is_empty() {
                return format!(
                    "the server's certificate has no subjectAltName: issue one that names {expected:?}"
                );
            }
            format!(
                "the server's certificate is not for {expected:?} but for {}: issue one that names it, or use a \
                 name of the certificate in the URL",
                names.join(", ")
            )
        }
        // A signature is bad if a trusted authority has the same name and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server's certificate is from an untrusted authority: set sslrootcert to the file of the \
             authority's certificate"
                .to_owned()
        }
        err if messages::is_authority(&err.to_string()) => {
            "the server's certificate is one of an authority: issue one for a server (CA:FALSE) whose \
             subjectAltName has the name in the URL"
                .to_owned()
        }
        err => format!("the server's certificate is not valid ({err}): issue another one"),
    }
}

fn roots(file: Option<&str>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file.filter(|file| *file != "system") else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(unusable(
                "the system trusts no certificate authority: install its ca-certificates, or set sslrootcert to a \
                 file of certificates",
            ));
        }
        return Ok(roots);
    };
    let unreadable = |err: &dyn fmt::Display| {
        unusable(format!(
            "sslrootcert {file:?} cannot be read ({err}): name a file of PEM certificates"
        ))
    };
    for certificate in CertificateDer::pem_file_iter(file).map_err(|err| unreadable(&err))? {
        let certificate = certificate.map_err(|err| unreadable(&err))?;
        roots.add(certificate).map_err(|err| unreadable(&err))?;
    }
    if roots.is_empty() { Err(unreadable(&"it holds none")) } else { Ok(roots) }
}

/// Trusts any certificate, as libpq does for `prefer` and `require`: nobody can read the connection, but the server may
/// be another.
///
/// Certificates are not even parsed: version 1 of X.509, the output of `openssl x509 -req` on many servers, cannot be.
/// So handshake signatures are not verified either; they only prove possession of the key of a certificate that anybody
/// may have made.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
