//! Signatures and ids of deliveries.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// The fewest bytes of a secret: fewer can be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// The most bytes of a secret.
const SECRET_BYTES_MAX: usize = 256;

/// The beginning of a secret that is base64, as other programs make them.
const BASE64: &str = "whsec_";

/// The bytes that sign deliveries.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Secret(Vec<u8>);

impl Secret {
    /// Reads a secret; `None` if it is too short, too long or no base64 after its prefix.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = match text.strip_prefix(BASE64) {
            Some(text) => STANDARD.decode(text).ok()?,
            None => text.as_bytes().to_vec(),
        };
        (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The signature of a delivery, as its header has it: base64 of the HMAC of the id, the time in seconds and the
    /// body, with full stops between them.
    pub(super) fn sign(&self, id: &str, at_seconds: i64, body: &str) -> String {
        // A key of any length is accepted.
        let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        hmac.update(format!("{id}.{at_seconds}.").as_bytes());
        hmac.update(body.as_bytes());
        format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The id of an occurrence: the same for all servers that notice it, and after a restart. `parts` identify it.
pub(super) fn id_of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    let half: &[u8] = &hash[..hash.len() / 2];
    half.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of standardwebhooks.com.
        let secret = Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        for bad in ["", "too short", "whsec_?", "whsec_c2hvcnQ=", &"a".repeat(257)] {
            assert_eq!(Secret::read(bad), None, "{bad}");
        }
        let secret = Secret::read("a secret of an operator").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn ids_differ_if_any_part_differs() {
        let id = id_of(&["rule", "a", "b"]);
        assert_eq!((id.len(), &id), (32, &id_of(&["rule", "a", "b"])));
        assert!(id_of(&["rule", "ab", ""]) != id && id_of(&["rule", "a", "c"]) != id);
    }
}
