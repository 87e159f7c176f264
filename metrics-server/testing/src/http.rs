//! HTTP as bytes on a socket, so that a test can send any request, valid or not.

use std::fmt;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::soon;

/// A request.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Http {
    /// A request without headers and body.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a query, unless it is empty.
    pub fn query(mut self, query: &str) -> Self {
        if !query.is_empty() {
            self.target = format!("{}?{query}", self.target);
        }
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a body of JSON.
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Sends the request, and reads the response to its end.
    pub async fn send(self) -> Answer {
        soon(self.send_untimed()).await
    }

    /// Sends the request, and waits for the response without a timeout.
    pub async fn send_untimed(self) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let request = self.header("connection", "close").bytes();
        // A server may respond before it has read the whole request, and then stop reading.
        let writing = async { drop(write.write_all(&request).await) };
        let mut received = Vec::new();
        let reading = async { drop(read.read_to_end(&mut received).await) };
        tokio::join!(writing, reading);
        let (head, body) = split_head(&received).expect("an answer with a head");
        let mut answer = Answer::parse(head);
        answer.body = body.to_vec();
        answer
    }

    /// The request as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let Self { address, method, target, headers, body } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), body].concat()
    }

    /// The server that receives it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A response.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
}

impl Answer {
    /// Parses a response head, without a body.
    pub fn parse(head: &[u8]) -> Self {
        let head = str::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Self { status: status.parse().unwrap(), headers: headers.collect(), body: Vec::new() }
    }

    /// The value of a header, which must not be repeated.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(other, _)| other == name);
        let value = named.next().map(|(_, value)| value.as_str());
        assert!(named.next().is_none(), "`{name}` occurs twice: {:?}", self.headers);
        value
    }

    /// The body, which must be JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `error` of the JSON body.
    #[track_caller]
    pub fn error(&self) -> String {
        let json = self.json();
        assert!(json["code"].is_string(), "no code: {json}");
        let text = json["error"].as_str().filter(|text| !text.is_empty());
        text.expect("an error has a text").to_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, headers, body } = self;
        write!(f, "{status} {headers:?} {}", String::from_utf8_lossy(body))
    }
}

/// Splits a message into its head, without the empty line, and the bytes after it.
pub fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&bytes[..end], &bytes[end + 4..]))
}
