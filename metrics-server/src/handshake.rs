//! Accepts requests to upgrade to a websocket: RFC 6455, section 4.2.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::header::{
    AsHeaderName, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Response, StatusCode};
use sha1::{Digest as _, Sha1};

use crate::error::Error;
use crate::phoenix::{SUBPROTOCOL, offers_subprotocol};
use crate::response::{self, Body};

/// The text that is hashed with the key of a request: a server that returns the hash has understood the request as one
/// for a websocket.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Returns the response that accepts a request with these headers. After it, the connection carries frames.
///
/// # Errors
///
/// The request does not ask for a websocket of version 13, or it has a body: one party would take the bytes after the
/// head for frames, and another for a body.
pub(crate) fn accept(headers: &HeaderMap) -> Result<Response<Body>, Error> {
    if !has_token(headers, CONNECTION, "upgrade") || !has_token(headers, UPGRADE, "websocket") {
        return Err(Error::NotAWebsocket);
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        return Err(Error::UpgradeBody);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Error::UnknownWebsocket);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Error::NotAWebsocket)?;
    let hash = HeaderValue::try_from(hash(key.as_bytes())).map_err(|_| Error::NotAWebsocket)?;
    let mut response = response::empty(StatusCode::SWITCHING_PROTOCOLS);
    let answers = response.headers_mut();
    answers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answers.insert(SEC_WEBSOCKET_ACCEPT, hash);
    let mut offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    if offers.any(|header| header.to_str().is_ok_and(offers_subprotocol)) {
        answers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    Ok(response)
}

/// The value of `Sec-WebSocket-Accept` for a key.
fn hash(key: &[u8]) -> String {
    BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Whether a list of tokens, which may span several headers, contains `token`.
fn has_token(headers: &HeaderMap, name: impl AsHeaderName, token: &str) -> bool {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    values.any(|value| {
        let mut tokens = value.split(|byte| *byte == b',');
        tokens.any(|given| given.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_in_the_rfc() {
        assert_eq!(hash(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_token_may_be_anywhere_in_a_list() {
        for values in [&["Upgrade"][..], &["keep-alive, UPGRADE"], &["keep-alive", " upgrade ,x"]] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONNECTION, HeaderValue::from_static(value));
            }
            assert!(has_token(&headers, CONNECTION, "upgrade"), "{values:?}");
            assert!(!has_token(&headers, UPGRADE, "upgrade"), "{values:?}");
        }
        for value in ["", ",", "upgrades", "keep-alive upgrade"] {
            let headers = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static(value))]);
            assert!(!has_token(&headers, CONNECTION, "upgrade"), "{value:?}");
        }
    }
}
