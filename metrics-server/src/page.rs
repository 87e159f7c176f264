//! `GET /`: what this is, whether it is well, and how to send the first event.

use std::time::Duration;

use hyper::header::{
    CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
};
use hyper::{Response, StatusCode};
use metrics_core::{ApiKey, Metrics};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use crate::access::Granted;
use crate::kept::Kept;
use crate::mount::Prefix;
use crate::response::{self, Body};

/// The key that an empty database gets, so that a newcomer can try it at once.
pub const EXAMPLE_KEY: &str = "HDsj3NfKQTNwn5Ix9g+cfQ==";

/// How long a visitor waits for the store to count.
const COUNT_MAX: Duration = Duration::from_secs(2);

/// How long a count is shown. A large store takes a while to count, and somebody may ask all the time.
const COUNT_KEPT: Duration = Duration::from_secs(5);

/// Nothing but the page itself: no script runs, nothing is fetched, no other page shows it, and none that is gone to
/// from it learns where it is.
const HEADERS: [(HeaderName, &str); 3] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const PAGE: &str = include_str!("page.html");

/// The page, and what the store said last.
pub(crate) struct Page {
    // None: it could not say.
    sessions: Kept<Option<u64>>,
}

impl Page {
    pub(crate) fn new() -> Self {
        Self { sessions: Kept::new(COUNT_KEPT) }
    }

    pub(crate) async fn show(
        &self,
        metrics: &Metrics,
        granted: &Granted,
        prefix: &Prefix,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let counting = metrics.clone();
        let count =
            self.sessions.ask(|| async move { counting.store().count_sessions().await.ok() });
        let store = match timeout(COUNT_MAX, count).await.map(Option::flatten) {
            Ok(Some(_)) if !granted.is_all() => "The store is well.".to_owned(),
            Ok(Some(1)) => "The store is well and holds 1 session.".to_owned(),
            Ok(Some(sessions)) => format!("The store is well and holds {sessions} sessions."),
            Ok(None) => "The store cannot be reached.".to_owned(),
            Err(_) => "The store is well but busy.".to_owned(),
        };
        index(&store, metrics, &format!("{}{}", host(headers), escaped(prefix.as_str()))).await
    }
}

/// The page of a server that is at `place`: a host, and a path if it is under one.
async fn index(store: &str, metrics: &Metrics, place: &str) -> Response<Body> {
    let example = ApiKey::new(EXAMPLE_KEY).ok();
    let accepted = match &example {
        Some(key) => metrics.accepts_key(key).await.unwrap_or(false),
        None => false,
    };
    let key = if accepted { EXAMPLE_KEY } else { "your API key" };
    let page = PAGE
        .replace("{{store}}", store)
        .replace("{{key}}", key)
        .replace("{{encoded_key}}", &utf8_percent_encode(key, NON_ALPHANUMERIC).to_string())
        .replace("{{place}}", place);
    let mut response = response::html(StatusCode::OK, page);
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The host that the visitor asked for, if it is nothing but a host.
fn host(headers: &HeaderMap) -> &str {
    let plain = |host: &&str| {
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte))
    };
    headers.get(HOST).and_then(|host| host.to_str().ok()).filter(plain).unwrap_or("localhost:3000")
}

/// A text as it stands in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&#39;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sent: &'static str, expected: &str) {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(sent))]);
        assert_eq!(host(&headers), expected);
    }

    #[test]
    fn a_host_is_shown_only_if_it_is_one() {
        check("example.com:3000", "example.com:3000");
        check("[::1]:3000", "[::1]:3000");
        check("<script>", "localhost:3000");
        assert_eq!(host(&HeaderMap::new()), "localhost:3000");
    }

    #[test]
    fn a_prefix_cannot_end_the_text_it_stands_in() {
        assert_eq!(escaped("/a'\"<&b"), "/a&#39;&quot;&lt;&amp;b");
    }
}
