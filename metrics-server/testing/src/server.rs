//! A server as its clients know it: where it is, and a key.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{Answer, CHROME, Client, Http};

/// A server somewhere, in this process or in another one.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// A key that it takes.
    pub key: String,
}

impl Server {
    /// A request to it.
    pub fn http(&self, method: &str, path: &str) -> Http {
        Http::new(self.address, method, path)
    }

    /// Asks for a report.
    pub async fn report(&self, report: &str, query: &Value) -> Value {
        let answer = self.http("POST", &format!("/api/v1/{report}")).json(query).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut answer = answer.json();
        // The older reports without what they are about, which has the time of the request.
        if ["plays", "views", "engagement", "sources"].contains(&report) {
            assert!(answer.as_object_mut().unwrap().remove("meta").is_some());
        }
        answer
    }

    /// All that was watched of a video, however little it was.
    pub async fn watched(&self, identifier: &str) -> Watched {
        let query = json!({ "identifier": identifier, "minimum_watch_seconds": 0 });
        self.select(&query).await
    }

    /// All that was watched of what a query selects.
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

    /// How many watch now what is recorded under its key.
    pub async fn watching(&self) -> u64 {
        let report = self.report("watching", &json!({ "query": { "key": self.key } })).await;
        report["watching"].as_u64().unwrap()
    }

    /// A client of the current generation.
    pub async fn connect(&self) -> Client {
        self.connect_to("vsn=2.0.0").await
    }

    /// A client that connects with these parameters.
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

    /// A client, if it is not refused.
    ///
    /// # Errors
    ///
    /// The answer that refuses it.
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

/// What was watched of a video.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched {
    /// How many sessions count as plays.
    pub plays: u64,
    /// Seconds of video that were played.
    pub seconds: f64,
    /// The same, each second of a session counted once.
    pub unique: f64,
}

impl Watched {
    /// Nothing was watched.
    pub const NOTHING: Self = Self { plays: 0, seconds: 0.0, unique: 0.0 };

    /// One play of so many seconds, each seen once.
    pub fn once(seconds: f64) -> Self {
        Self { plays: 1, seconds, unique: seconds }
    }
}
