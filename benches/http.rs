//! A minimal HTTP client, for creating a key and requesting reports.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Posts a JSON body, and returns the JSON of the response.
///
/// # Errors
///
/// The server cannot be reached, or the status is not a success.
pub async fn post(server: SocketAddr, path: &str, body: &Value) -> io::Result<Value> {
    let answer = exchange(server, &request(server, path, body)).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if !head.starts_with("HTTP/1.1 2") {
        return Err(io::Error::other(format!("{path} was answered with {head} {body}")));
    }
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return serde_json::from_str(&joined(body)).map_err(io::Error::other);
    }
    serde_json::from_str(body).map_err(io::Error::other)
}

/// A request that posts a JSON body, and closes the connection.
#[must_use]
pub fn request(server: SocketAddr, path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request, and returns the whole response.
///
/// # Errors
///
/// The server cannot be reached.
pub async fn exchange(server: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Joins the chunks of a body.
fn joined(mut chunks: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let Ok(length @ 1..) = usize::from_str_radix(length, 16) else { break };
        let (Some(chunk), Some(next)) = (rest.get(..length), rest.get(length + 2..)) else { break };
        text.push_str(chunk);
        chunks = next;
    }
    text
}
