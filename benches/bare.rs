//! The upper bound: a server that reads the same frames and answers each with the same text, without parsing their
//! payloads and without a store.
//!
//! ```sh
//! cargo run --release -p benches --bin bare -- --listen 127.0.0.1:3001
//! ```
//!
//! It accepts the websockets of the load generator like `metrics-server`: hyper, and an upgrade.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::{Buf as _, Bytes, BytesMut};
use clap::Parser;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use metrics_server_testing::websocket::{CLOSE, FIN, HANDSHAKE, TEXT};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// As long as an acknowledgement of the server, with its refs and its topic.
const ANSWER: &str = "[null,null,\"session:00000000-0000-0000-0000-000000000000\",\"phx_reply\",\
                      {\"status\":\"ok\",\"response\":{}}]";

// Its length takes one byte.
const _: () = assert!(ANSWER.len() < 126);

/// The read buffer of a connection, as large as that of the server.
const READ_BYTES: usize = 2 * 1024;

/// The backlog of the server.
const BACKLOG: u32 = 4_096;

#[derive(Debug, Parser)]
#[command(about = "Answers every websocket frame with the same words")]
struct Flags {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:3001")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let flags = Flags::parse();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(flags.listen)?;
    let listener = socket.listen(BACKLOG)?;
    #[expect(clippy::print_stdout, reason = "who starts it wants to know where it listens")]
    {
        println!("listening address={}", listener.local_addr()?);
    }
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connect(stream));
    }
}

async fn connect(stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let http = http1::Builder::new();
    let connection = http.serve_connection(TokioIo::new(stream), service_fn(respond));
    // A client that disconnects causes no error.
    drop(connection.with_upgrades().await);
}

async fn respond(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    if request.headers().get(SEC_WEBSOCKET_KEY).is_none_or(|key| key != HANDSHAKE.0) {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    }
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(HANDSHAKE.1));
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // Neither does a websocket that ends.
        if let Ok(upgraded) = upgraded.await {
            drop(answer(TokioIo::new(upgraded)).await);
        }
    });
    Ok(response)
}

/// Answers text frames, each with a write, until the client closes.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let answer = [&[FIN | TEXT, ANSWER.len() as u8], ANSWER.as_bytes()].concat();
    let mut input = BytesMut::new();
    loop {
        while let Some((opcode, length)) = frame(&input) {
            input.advance(length);
            match opcode {
                TEXT => stream.write_all(&answer).await?,
                CLOSE => return Ok(()),
                _ => {}
            }
        }
        input.reserve(READ_BYTES);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// The opcode and the length of the first frame, if it is complete. The payload stays masked: nobody reads it.
fn frame(bytes: &[u8]) -> Option<(u8, usize)> {
    let (header, payload) = match *bytes {
        [_, length @ 128..254, ..] => (6, usize::from(length & 0x7f)),
        [_, 254, a, b, ..] => (8, u16::from_be_bytes([a, b]).into()),
        // The load generator sends no longer frames.
        _ => return None,
    };
    let length = header + payload;
    (length <= bytes.len()).then_some((bytes[0] & 0x0f, length))
}
