//! Sessions of the page: a signed cookie, so that any instance accepts it.
//!
//! Signing out stores one time per user: sessions that end no later are refused. All sessions live equally long, so these
//! are the session that was ended, with all copies of its cookie, and the earlier ones of its user.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::{COOKIE as COOKIE_HEADER, HeaderMap};
use serde_json::json;
use sha2::Sha256;

use crate::token::{encode, opened};

/// The name of the cookie.
const COOKIE: &str = "metrics_session";

/// The bytes of a proof: others cannot be found by trying.
const PROOF_BYTES: usize = 16;

/// How long a session is valid, in seconds: a working day. It ends earlier with the password, the user or by signing out.
const LIFE_SECONDS: i64 = 12 * 3_600;

/// A session.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Session {
    pub(super) user: String,
    /// See [`proof`](super::Users::proof).
    pub(super) proof: String,
    /// Its end, in Unix milliseconds. A user may sign out and in within a second.
    pub(super) until_ms: i64,
}

/// A text that changes with the secrets of a user: their HMAC under the secret of sessions. Browsers store it, so that it
/// must not permit trying passwords without the server.
pub(super) fn proof(secret: &[u8; 32], secrets: &[&[u8]]) -> String {
    // The block of SHA-256 (RFC 2104).
    let mut block = [0_u8; 64];
    block[..32].copy_from_slice(secret);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    // Signed sessions have no such byte: a proof is never a signature.
    mac.update(b"proof v1\0");
    for secret in secrets {
        mac.update(&(secret.len() as u64).to_be_bytes());
        mac.update(secret);
    }
    BASE64_URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..PROOF_BYTES])
}

/// The text of a session that begins at `now_ms`, in Unix milliseconds.
pub(super) fn signed(secret: &[u8; 32], user: &str, proof: &str, now_ms: i64) -> String {
    let until_ms = now_ms + LIFE_SECONDS * 1_000;
    let payload = json!({ "sub": user, "proof": proof, "until_ms": until_ms });
    encode(secret, &json!({ "alg": "HS256" }), &payload.to_string())
}

/// The session of a text, if it is signed with the secret and has not ended.
pub(super) fn opened_session(secret: &[u8; 32], text: &str, now_ms: i64) -> Option<Session> {
    let members = opened(text, secret).ok()?;
    let until_ms = members.get("until_ms")?.as_i64()?;
    let text = |name: &str| members.get(name)?.as_str().map(str::to_owned);
    (now_ms < until_ms).then_some(Session { user: text("sub")?, proof: text("proof")?, until_ms })
}

/// The id of the record of a user who signed out, among those of revoked tokens. No token has an id with a line break, and
/// no key, which ids of tokens of a key begin with, is empty.
pub(super) fn record_of(user: &str) -> String {
    format!("\nsession\n{}", user.to_ascii_lowercase())
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
