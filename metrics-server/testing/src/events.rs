//! A client of server-sent events.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{Answer, Http, split_head};
use crate::{WAIT, soon};

/// An open stream of server-sent events.
#[derive(Debug)]
pub struct EventStream {
    /// The head of the response.
    pub answer: Answer,
    socket: TcpStream,
    // Bytes of chunks that are not complete, and then those of a block that is not.
    chunks: Vec<u8>,
    text: String,
    has_ended: bool,
}

/// A block of a stream, or its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// The time after which the client should resume, in milliseconds.
    Retry(u64),
    /// A comment.
    Comment,
    /// An event: its id, its name and its data.
    Event(Option<String>, String, Value),
    /// The end of the response.
    End,
    /// The connection ended before the response.
    Cut,
}

impl EventStream {
    /// Sends a request, and reads the head of the response.
    pub async fn open(http: Http) -> Self {
        let mut socket = TcpStream::connect(http.address()).await.unwrap();
        socket.write_all(&http.bytes()).await.unwrap();
        let mut received = Vec::new();
        loop {
            if let Some((head, rest)) = split_head(&received) {
                let (answer, chunks) = (Answer::parse(head), rest.to_vec());
                return Self { answer, socket, chunks, text: String::new(), has_ended: false };
            }
            let read = soon(socket.read_buf(&mut received)).await.unwrap();
            assert_ne!(read, 0, "the connection ended before the head of a response");
        }
    }

    /// Waits for the next block.
    pub async fn next(&mut self) -> Received {
        soon(self.next_ever()).await
    }

    /// Waits for the next block without a timeout.
    pub async fn next_ever(&mut self) -> Received {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let received = Received::of(block);
                self.text = rest.to_owned();
                return received;
            }
            if self.has_ended {
                return Received::End;
            }
            if !self.take_chunk() && self.socket.read_buf(&mut self.chunks).await.unwrap_or(0) == 0
            {
                return Received::Cut;
            }
        }
    }

    /// Waits for the next event without a name, skipping other blocks, and returns its id and its data.
    pub async fn state(&mut self) -> (String, Value) {
        loop {
            match self.next().await {
                Received::Event(Some(id), name, data) if name == "message" => return (id, data),
                Received::End | Received::Cut => panic!("the stream ended"),
                _ => {}
            }
        }
    }

    /// Waits for a state that `holds`, and returns it.
    pub async fn wait_for(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = timeout(WAIT, async {
            loop {
                (_, last) = self.state().await;
                if holds(&last) {
                    break;
                }
            }
        });
        assert!(found.await.is_ok(), "no such state in {WAIT:?}, the last is {last}");
        last
    }

    /// Decodes a chunk, if it is complete.
    fn take_chunk(&mut self) -> bool {
        let Some(line) = self.chunks.windows(2).position(|two| two == b"\r\n") else {
            return false;
        };
        let size = std::str::from_utf8(&self.chunks[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let (begin, end) = (line + 2, line + 2 + size);
        if self.chunks.len() < end + 2 {
            return false;
        }
        self.text.push_str(std::str::from_utf8(&self.chunks[begin..end]).unwrap());
        self.chunks.drain(..end + 2);
        self.has_ended = size == 0;
        true
    }
}

impl Received {
    fn of(block: &str) -> Self {
        let (mut id, mut name, mut data) = (None, "message", None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("retry", ms)) => return Self::Retry(ms.parse().unwrap()),
                Some(("id", text)) => id = Some(text.to_owned()),
                Some(("event", text)) => name = text,
                Some(("data", json)) => data = Some(serde_json::from_str(json).unwrap()),
                _ => assert_eq!(line, ":", "an unknown line"),
            }
        }
        data.map_or(Self::Comment, |data| Self::Event(id, name.to_owned(), data))
    }
}
