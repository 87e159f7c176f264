//! Exports that end early: clients that disconnect, stores that fail, servers that stop.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use metrics_core::store::Error;
use metrics_server::Settings;
use metrics_server_testing::{Database, Http, TestServer, soon};
use metrics_testing::{Call, Intercept, Intercepted, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::fill;

/// The end of a complete response.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// Passes some page reads to the store; the others wait for ever, or fail.
#[derive(Clone, Debug)]
struct PageReads {
    // Selects page reads by their number, from 1 on.
    lets_through: fn(usize) -> bool,
    fails: bool,
    // The number of page reads.
    reads: watch::Sender<usize>,
}

impl PageReads {
    fn new(lets_through: fn(usize) -> bool, fails: bool) -> Self {
        Self { lets_through, fails, reads: watch::Sender::new(0) }
    }
}

#[async_trait]
impl Intercept for PageReads {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        if method == Method::Videos {
            let mut number = 0;
            self.reads.send_modify(|reads| {
                *reads += 1;
                number = *reads;
            });
            if !(self.lets_through)(number) {
                if self.fails {
                    let source = "it is away".into();
                    return Err(Error::Unavailable { store: "a test", source });
                }
                pending::<()>().await;
            }
        }
        call.await
    }
}

async fn gated(page_reads: &PageReads) -> TestServer {
    let database = Database::new().await;
    let store = database.open().await;
    fill(&*store).await;
    let store = Arc::new(Intercepted::by(page_reads.clone(), store));
    database.serve_over(store, Settings::default(), 1_000).await
}

/// Requests all sessions, and reads until the response has begun.
async fn begun(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = Http::new(server.address, "GET", "/api/v1/export/sessions");
    stream.write_all(&request.bytes()).await.unwrap();
    let mut head = [0; 15];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

#[tokio::test]
async fn a_client_that_disconnects_frees_its_permit() {
    // Each export has its first page, and waits for its second. There are fewer permits than exports.
    let page_reads = PageReads::new(|number| !number.is_multiple_of(2), false);
    let server = gated(&page_reads).await;
    for number in 0..6 {
        let stream = begun(&server).await;
        soon(page_reads.reads.subscribe().wait_for(|reads| *reads == 2 * number + 2))
            .await
            .unwrap();
        drop(stream);
    }
}

#[tokio::test]
async fn an_export_that_fails_is_not_mistaken_for_complete() {
    let server = gated(&PageReads::new(|number| number == 1, true)).await;
    let answer = server.http("GET", "/api/v1/export/sessions").send().await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.ends_with(LAST_CHUNK), "it says that it ends");
    assert!(1_000 < answer.body.len(), "the first page is there");

    let server = gated(&PageReads::new(|_| false, true)).await;
    let answer = server.http("GET", "/api/v1/export/sessions").send().await;
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_export() {
    let page_reads = PageReads::new(|number| number == 1, false);
    let server = gated(&page_reads).await;
    let mut stream = begun(&server).await;
    soon(page_reads.reads.subscribe().wait_for(|reads| *reads == 2)).await.unwrap();
    let mut rest = Vec::new();
    let stopping = server.begin_stop();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert!(!rest.ends_with(LAST_CHUNK), "it says that it ends");
    soon(stopping).await.unwrap();
}
