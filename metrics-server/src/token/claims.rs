//! The claims of a token.

use metrics_core::containment::is_too_deep;
use serde_json::{Map, Value, json};

use super::InvalidToken;
use crate::access::{Confinement, Scopes};

/// The longest life of a token. A revoked id is kept as long, because nobody knows when its token expires.
pub(crate) const DAYS_MAX: i64 = 400;

/// The difference of clocks that `nbf` and `iat` may have, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// The longest `jti`, `sub` and `by`, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 128;

/// Claims that are registered and have no effect here.
const IGNORED: [&str; 2] = ["iss", "aud"];

/// The claims of a token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims {
    /// The Unix time in seconds from which on it is refused.
    pub(crate) expires_at: i64,
    /// Its id, by which it is revoked.
    pub(crate) id: Option<String>,
    /// The name of the user for whom it was made.
    pub(crate) subject: Option<String>,
    /// The name of the user who made it, whose present rights limit it.
    pub(crate) creator: Option<String>,
    pub(crate) scopes: Scopes,
    pub(crate) within: Confinement,
}

impl Claims {
    /// Reads the claims of a token whose signature is right.
    ///
    /// An unknown claim is refused: a misspelt one would narrow nothing.
    pub(super) fn read(members: &Map<String, Value>, now: i64) -> Result<Self, InvalidToken> {
        let claim = |text: &str| InvalidToken::Claim(text.to_owned());
        let seconds = |name: &str| match members.get(name) {
            None => Ok(None),
            // Some libraries write fractions.
            Some(value) => match value.as_f64().filter(|at| (0.0..1e12).contains(at)) {
                Some(at) => Ok(Some(at as i64)),
                None => Err(claim(&format!("`{name}` must be a Unix time in seconds"))),
            },
        };
        let expires_at = seconds("exp")?.ok_or(InvalidToken::NoExpiry)?;
        if expires_at <= now {
            return Err(InvalidToken::Expired);
        }
        if now + DAYS_MAX * 86_400 + LEEWAY_SECONDS < expires_at {
            return Err(InvalidToken::NoExpiry);
        }
        for name in ["nbf", "iat"] {
            if seconds(name)?.is_some_and(|at| now + LEEWAY_SECONDS < at) {
                return Err(InvalidToken::Early);
            }
        }
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text))
                if (1..=ID_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control) =>
            {
                Ok(Some(text.clone()))
            }
            Some(_) => {
                let expected = format!(
                    "must be a text of 1 to {ID_BYTES_MAX} bytes, without characters of control"
                );
                Err(claim(&format!("`{name}` {expected}")))
            }
        };
        let (id, subject, creator) = (text("jti")?, text("sub")?, text("by")?);
        let known = ["exp", "nbf", "iat", "jti", "sub", "by", "scope"].into_iter();
        let known: Vec<_> = known.chain(IGNORED).chain(Confinement::MEMBERS).collect();
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            let name: String = name.chars().take(40).collect();
            return Err(claim(&format!("`{name}` is none of {}", known.join(", "))));
        }
        let scopes = members.get("scope").and_then(read_scopes);
        let scopes = scopes.ok_or_else(|| claim("`scope` must have some of read, live, write"))?;
        if is_too_deep(&Value::Object(members.clone()).to_string()) {
            return Err(claim("the claims must be at most 64 levels deep"));
        }
        let within = Confinement::from_json(members);
        let within = within.map_err(|err| InvalidToken::Claim(err.to_string()))?;
        Ok(Self { expires_at, id, subject, creator, scopes, within })
    }

    /// The claims as JSON.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let mut members = self.within.to_json();
        let mut insert = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
        insert("exp", json!(self.expires_at));
        insert("scope", json!(self.scopes.names()));
        for (name, text) in [("jti", &self.id), ("sub", &self.subject), ("by", &self.creator)] {
            if let Some(text) = text {
                insert(name, json!(text));
            }
        }
        members
    }
}

/// Reads scopes: an array of their names, or a text with spaces between them (RFC 8693). `None` if there is none, or an
/// unknown one.
pub(crate) fn read_scopes(value: &Value) -> Option<Scopes> {
    let names: Vec<&str> = match value {
        Value::String(text) => text.split_ascii_whitespace().collect(),
        Value::Array(names) => names.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let mut scopes = Scopes::default();
    let are_known = names.iter().all(|name| scopes.add(name));
    (are_known && scopes != Scopes::default()).then_some(scopes)
}
