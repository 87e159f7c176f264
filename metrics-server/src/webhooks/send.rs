//! Sends deliveries: one request each, over TLS except where the operator allows plain HTTP, and without following
//! redirects.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::rules::{InvalidWebhooks, Rule, Rules};
use crate::text::is_plain;

/// The time limit of an attempt, from the look-up of the host to the status of the answer.
const ATTEMPT_MAX: Duration = Duration::from_secs(15);

/// The time limit of the body of an answer, which decides nothing.
const BODY_MAX: Duration = Duration::from_secs(1);

/// The largest header of an answer.
const HEADER_BYTES_MAX: usize = 16 * 1_024;

/// The part of an answer's body that is read.
const ANSWER_BYTES_MAX: usize = 1_024;

/// Sends deliveries.
pub(super) struct Client {
    /// None if no receiver is reached over TLS.
    tls: Option<TlsConnector>,
}

/// The answer of a receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Received {
    pub(super) status: u16,
    /// The beginning of the body, as far as it arrived in time, without characters of control.
    pub(super) text: String,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the receiver cannot be reached: {0}")]
    Connect(io::Error),
    #[error("no TLS connection: {0}")]
    Tls(io::Error),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the receiver did not answer within {ATTEMPT_MAX:?}")]
    Timeout,
    #[error("the receiver answered {0}{redirect}", redirect = redirect(*.0))]
    Refused(u16),
}

fn redirect(status: u16) -> &'static str {
    if (300..400).contains(&status) { ", and redirects are not followed: change `url`" } else { "" }
}

impl Client {
    /// A client that can reach the receivers of these rules.
    ///
    /// # Errors
    ///
    /// [`InvalidWebhooks`] if a receiver needs TLS, and no certificate can be trusted.
    pub(super) fn of(rules: &Rules) -> Result<Self, InvalidWebhooks> {
        if !rules.rules.iter().any(|rule| rule.target.is_secure()) && rules.ca_file.is_none() {
            return Ok(Self { tls: None });
        }
        let roots = roots(rules.ca_file.as_deref())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|err| InvalidWebhooks(format!("TLS cannot be used: {err}")))?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// Attempts a delivery once. Not cancel safe: the receiver may have it even so.
    ///
    /// # Errors
    ///
    /// [`SendError`] unless the receiver answers with a status from 200 to 299.
    pub(super) async fn send(
        &self,
        rule: &Rule,
        (id, body): (&str, &str),
        now: DateTime<Utc>,
    ) -> Result<Received, SendError> {
        let answer = timeout(ATTEMPT_MAX, self.attempt(rule, (id, body), now)).await;
        let (response, connection) = answer.unwrap_or(Err(SendError::Timeout))?;
        let status = response.status();
        if !status.is_success() {
            return Err(SendError::Refused(status.as_u16()));
        }
        let text = beginning(response.into_body(), connection).await;
        Ok(Received { status: status.as_u16(), text })
    }

    /// Sends a request, and returns the head of any answer, and the connection from which its body is read.
    async fn attempt(
        &self,
        rule: &Rule,
        delivery: (&str, &str),
        now: DateTime<Utc>,
    ) -> Result<(Response<Incoming>, Connection), SendError> {
        let request = request(rule, delivery, now);
        let target = &rule.target;
        let stream = TcpStream::connect((target.host(), target.port())).await;
        let stream = stream.map_err(SendError::Connect)?;
        if !target.is_secure() {
            return exchange(Box::new(stream), request).await;
        }
        let invalid = |text: &str| SendError::Tls(io::Error::other(text.to_owned()));
        let tls = self.tls.as_ref().ok_or_else(|| invalid("no certificate is trusted"))?;
        let name = ServerName::try_from(target.host().to_owned());
        let name = name.map_err(|_| invalid("the host is no name that a certificate has"))?;
        let stream = tls.connect(name, stream).await.map_err(SendError::Tls)?;
        exchange(Box::new(stream), request).await
    }
}

fn request(rule: &Rule, (id, body): (&str, &str), now: DateTime<Utc>) -> Request<Full<Bytes>> {
    let kind = if rule.is_text { "text/plain; charset=utf-8" } else { "application/json" };
    let seconds = now.timestamp();
    let mut request = Request::new(Full::new(Bytes::from(body.to_owned())));
    *request.method_mut() = Method::POST;
    // Both were parts of a URL.
    *request.uri_mut() = rule.target.path().parse().unwrap_or_default();
    let headers = [
        (HOST.as_str(), rule.target.authority()),
        (USER_AGENT.as_str(), concat!("metrics/", env!("CARGO_PKG_VERSION"))),
        (CONTENT_TYPE.as_str(), kind),
        ("webhook-id", id),
        ("webhook-timestamp", &seconds.to_string()),
        ("webhook-signature", &rule.secret.sign(id, seconds, body)),
    ];
    for (name, value) in headers {
        let (name, value) = (name.parse::<hyper::header::HeaderName>(), value.parse());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// A connection to a receiver, over TLS or not.
type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Sends a request, and waits for the head of the answer.
async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Connection), SendError> {
    let mut http = http1::Builder::new();
    http.max_buf_size(HEADER_BYTES_MAX);
    let (mut sender, mut connection) = http.handshake(TokioIo::new(stream)).await?;
    let mut answering = pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut answering => response?,
        // The rest of the answer was read.
        _ended = &mut connection => answering.await?,
    };
    Ok((response, connection))
}

/// Reads the beginning of a body, as far as it arrives within the time limit.
async fn beginning(mut body: Incoming, connection: Connection) -> String {
    let mut bytes = Vec::new();
    let mut reading = pin!(async {
        while bytes.len() < ANSWER_BYTES_MAX {
            let Some(Ok(frame)) = body.frame().await else { break };
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
        }
    });
    let read = async {
        tokio::select! {
            () = &mut reading => {}
            // The rest of the body was read.
            _ended = connection => reading.await,
        }
    };
    // The status counts, also without the rest of the body.
    let _complete = timeout(BODY_MAX, read).await;
    bytes.truncate(ANSWER_BYTES_MAX);
    let plain = |c: char| if is_plain(c) { c } else { ' ' };
    String::from_utf8_lossy(&bytes).chars().map(plain).collect()
}

/// The trusted certificates: those of a file, or of the system.
fn roots(file: Option<&str>) -> Result<RootCertStore, InvalidWebhooks> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() {
            let text = "the system trusts no certificate authority: install its ca-certificates, or set `ca_file`";
            Err(InvalidWebhooks(text.to_owned()))
        } else {
            Ok(roots)
        };
    };
    let unreadable = |err: &dyn std::fmt::Display| {
        InvalidWebhooks(format!("`ca_file` {file:?} must be a file of PEM certificates: {err}"))
    };
    for certificate in CertificateDer::pem_file_iter(file).map_err(|err| unreadable(&err))? {
        let certificate = certificate.map_err(|err| unreadable(&err))?;
        roots.add(certificate).map_err(|err| unreadable(&err))?;
    }
    if roots.is_empty() { Err(unreadable(&"it holds none")) } else { Ok(roots) }
}
