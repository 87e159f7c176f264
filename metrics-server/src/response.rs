//! Responses, as the API gives them.

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// The body of every response: it is there as a whole.
pub type Body = http_body_util::Full<bytes::Bytes>;

/// A response with `value` as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(json) => response(status, "application/json", json),
        // Maps with keys that are no texts have no JSON; none of ours is one.
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// A response with a text of this kind.
pub(crate) fn text(kind: &'static str, text: String) -> Response<Body> {
    response(StatusCode::OK, kind, text.into_bytes())
}

/// A response with a page.
pub(crate) fn html(status: StatusCode, page: String) -> Response<Body> {
    response(status, "text/html; charset=utf-8", page.into_bytes())
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

fn response(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = empty(status);
    *response.body_mut() = Body::from(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // Figures are those of this moment, and not for everybody.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Texts that clients sent are among the answers: none of them is to be taken for a page or a script.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
