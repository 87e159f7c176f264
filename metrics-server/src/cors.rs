//! CORS: the origins whose pages may read responses.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue, VARY,
};
use hyper::{Response, StatusCode};

use crate::response::{self, Body};

/// The time that a browser may cache a preflight, in seconds: the maximum of browsers.
const MAX_AGE: &str = "7200";

/// The origins that may read responses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cors {
    /// The server's own origin only.
    #[default]
    Own,
    /// Every origin.
    Any,
    /// These, each like `https://example.com`.
    Listed(Vec<String>),
}

/// Allows the requesting page to read the response, if its origin is allowed.
pub(crate) fn allow(cors: &Cors, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
    match cors {
        Cors::Own => {}
        Cors::Any => {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Cors::Listed(origins) => {
            answer.append(VARY, HeaderValue::from_static("origin"));
            let listed =
                |origin: &&HeaderValue| origins.iter().any(|it| it.as_bytes() == origin.as_bytes());
            if let Some(origin) = origin.filter(listed) {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
    }
}

/// The response to a preflight. [`allow`] decides whether the page may read the response to its request.
pub(crate) fn preflight(
    cors: &Cors,
    origin: Option<&HeaderValue>,
    methods: &'static str,
) -> Response<Body> {
    let mut response = response::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    let allowed = "content-type, authorization, x-phoenix-authtoken, last-event-id";
    let allowed = HeaderValue::from_static(allowed);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    allow(cors, origin, headers);
    response
}

/// The response to a preflight of a batch, which any page may send.
///
/// Browsers send beacons with credentials always, and reject `*` in the response to such a request: a page that closes
/// would lose its last events. No handler of batches uses credentials.
pub(crate) fn preflight_batch(
    origin: Option<&HeaderValue>,
    methods: &'static str,
) -> Response<Body> {
    let mut response = preflight(&Cors::Any, origin, methods);
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cors: &Cors, origin: Option<&'static str>, expected: Option<&str>) {
        let origin = origin.map(HeaderValue::from_static);
        let mut answer = HeaderMap::new();
        allow(cors, origin.as_ref(), &mut answer);
        let allowed = answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|it| it.to_str().unwrap());
        assert_eq!(allowed, expected);
        assert_eq!(answer.contains_key(VARY), matches!(cors, Cors::Listed(_)));
    }

    #[test]
    fn only_listed_origins_may_read() {
        let listed = Cors::Listed(vec!["https://a.example".to_owned()]);
        check(&listed, Some("https://a.example"), Some("https://a.example"));
        check(&listed, Some("https://b.example"), None);
        check(&listed, Some("https://a.example.evil"), None);
        check(&listed, None, None);
        check(&Cors::Any, Some("https://b.example"), Some("*"));
        check(&Cors::Own, Some("https://b.example"), None);
    }

    #[test]
    fn a_beacon_may_be_sent_from_everywhere() {
        let origin = HeaderValue::from_static("https://a.example");
        let response = preflight_batch(Some(&origin), "POST, OPTIONS");
        let headers = response.headers();
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "POST, OPTIONS");
    }

    #[test]
    fn credentials_are_for_beacons_only() {
        let origin = HeaderValue::from_static("https://a.example");
        for (cors, expected) in [(Cors::Any, Some("*")), (Cors::Own, None)] {
            let response = preflight(&cors, Some(&origin), "GET, POST, OPTIONS");
            let headers = response.headers();
            let allowed = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|it| it.to_str().unwrap());
            assert_eq!(allowed, expected);
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        }
    }
}
