//! More connections than there are permits.

use std::time::Duration;

use metrics_server::Settings;
use metrics_server_testing::{Bystander, CHROME, Database, TestServer, soon};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test(start_paused = true)]
async fn without_permits_all_are_refused_and_health_is_answered() {
    const CONNECTIONS: usize = 20;
    let server = Database::new().await.serve_some(Settings::default(), CONNECTIONS).await;
    let bystander = Bystander::of(&server).await;
    let mut idle = Vec::new();
    for _ in 1..CONNECTIONS {
        idle.push(server.connect().await);
    }
    for _ in 0..2 * CONNECTIONS {
        for (path, status) in [("/health/live", 200), ("/health/ready", 200), ("/metrics.js", 503)]
        {
            let answer = server.http("GET", path).send().await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert_eq!(answer.header("connection"), Some("close"));
        }
        let batch = server.http("POST", "/v1/events").body("{}").send().await;
        assert_eq!((batch.status, batch.header("retry-after")), (503, Some("2")), "{batch:?}");
    }
    let refused = server.upgrade("vsn=2.0.0", &[]).await.err().unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    drop(idle.pop());
    // The server frees a permit once it notices the end of the connection.
    let joined = async { while server.upgrade("vsn=2.0.0", &[]).await.is_err() {} };
    soon(joined).await;
    bystander.expect_unharmed().await;
}

/// Connections that hold the permits reserved for health checks lose them soon.
#[tokio::test(start_paused = true)]
async fn connections_without_requests_delay_health_for_a_moment_only() {
    const CONNECTIONS: usize = 2;
    let server = Database::new().await.serve_some(Settings::default(), CONNECTIONS).await;
    let bystander = Bystander::of(&server).await;
    let _last = server.connect().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    for stream in &mut silent {
        // The server closes the connection at once, or at its timeout.
        assert!(!matches!(
            timeout(Duration::from_secs(10), stream.read_u8()).await,
            Ok(Ok(_)) | Err(_)
        ));
    }
    assert_eq!(server.http("GET", "/health/live").send().await.status, 200);
    bystander.expect_unharmed().await;
}

/// Behind a proxy, all connections have the proxy's address, and the forwarded address counts.
#[tokio::test(start_paused = true)]
async fn an_address_behind_a_proxy_holds_its_share_and_no_more() {
    const SHARE: usize = 5;
    let settings = Settings::default().forwarded_header("x-forwarded-for".parse().unwrap());
    let server = TestServer::with(settings.connections_per_address(SHARE)).await;
    let bystander = Bystander::of(&server).await;
    let from = |address: &'static str| [("x-forwarded-for", address), ("user-agent", CHROME)];
    let mut held = Vec::new();
    for _ in 0..SHARE {
        held.push(server.upgrade("vsn=2.0.0", &from("2001:db8::1")).await.unwrap());
    }
    for same in ["2001:db8::1", "198.51.100.9, 2001:db8::2"] {
        let refused = server.upgrade("vsn=2.0.0", &from(same)).await.err().unwrap();
        assert_eq!(refused.status, 503, "{refused:?}");
        let request = server.http("GET", "/metrics.js").header("x-forwarded-for", same);
        assert_eq!(request.send().await.status, 503);
        let health = server.http("GET", "/health/live").header("x-forwarded-for", same);
        assert_eq!(health.send().await.status, 200);
    }
    let mut other = server.upgrade("vsn=2.0.0", &from("198.51.100.9")).await.unwrap();
    other.join("session:other", "intro").await;
    drop(held);
    let back = async { while server.upgrade("vsn=2.0.0", &from("2001:db8::1")).await.is_err() {} };
    soon(back).await;
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn connections_that_end_at_once_delay_nobody() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    for _ in 0..500 {
        let stream = TcpStream::connect(server.address).await.unwrap();
        // The connection ends with a reset.
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    assert_eq!(server.http("GET", "/health/live").send().await.status, 200);
    bystander.expect_unharmed().await;
}
