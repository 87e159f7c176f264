//! Access tokens: JSON Web Tokens (RFC 7519) with HS256, and no other algorithm.
//!
//! The signature is checked before anything but the header is read. The header may name a key as `kid`: then the token
//! is signed with the secret of that key, which follows from the secret of the server, and is confined to that key
//! whatever its claims are. So a customer who has the secret of a key makes tokens of that key only.
//!
//! HMAC is the crate `hmac`, which the PostgreSQL client links already. The crate `jsonwebtoken` would bring RSA and
//! elliptic curves, which are never used, and an algorithm that the token chooses.

mod claims;
mod unique;

use std::fmt;
use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use metrics_core::ApiKey;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub(crate) use self::claims::{Claims, DAYS_MAX, ID_BYTES_MAX, read_scopes};
pub(crate) use self::unique::UniqueMembers;

/// The longest token, in bytes: proxies accept URLs and headers of 8 KiB.
const TOKEN_BYTES_MAX: usize = 7 * 1_024;

/// The fewest bytes of a secret: as many as HS256 has of strength (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Signs and checks access tokens with a secret. The debug form does not show it.
///
/// ```
/// use metrics_server::{Settings, Tokens};
///
/// let tokens = Tokens::new("a secret of at least 32 random bytes").expect("it is long enough");
/// let settings = Settings::default().tokens(tokens);
/// assert!(Tokens::new("too short").is_none());
/// ```
#[derive(Clone)]
pub struct Tokens {
    secret: Arc<[u8]>,
}

/// Why a token is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidToken {
    #[error("tokens are not accepted: the operator sets METRICS_TOKEN_SECRET")]
    Disabled,
    #[error("more than one token: send one")]
    Several,
    #[error("the token is no JSON Web Token of at most {TOKEN_BYTES_MAX} bytes")]
    Malformed,
    #[error("the token must have `alg` HS256, and no `crit`")]
    Algorithm,
    #[error(
        "the signature of the token is wrong: sign it with the secret that `kid` names, or with that of the server"
    )]
    Signature,
    #[error("the token expired: create another")]
    Expired,
    #[error("the token is not valid yet: `nbf` is in the future")]
    Early,
    #[error("the token must expire within {DAYS_MAX} days: set `exp` to the Unix time in seconds")]
    NoExpiry,
    #[error("the token has a claim that is not accepted: {0}")]
    Claim(String),
    #[error("the token was revoked")]
    Revoked,
    #[error("the key of the token is revoked or unknown")]
    Key,
    #[error(
        "the user who created the token was removed, or may no longer create it: ask another user for a token"
    )]
    Creator,
}

/// The header of a token.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Tokens {
    /// Signs and checks with this secret; `None` if it has fewer than 32 bytes. It should be random: whoever has a
    /// token can try secrets without limit.
    #[must_use]
    pub fn new(secret: impl AsRef<[u8]>) -> Option<Self> {
        let secret = secret.as_ref();
        (SECRET_BYTES_MIN <= secret.len()).then(|| Self { secret: secret.into() })
    }

    /// The secret of a key, with which its owner signs tokens of that key, in the form that is passed to a library.
    #[must_use]
    pub fn secret_of(&self, key: &ApiKey) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.derive("key", key.as_str()))
    }

    /// Another secret for another purpose, which discloses nothing about this one.
    pub(crate) fn derive(&self, purpose: &str, name: &str) -> [u8; 32] {
        let text = format!("metrics {purpose} v1\0{name}");
        mac(&self.secret, text.as_bytes()).finalize().into_bytes().into()
    }

    /// Signs claims: with the secret of their key, if they have exactly one.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let payload = Value::Object(claims.to_json()).to_string();
        match claims.within.keys.as_deref() {
            Some([key]) => {
                let header =
                    serde_json::json!({ "alg": "HS256", "typ": "JWT", "kid": key.as_str() });
                encode(self.secret_of(key).as_bytes(), &header, &payload)
            }
            _ => {
                let header = serde_json::json!({ "alg": "HS256", "typ": "JWT" });
                encode(&self.secret, &header, &payload)
            }
        }
    }

    /// Checks a token, apart from revocations.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`] if it is not signed by this secret or that of its key, is not valid at `now` (Unix seconds), or
    /// has claims that are not accepted.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Result<Claims, InvalidToken> {
        let mut key = None;
        let payload = decode(token, |header| match &header.kid {
            None => Ok(self.secret.to_vec()),
            Some(kid) => {
                let named = ApiKey::new(kid).map_err(|_| InvalidToken::Signature)?;
                let secret = self.secret_of(&named).into_bytes();
                key = Some(named);
                Ok(secret)
            }
        })?;
        let mut claims = Claims::read(&payload, now)?;
        if let Some(key) = key {
            let keys = claims.within.keys.get_or_insert_with(|| vec![key.clone()]);
            if *keys != [key] {
                let text = "`key` must be the key that `kid` names";
                return Err(InvalidToken::Claim(text.to_owned()));
            }
        }
        Ok(claims)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

/// Signs a payload with a secret.
pub(crate) fn encode(secret: &[u8], header: &Value, payload: &str) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(&header.to_string()), part(payload));
    let signature = mac(secret, signed.as_bytes()).finalize().into_bytes();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// Returns the payload of a token that is signed with `secret`, without regard to its content.
pub(crate) fn opened(token: &str, secret: &[u8]) -> Result<Map<String, Value>, InvalidToken> {
    decode(token, |_| Ok(secret.to_vec()))
}

/// Returns the payload of a token that is signed with the secret that its header names.
fn decode(
    token: &str,
    secret: impl FnOnce(&Header) -> Result<Vec<u8>, InvalidToken>,
) -> Result<Map<String, Value>, InvalidToken> {
    let malformed = InvalidToken::Malformed;
    if TOKEN_BYTES_MAX < token.len() {
        return Err(malformed);
    }
    let bytes =
        |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken::Malformed);
    let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(InvalidToken::Malformed)?;
    let header: Header =
        serde_json::from_slice(&bytes(header)?).map_err(|_| InvalidToken::Malformed)?;
    if header.alg != "HS256" || header.crit.is_some() {
        return Err(InvalidToken::Algorithm);
    }
    let signature = bytes(signature)?;
    let checked = mac(&secret(&header)?, signed.as_bytes()).verify_slice(&signature);
    checked.map_err(|_| InvalidToken::Signature)?;
    match serde_json::from_slice(&bytes(payload)?) {
        Ok(UniqueMembers(members)) => Ok(members),
        Err(err) if err.is_data() => Err(InvalidToken::Claim(err.to_string())),
        Err(_) => Err(InvalidToken::Malformed),
    }
}

/// The HMAC of some bytes, which is compared in constant time.
fn mac(secret: &[u8], bytes: &[u8]) -> Hmac<Sha256> {
    // The block of SHA-256 is 64 bytes; HMAC hashes longer secrets first (RFC 2104).
    let mut block = [0; 64];
    if secret.len() <= block.len() {
        block[..secret.len()].copy_from_slice(secret);
    } else {
        block[..32].copy_from_slice(&Sha256::digest(secret));
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(bytes);
    mac
}

/// A number that identifies a token.
pub(crate) fn number_of(token: &str) -> u64 {
    let digest = Sha256::digest(token);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Returns whether a text looks like a token: three parts with dots between.
pub(crate) fn looks_like_token(text: &str) -> bool {
    text.split('.').count() == 3
}

#[cfg(test)]
mod tests;
