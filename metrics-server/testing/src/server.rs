//! A server as its clients use it: an address and a key.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{Answer, CHROME, Client, EventStream, Http};

/// A server somewhere, in this process or in another one.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address on which the server listens.
    pub address: SocketAddr,
    /// A valid key of the server.
    pub key: String,
}

impl Server {
    /// A request to the server.
    pub fn http(&self, method: &str, path: &str) -> Http {
        Http::new(self.address, method, path)
    }

    /// Requests a report.
    pub async fn report(&self, report: &str, query: &Value) -> Value {
        let answer = self.http("POST", &format!("/api/v1/{report}")).json(query).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut answer = answer.json();
        // The tests compare these reports without `meta`, which has the time of the request.
        if ["plays", "views", "engagement", "sources"].contains(&report) {
            assert!(answer.as_object_mut().unwrap().remove("meta").is_some());
        }
        answer
    }

    /// The plays and view times of a video, with no minimum view time.
    pub async fn watched(&self, identifier: &str) -> Watched {
        let query = json!({ "identifier": identifier, "minimum_watch_seconds": 0 });
        self.select(&query).await
    }

    /// The plays and view times of the sessions that a query selects.
    pub async fn select(&self, query: &Value) -> Watched {
        let report = self.report("plays", query).await;
        let buckets = report["views"].as_array().unwrap();
        let sum = |field: &str| buckets.iter().map(|it| it[field].as_f64().unwrap()).sum::<f64>();
        // Whole milliseconds: sums of floats are not exact.
        let seconds = |field: &str| (sum(field) * 1_000.0).round() / 1_000.0;
        Watched {
            plays: sum("views") as u64,
            seconds: seconds("total_view_time"),
            unique: seconds("unique_total_view_time"),
        }
    }

    /// The number of viewers who are watching now, of sessions under this key.
    pub async fn watching(&self) -> u64 {
        let report = self.report("watching", &json!({ "query": { "key": self.key } })).await;
        report["watching"].as_u64().unwrap()
    }

    /// Opens a stream of viewers with these parameters.
    pub async fn live(&self, query: &str) -> EventStream {
        EventStream::open(self.http("GET", "/api/v1/live").query(query)).await
    }

    /// Connects with the current version of the protocol.
    pub async fn connect(&self) -> Client {
        self.connect_to("vsn=2.0.0").await
    }

    /// Connects with these parameters.
    #[track_caller]
    pub fn connect_to(&self, query: &str) -> impl Future<Output = Client> + use<> {
        let connecting = self.upgrade(query, &[("user-agent", CHROME)]);
        async {
            match connecting.await {
                Ok(client) => client,
                Err(answer) => panic!("no websocket: {answer:?}"),
            }
        }
    }

    /// Connects, unless the server refuses.
    ///
    /// # Errors
    ///
    /// The response of the refusal.
    pub fn upgrade(
        &self,
        query: &str,
        headers: &[(&str, &str)],
    ) -> impl Future<Output = Result<Client, Answer>> + use<> {
        let mut http = Http::new(self.address, "GET", "/socket/websocket").query(query);
        for (name, value) in headers {
            http = http.header(name, value);
        }
        let key = self.key.clone();
        async move { Client::upgrade(http, key).await }
    }
}

/// The plays and view times of a video.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched {
    /// The number of plays.
    pub plays: u64,
    /// The view time in seconds.
    pub seconds: f64,
    /// The unique view time: each second of a session counts once.
    pub unique: f64,
}

impl Watched {
    /// No plays.
    pub const NOTHING: Self = Self { plays: 0, seconds: 0.0, unique: 0.0 };

    /// One play of `seconds` seconds, each seen once.
    pub fn once(seconds: f64) -> Self {
        Self { plays: 1, seconds, unique: seconds }
    }
}
