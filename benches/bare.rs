//! The upper bound: a server that reads the same frames and answers each with the same text, without parsing them and
//! without a store.
//!
//! ```sh
//! cargo run --release -p benches --bin bare -- --listen 127.0.0.1:3001
//! ```
//!
//! It accepts websockets like `metrics-server`: hyper, an upgrade, `fastwebsockets`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use clap::Parser;
use fastwebsockets::{Frame, OpCode, Payload, WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpSocket, TcpStream};

/// As long as an acknowledgement of the server, with its refs and its topic.
const ANSWER: &str = "[null,null,\"session:00000000-0000-0000-0000-000000000000\",\"phx_reply\",\
                      {\"status\":\"ok\",\"response\":{}}]";

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
    let Ok((response, upgraded)) = upgrade::upgrade(&mut request) else {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    tokio::spawn(async move {
        // Neither does a websocket that ends.
        drop(answer(upgraded).await);
    });
    Ok(response)
}

async fn answer(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut websocket = upgraded.await?;
    loop {
        let frame = websocket.read_frame().await?;
        match frame.opcode {
            OpCode::Text => {
                let answer = Payload::Borrowed(ANSWER.as_bytes());
                websocket.write_frame(Frame::text(answer)).await?;
            }
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}
