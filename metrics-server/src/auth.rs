//! Basic authentication: one user, one password.

use std::fmt;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::request::Parts;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq as _;

use crate::access::{Access, Decision, Purpose};
use crate::attempts::{Caller, Secret};
use crate::error::Error;

/// The user and the password that permit everything. The debug form shows neither.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    // As a client sends them: `user:password`.
    expected: Vec<u8>,
}

impl Credentials {
    /// Requires this user and password. Returns `None` if either is empty or the user has a colon, which Basic
    /// authentication cannot encode.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Option<Self> {
        let sound = !user.is_empty() && !password.is_empty() && !user.contains(':');
        sound.then(|| Self { expected: format!("{user}:{password}").into_bytes() })
    }

    /// The user and the password as bytes, if this is the user.
    pub(crate) fn of_user(&self, user: &str) -> Option<&[u8]> {
        let is_it = self.expected.strip_prefix(user.as_bytes())?.starts_with(b":");
        is_it.then_some(self.expected.as_slice())
    }

    /// Checks the credentials of a request.
    fn check(&self, caller: &Caller, headers: &HeaderMap) -> Result<(), Error> {
        // Browsers send the first request without credentials: it is no guess.
        let given = headers.get(AUTHORIZATION).ok_or(Error::Unauthorized)?;
        let attempt = caller.attempt(Secret::Credentials(given.as_bytes()))?;
        if self.equal(&decode(given).unwrap_or_default()) {
            attempt.right();
            Ok(())
        } else {
            attempt.wrong();
            Err(Error::Unauthorized)
        }
    }

    /// Compares in a time that depends on the length of `given` only.
    pub(crate) fn equal(&self, given: &[u8]) -> bool {
        // Repeats the expected bytes to the length of `given`, so that the time does not reveal the expected length.
        let repeated: Vec<u8> = self.expected.iter().copied().cycle().take(given.len()).collect();
        let same = given.ct_eq(&repeated);
        let same_len = given.len().ct_eq(&self.expected.len());
        (same & same_len).into()
    }
}

#[async_trait]
impl Access for Credentials {
    async fn decide(&self, request: &Parts, _: Purpose) -> Decision {
        // The service inserts the caller, to rate-limit guesses.
        let caller = request.extensions.get::<Caller>().cloned().unwrap_or_default();
        match self.check(&caller, &request.headers) {
            Ok(()) => Decision::Allow,
            Err(err) => Decision::Refuse(err.into_response()),
        }
    }
}

/// Decodes user and password from a header with Basic credentials.
pub(crate) fn decode(given: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, encoded) = given.to_str().ok()?.split_once(' ')?;
    let basic = scheme.eq_ignore_ascii_case("basic");
    basic.then(|| BASE64_STANDARD.decode(encoded.trim()).ok()).flatten()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: Option<&str>, expected: bool) {
        let credentials = Credentials::new("me", "open: sesame").unwrap();
        let headers: HeaderMap = header
            .map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap()))
            .into_iter()
            .collect();
        assert_eq!(credentials.check(&Caller::default(), &headers).is_ok(), expected, "{header:?}");
    }

    #[test]
    fn only_the_right_user_and_password_pass() {
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        check(Some(&format!("Basic {}", encode("me:open: sesame"))), true);
        check(Some(&format!("basic {}", encode("me:open: sesame"))), true);
        check(Some(&format!("Bearer {}", encode("me:open: sesame"))), false);
        for wrong in ["me:open: sesam", "me:open: sesame!", "me", "", ":", "you:open: sesame"] {
            check(Some(&format!("Basic {}", encode(wrong))), false);
        }
        check(Some(&format!("Basic {}", encode(&"me:open: sesame".repeat(2)))), false);
        check(Some("Basic ***"), false);
        check(Some("Basic"), false);
        check(None, false);
    }

    #[test]
    fn empty_credentials_are_none() {
        assert!(Credentials::new("", "b").is_none());
        assert!(Credentials::new("a", "").is_none());
        assert!(Credentials::new("a:b", "c").is_none());
        assert_eq!(format!("{:?}", Credentials::new("a", "b")), "Some(Credentials(..))");
    }
}
