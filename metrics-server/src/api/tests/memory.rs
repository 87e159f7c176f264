//! Answers that nobody reads stay within their memory budget.

use http_body_util::BodyExt as _;
use metrics_core::budget::Budget;
use serde_json::{Value, json};

use super::fixture::{Fixture, parse};
use crate::answer::Answers;
use crate::api::plays;
use crate::error::Error;
use crate::queue::Flow;

#[tokio::test]
async fn unread_reports_hold_no_more_than_their_budget() {
    let fixture = Fixture::new("2023-05-01T10:00:00Z").await;
    let params = parse(&json!({
        "identifier": "intro", "interval": "1 minute", "fill": true,
        "timeframe": { "from": "2023-04-25T00:00:00Z", "to": "2023-05-01T00:00:00Z" },
    }));
    let budget = Budget::new(8_000_000);
    let answers = Answers::within(budget.clone());
    let mut unread = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let making = answers.admit(Flow::Network(None)).await.unwrap();
        let reports = fixture.metrics.reports().within(&making.account);
        let body = match plays::plays(reports, &params).await {
            Ok(text) => making.body(text).await,
            Err(err) => Err(err),
        };
        match body {
            Ok(body) => unread.push(body),
            Err(Error::UsedUp(_)) => refused += 1,
            Err(err) => panic!("{err}"),
        }
        assert!(budget.used() <= budget.max());
    }
    assert!(!unread.is_empty() && 0 < refused, "{} and {refused}", unread.len());
    let body = unread.pop().unwrap().collect().await.unwrap().to_bytes();
    let report: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(report["views"].as_array().unwrap().len(), 6 * 24 * 60 + 1);
    drop(unread);
    drop(body);
    assert_eq!(budget.used(), 0);
}
