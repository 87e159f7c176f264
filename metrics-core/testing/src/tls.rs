//! A proxy that adds TLS, or refuses it, in front of a server without TLS.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SigningKey as _,
    date_time_ymd,
};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use url::Url;

/// The request for TLS that a client sends first: its length, and a number that is no version.
const TLS_PLEASE: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// The default years in which a certificate is valid.
pub const VALID: RangeInclusive<i32> = 2020..=2999;

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: NamedTempFile,
}

/// The certificate and key of a server.
#[derive(Clone, Debug)]
pub struct Identity {
    config: Arc<ServerConfig>,
}

impl Authority {
    /// Creates an authority with this name, which no client trusts by default.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(&[], VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(&file, issuer.pem()).expect("a file that can be written");
        Self { issuer, file }
    }

    /// Returns the path of the file with its certificate.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.file.path()
    }

    /// Issues a certificate for these names, valid from the first day of one year to the first day of another.
    #[must_use]
    pub fn issue_certificate(&self, names: &[&str], years: RangeInclusive<i32>) -> Identity {
        let key = key();
        let certificate = params(names, years).signed_by(&key, &self.issuer);
        Identity::new(certificate.expect("a certificate").into(), &key)
    }

    /// Returns a server identity that is the authority itself, as in a certificate made in one step.
    #[must_use]
    pub fn itself(&self) -> Identity {
        Identity::new(self.issuer.der().clone(), self.issuer.key())
    }
}

impl Identity {
    /// Creates an identity with a certificate of X.509 version 1, as `openssl x509 -req` makes without extensions.
    #[must_use]
    pub fn of_version_1() -> Self {
        let key = key();
        let newer = params(&[], VALID).self_signed(&key).expect("a certificate");
        Self::new(version_1(newer.der(), &key), &key)
    }

    /// Returns an acceptor of connections from clients that begin with TLS.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    fn new(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            // The resolver does not validate the certificate: some tests need invalid ones.
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
                vec![certificate],
                ring::sign::any_supported_type(&key).expect("a key of a known kind"),
            ))));
        Self { config: Arc::new(config) }
    }
}

/// Converts a certificate to version 1, which has neither a version field nor extensions, and signs it again.
fn version_1(newer: &[u8], key: &KeyPair) -> CertificateDer<'static> {
    const SEQUENCE: u8 = 0x30;
    let signed_and_more = elements(content(newer));
    let [signed, algorithm, _] = signed_and_more[..] else {
        panic!("a certificate has three parts")
    };
    let kept = elements(content(signed)).into_iter().filter(|it| !matches!(it[0], 0xA0 | 0xA3));
    let signed = wrap(SEQUENCE, &kept.collect::<Vec<_>>().concat());
    let signature = key.sign(&signed).expect("a signature");
    // No bits of the last byte are unused.
    let signature = wrap(0x03, &[&[0], &*signature].concat());
    wrap(SEQUENCE, &[&*signed, algorithm, &*signature].concat()).into()
}

/// Returns the length of the header of a DER element, and the length of its content.
fn lengths(der: &[u8]) -> (usize, usize) {
    match der[1] {
        short @ ..0x80 => (2, short.into()),
        long => {
            let bytes = usize::from(long & 0x7F);
            let length =
                der[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (2 + bytes, length)
        }
    }
}

fn content(der: &[u8]) -> &[u8] {
    let (head, length) = lengths(der);
    &der[head..head + length]
}

fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    while !der.is_empty() {
        let (head, length) = lengths(der);
        let (element, rest) = der.split_at(head + length);
        elements.push(element);
        der = rest;
    }
    elements
}

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a small element").to_be_bytes();
    let head: &[u8] = match length {
        [0, short @ ..0x80] => &[tag, short],
        [0, short] => &[tag, 0x81, short],
        [high, low] => &[tag, 0x82, high, low],
    };
    [head, content].concat()
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(names: &[&str], years: RangeInclusive<i32>) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = date_time_ymd(*years.start(), 1, 1);
    params.not_after = date_time_ymd(*years.end(), 1, 1);
    params
}

/// The response to a client that requests TLS.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Accepts, with a certificate.
    Yes(Identity),
    /// Refuses.
    No,
    /// Accepts, and closes the connection on the next bytes.
    HangUp,
    /// Accepts, and never sends anything more.
    Silence,
}

/// The number of clients so far that reached each step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Requested TLS.
    pub requested_tls: usize,
    /// Began a TLS handshake.
    pub began: usize,
    /// Accepted the certificate and continued in TLS.
    pub secured: usize,
    /// Continued without TLS.
    pub plain: usize,
}

/// A proxy that terminates TLS in front of a server, and forwards the plain bytes.
///
/// It must be started in the runtime of the test, and ends with that runtime.
#[derive(Debug)]
pub struct TlsProxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    target: (String, u16),
    answer: Mutex<Answer>,
    seen: watch::Sender<Seen>,
}

impl TlsProxy {
    /// Starts a proxy in front of the server at this URL.
    pub async fn start(url: &str, answer: Answer) -> Self {
        let url: Url = url.parse().expect("an address");
        let host = url.host_str().expect("an address with a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            target: (host, url.port().unwrap_or(5_432)),
            answer: Mutex::new(answer),
            seen: watch::Sender::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, accepting }
    }

    /// Returns the port of 127.0.0.1 on which the proxy listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes the response to later requests for TLS.
    pub fn answer(&self, answer: Answer) {
        *self.state.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Returns the number of clients that reached each step.
    #[must_use]
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.state.seen.subscribe()
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let state = Arc::clone(&state);
        // The client notices the end by itself.
        tokio::spawn(async move { state.serve(client).await });
    }
}

impl State {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut begin = [0; TLS_PLEASE.len()];
        client.read_exact(&mut begin).await?;
        if begin != TLS_PLEASE {
            self.count(|seen| seen.plain += 1);
            return self.pass(client, &begin).await;
        }
        self.count(|seen| seen.requested_tls += 1);
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let yes = !matches!(answer, Answer::No);
        client.write_all(if yes { b"S" } else { b"N" }).await?;
        // The client decides how to continue.
        if client.peek(&mut [0]).await? == 0 {
            return Ok(());
        }
        if yes {
            self.count(|seen| seen.began += 1);
        }
        match answer {
            Answer::Yes(identity) => {
                let client = TlsAcceptor::from(identity.config).accept(client).await?;
                self.count(|seen| seen.secured += 1);
                self.pass(client, &[]).await
            }
            Answer::No => {
                self.count(|seen| seen.plain += 1);
                self.pass(client, &[]).await
            }
            Answer::HangUp => client.read(&mut [0; 4096]).await.map(drop),
            Answer::Silence => client.read_to_end(&mut Vec::new()).await.map(drop),
        }
    }

    fn count(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }

    async fn pass(
        &self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        begin: &[u8],
    ) -> io::Result<()> {
        let mut server = TcpStream::connect(self.target.clone()).await?;
        server.set_nodelay(true)?;
        server.write_all(begin).await?;
        copy_bidirectional(&mut client, &mut server).await.map(drop)
    }
}
