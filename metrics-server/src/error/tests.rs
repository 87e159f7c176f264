//! The status and the header of every error.

use super::*;

fn unavailable() -> store::Error {
    let source = "no such table: /var/lib/secret.db".into();
    store::Error::Unavailable { store: "SQLite", source }
}

#[tokio::test]
async fn texts_of_a_driver_are_not_disclosed() {
    use http_body_util::BodyExt as _;

    let response = Error::from(unavailable()).into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], RETRY_SECONDS);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"{"error":"the store is unavailable; try again","code":"unavailable"}"#);
}

#[track_caller]
fn check(error: Error, status: u16, header: Option<(&str, &str)>) {
    let response = error.into_response();
    assert_eq!(response.status(), status);
    if let Some((name, value)) = header {
        assert_eq!(response.headers()[name], value);
    }
}

#[test]
fn every_error_has_its_status_and_its_header() {
    check(Error::parameter("interval", "must be longer"), 400, None);
    check(Error::body("the body is odd"), 400, None);
    check(Error::Unauthorized, 401, Some(("www-authenticate", "Basic realm=\"metrics\"")));
    check(Error::InvalidKey, 401, Some(("www-authenticate", "Key realm=\"metrics\"")));
    check(Error::UnknownVersion, 403, None);
    check(Error::ForeignPage { is_report: true }, 403, None);
    check(Error::UnknownHost("a".to_owned()), 421, None);
    check(Error::NotJson, 415, None);
    check(Error::NotFound, 404, None);
    for (millis, seconds) in [(1, "1"), (1_000, "1"), (14_001, "15")] {
        let retry_after = std::time::Duration::from_millis(millis);
        check(TooMany { retry_after }.into(), 429, Some(("retry-after", seconds)));
    }
    check(Error::MethodNotAllowed { allow: "GET, POST" }, 405, Some(("allow", "GET, POST")));
    check(Error::KeyExists, 409, None);
    check(Error::TooLarge { bytes_max: 1 }, 413, None);
    check(Error::PastTheEnd { length: 7 }, 416, Some(("content-range", "bytes */7")));
    check(Error::Ambiguous, 400, Some(("connection", "close")));
    check(Error::Busy, 503, Some(("retry-after", RETRY_SECONDS)));
    check(Error::TooManyReports, 503, Some(("retry-after", RETRY_SECONDS)));
    check(UsedUp::ByAll.into(), 503, Some(("retry-after", RETRY_SECONDS)));
    check(UsedUp::ByOne.into(), 413, None);
    check(Error::Full, 503, Some(("retry-after", RETRY_SECONDS)));
    check(Error::UnknownWebsocket, 426, Some(("sec-websocket-version", "13")));
    check(Error::NotStored, 503, Some(("retry-after", RETRY_SECONDS)));
    check(Error::Memory, 503, Some(("retry-after", RETRY_SECONDS)));
    check(store::Error::TimedOut { store: "SQLite", seconds: 30 }.into(), 503, None);
    check(ReportError::TooManyBuckets.into(), 400, None);
}

#[test]
fn errors_that_no_client_causes_have_their_codes() {
    let rejected = store::Error::Rejected {
        store: "SQLite",
        operation: "commit 1 session",
        source: "malformed".into(),
    };
    let timed_out = store::Error::TimedOut { store: "SQLite", seconds: 30 };
    for (error, code) in [
        (rejected.into(), Code::InternalError),
        (timed_out.into(), Code::ReportTimeout),
        (ReportError::from(ScanError::TooManyGroups).into(), Code::AnswerTooLarge),
        (ReportError::from(UsedUp::ByOne).into(), Code::AnswerTooLarge),
    ] {
        let error: Error = error;
        assert_eq!(error.code(), code, "{error}");
    }
}
