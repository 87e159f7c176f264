//! Secret identities, and identities derived from them: the API key of a site, and the id of a session under it.

mod invalid;
pub mod limits;
mod settings;

use std::fmt;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

pub use self::invalid::InvalidKeySettings;
pub use self::settings::{KeySettings, NAME_BYTES_MAX, PATTERNS_MAX, SettingsChange};

/// Number of random bytes in a key.
const KEY_BYTES: usize = 16;

/// The longest key that can be imported, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// The largest shift of a session's player clock, in bits: 2^40 ms are 35 years.
const CLOCK_SHIFT_BITS: u32 = 40;

/// The key of a site: every caller that has it may send sessions, and nothing else.
///
/// Cheap to clone. The debug form does not show the key.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// Generates a random key.
    #[must_use]
    pub fn generate() -> Self {
        let bytes: [u8; KEY_BYTES] = rand::rng().random();
        Self(BASE64_STANDARD.encode(bytes).into())
    }

    /// Parses an existing key.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] if the text is empty, longer than [`KEY_BYTES_MAX`], or holds anything but visible ASCII.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        let fits = (1..=KEY_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidKey)
        }
    }

    /// Derives a number from the client's `name` of a session. The stored session is not enough to compute it.
    #[must_use]
    pub fn salt(&self, name: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = digest(&[Some("salt"), Some(self.as_str()), Some(name)]);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The shift of the player's clock in milliseconds for the session with the client's `name`: up to 35 years either
    /// way. The stored session is not enough to compute it.
    #[must_use]
    pub fn clock_shift_ms(&self, name: &str) -> i64 {
        let [a, b, c, d, e, f, ..] = digest(&[Some("clock"), Some(self.as_str()), Some(name)]);
        let number = i64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        number % (1 << (CLOCK_SHIFT_BITS + 1)) - (1 << CLOCK_SHIFT_BITS)
    }

    /// The key as clients send it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// A text that cannot be a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key is 1 to {KEY_BYTES_MAX} visible ASCII characters")]
pub struct InvalidKey;

/// The id of a session: 128 bits derived from the key and the client's random id.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Derives the id of the session with the client's `name` under `key`.
    #[must_use]
    pub fn new(key: &ApiKey, name: &str) -> Self {
        Self(digest(&[Some(key.as_str()), Some(name)]))
    }

    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A 128-bit hash that differs for any two different lists of texts.
pub(crate) fn digest(parts: &[Option<&str>]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        // The length distinguishes ("ab", "c") from ("a", "bc"), and a missing part from an empty one.
        let len = part.map_or(u64::MAX, |part| part.len() as u64);
        hash.update(len.to_le_bytes());
        hash.update(part.unwrap_or_default());
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_16_random_bytes() {
        let (one, two) = (ApiKey::generate(), ApiKey::generate());
        assert_ne!(one, two);
        assert_eq!(BASE64_STANDARD.decode(one.as_str()).unwrap().len(), KEY_BYTES);
        assert_eq!(ApiKey::new(one.as_str()), Ok(one));
    }

    #[test]
    fn a_key_is_visible_and_short() {
        assert!(ApiKey::new("HDsj3NfKQTNwn5Ix9g+cfQ==").is_ok());
        for text in ["", "a b", "a\n", "\u{e9}", &"x".repeat(KEY_BYTES_MAX + 1)] {
            assert_eq!(ApiKey::new(text), Err(InvalidKey), "{text:?}");
        }
    }

    #[test]
    fn a_key_does_not_show_in_a_log() {
        assert_eq!(format!("{:?}", ApiKey::new("secret").unwrap()), "ApiKey(..)");
    }

    #[test]
    fn a_session_belongs_to_its_key() {
        let (one, two) = (ApiKey::new("one").unwrap(), ApiKey::new("two").unwrap());
        assert_ne!(SessionId::new(&one, "a"), SessionId::new(&two, "a"));
        assert_ne!(SessionId::new(&one, "a"), SessionId::new(&one, "b"));
        // Ids are stored, so they must never change.
        assert_eq!(format!("{:?}", SessionId::new(&one, "a")), "9849750be9cb8dcc405703f082c3872a");
    }

    #[test]
    fn parts_of_a_digest_do_not_run_together() {
        assert_ne!(digest(&[Some("ab"), Some("c")]), digest(&[Some("a"), Some("bc")]));
        assert_ne!(digest(&[None]), digest(&[Some("")]));
    }
}
