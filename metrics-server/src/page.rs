//! `GET /`: two videos to try it with, charts of the watched ranges, and instructions for the first event.

mod file;

use std::time::Duration;

use hyper::header::{
    CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
};
use hyper::{Response, StatusCode};
use metrics_core::{ApiKey, Metrics};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use crate::access::Grant;
use crate::prefix::Prefix;
use crate::response::{self, Body};
use crate::single_flight::SingleFlight;

pub(crate) use file::answer as file;

/// The key that an empty database gets, so that a newcomer can try it at once.
pub const EXAMPLE_KEY: &str = "HDsj3NfKQTNwn5Ix9g+cfQ==";

/// The timeout of the count of sessions.
const COUNT_MAX: Duration = Duration::from_secs(2);

/// How long a count is cached. A large store takes a while to count, and requests may come all the time.
const COUNT_KEPT: Duration = Duration::from_secs(5);

/// The page loads only its own scripts, styles and videos, none of them inline. No other page may embed it, and no
/// linked page receives its URL as the referrer.
const HEADERS: [(HeaderName, &str); 3] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    SAME_ORIGIN,
];

/// Pages of other origins cannot embed it as a script or an image.
const SAME_ORIGIN: (HeaderName, &str) =
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin");

const PAGE: &str = include_str!("page/index.html");

/// The page, and the last count of the store.
pub(crate) struct Page {
    // `None`: the store could not count.
    sessions: SingleFlight<Option<u64>>,
}

impl Page {
    pub(crate) fn new() -> Self {
        Self { sessions: SingleFlight::new(COUNT_KEPT) }
    }

    pub(crate) async fn show(
        &self,
        metrics: &Metrics,
        granted: &Grant,
        prefix: &Prefix,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let counting = metrics.clone();
        let count =
            self.sessions.get(|| async move { counting.store().count_sessions().await.ok() });
        let store = match timeout(COUNT_MAX, count).await.map(Option::flatten) {
            Ok(Some(_)) if !granted.is_all() => "The store is available.".to_owned(),
            Ok(Some(1)) => "The store is available and holds 1 session.".to_owned(),
            Ok(Some(sessions)) => format!("The store is available and holds {sessions} sessions."),
            Ok(None) => "The store cannot be reached.".to_owned(),
            Err(_) => "The store is available but busy.".to_owned(),
        };
        let example = match ApiKey::new(EXAMPLE_KEY) {
            Ok(key) => granted.covers(&key) && metrics.accepts_key(&key).await.unwrap_or(false),
            Err(_) => false,
        };
        index(&store, example, host(headers), &escaped(prefix.as_str()))
    }
}

/// The page of a server that is at this host and under this prefix, with the example key or without.
fn index(store: &str, example: bool, host: &str, prefix: &str) -> Response<Body> {
    // Relative if no prefix is known: a proxy may prepend a path.
    let at = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let key = if example { EXAMPLE_KEY } else { "your API key" };
    // Without that key, plays on this page are recorded once a visitor enters another key.
    let (example_key, script) = if example {
        (
            EXAMPLE_KEY,
            format!(
                r#"<script defer src="{at}metrics.js" data-key="{EXAMPLE_KEY}" data-live="1"></script>"#
            ),
        )
    } else {
        ("", String::new())
    };
    let page = PAGE
        .replace("{{store}}", store)
        .replace("{{script}}", &script)
        .replace("{{example_key}}", example_key)
        .replace("{{key}}", key)
        .replace("{{encoded_key}}", &utf8_percent_encode(key, NON_ALPHANUMERIC).to_string())
        .replace("{{place}}", &format!("{host}{prefix}"))
        .replace("{{at}}", &at);
    let mut response = response::html(StatusCode::OK, page);
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The requested host, if it is nothing but a host.
fn host(headers: &HeaderMap) -> &str {
    let plain = |host: &&str| {
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte))
    };
    headers.get(HOST).and_then(|host| host.to_str().ok()).filter(plain).unwrap_or("localhost:3000")
}

/// A text, escaped for HTML.
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
    fn only_a_valid_host_is_shown() {
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
