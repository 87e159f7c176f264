//! Sessions of the page: a signed cookie, so that any instance accepts it and no instance keeps anything.

use hyper::header::{COOKIE as COOKIE_HEADER, HeaderMap};
use serde_json::json;

use crate::token::{encode, opened};

/// The name of the cookie.
const COOKIE: &str = "metrics_session";

/// How long a session is valid, in seconds: a working day. It ends earlier with the password or the user.
const LIFE_SECONDS: i64 = 12 * 3_600;

/// A session.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Session {
    pub(super) user: String,
    /// See [`proof`](super::Users::proof).
    pub(super) proof: String,
}

/// The text of a session that begins at `now`, in Unix seconds.
pub(super) fn signed(secret: &[u8; 32], user: &str, proof: &str, now: i64) -> String {
    let payload = json!({ "sub": user, "proof": proof, "exp": now + LIFE_SECONDS });
    encode(secret, &json!({ "alg": "HS256" }), &payload.to_string())
}

/// The session of a text, if it is signed with the secret and has not ended.
pub(super) fn opened_session(secret: &[u8; 32], text: &str, now: i64) -> Option<Session> {
    let members = opened(text, secret).ok()?;
    let expires_at = members.get("exp")?.as_i64()?;
    let text = |name: &str| members.get(name)?.as_str().map(str::to_owned);
    (now < expires_at).then_some(Session { user: text("sub")?, proof: text("proof")? })
}

/// The cookie of a request. With several of its name, a page of another host under the same domain may have set one.
pub(super) fn found(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE_HEADER).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let mut found = pairs.filter(|(name, _)| name.trim() == COOKIE).map(|(_, value)| value.trim());
    let value = found.next()?;
    (found.next().is_none() && !value.is_empty()).then(|| value.to_owned())
}

/// The header that sets the cookie of a session, for paths under `prefix`.
pub(crate) fn cookie(value: &str, prefix: &str, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!(
        "{COOKIE}={value}; Path={prefix}/; Max-Age={LIFE_SECONDS}; HttpOnly; SameSite=Strict{secure}"
    )
}

/// The header that removes the cookie.
pub(crate) fn expired_cookie(prefix: &str) -> String {
    format!("{COOKIE}=; Path={prefix}/; Max-Age=0; HttpOnly; SameSite=Strict")
}
