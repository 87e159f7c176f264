//! Which pages of other origins may read answers.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::{Response, StatusCode};

use crate::response::{self, Body};

/// How long a browser may remember a preflight, in seconds: as long as browsers do at most.
const MAX_AGE: &str = "7200";

/// Which origins may read answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Cors {
    /// None but the server's own.
    #[default]
    Own,
    /// Every origin.
    Any,
    /// These, each like `https://example.com`.
    Listed(Vec<String>),
}

/// Lets the page that asked read the answer, if it may.
pub(crate) fn allow(cors: &Cors, asked: &HeaderMap, answer: &mut HeaderMap) {
    match cors {
        Cors::Own => {}
        Cors::Any => {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Cors::Listed(origins) => {
            answer.append(VARY, HeaderValue::from_static("origin"));
            let origin = asked.get(ORIGIN);
            let listed =
                |origin: &&HeaderValue| origins.iter().any(|it| it.as_bytes() == origin.as_bytes());
            if let Some(origin) = origin.filter(listed) {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
    }
}

/// The answer to a preflight, for a page that [`allow`] lets read it.
pub(crate) fn preflight(methods: &'static str) -> Response<Body> {
    let mut response = response::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    let allowed = HeaderValue::from_static("content-type, authorization");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cors: &Cors, origin: Option<&'static str>, expected: Option<&str>) {
        let asked = origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin)));
        let mut answer = HeaderMap::new();
        allow(cors, &asked.into_iter().collect(), &mut answer);
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
}
