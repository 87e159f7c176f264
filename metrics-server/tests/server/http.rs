//! The HTTP API from outside: routes, authorization, and error messages.

mod authorization;
mod keys;
mod reports;
mod routes;
mod script;

use metrics_server::{Credentials, Settings};
use metrics_server_testing::TestServer;

const REPORTS: [&str; 5] = ["plays", "views", "engagement", "sources", "watching"];

/// `ada:open sesame`
const AUTHORIZATION: &str = "Basic YWRhOm9wZW4gc2VzYW1l";

async fn guarded() -> TestServer {
    let credentials = Credentials::new("ada", "open sesame").unwrap();
    TestServer::with(Settings::default().access(credentials)).await
}

/// A server on which `intro` was watched for 3 seconds.
async fn watched() -> TestServer {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 3.0).await;
    server
}
