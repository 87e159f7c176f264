//! Hashes of passwords: Argon2id, as text in the PHC format.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use subtle::ConstantTimeEq as _;

/// The longest password, in bytes.
pub(super) const PASSWORD_BYTES_MAX: usize = 1_024;

/// The largest cost of a hash: 64 MiB, 10 passes and 4 lanes. A file with larger ones would let each guess take seconds.
const COST_MAX: (u32, u32, u32) = (64 * 1_024, 10, 4);

/// The bytes of a salt.
const SALT_BYTES: usize = 16;

/// The bytes of a hash.
const HASH_BYTES: usize = 32;

/// The hash of a password, with its salt and its cost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PasswordHash {
    // In KiB, passes and lanes.
    cost: (u32, u32, u32),
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl PasswordHash {
    /// Reads `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (cost, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mut costs = cost.split(',');
        let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let (memory, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
        if costs.next().is_some() {
            return None;
        }
        let (memory_max, passes_max, lanes_max) = COST_MAX;
        let fits = memory <= memory_max && passes <= passes_max && lanes <= lanes_max;
        let bytes = |part: &str| BASE64_STANDARD_NO_PAD.decode(part).ok();
        let (salt, hash) = (bytes(salt)?, bytes(hash)?);
        let fits = fits && (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len());
        let parsed = Self { cost: (memory, passes, lanes), salt, hash };
        (fits && parsed.argon2().is_some()).then_some(parsed)
    }

    /// A hash that no password has, at the default cost.
    pub(super) fn unknown() -> Self {
        Self { cost: default_cost(), salt: vec![0; SALT_BYTES], hash: vec![0; HASH_BYTES] }
    }

    fn argon2(&self) -> Option<Argon2<'static>> {
        let (memory, passes, lanes) = self.cost;
        let params = Params::new(memory, passes, lanes, Some(self.hash.len())).ok()?;
        Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }

    /// Whether a password has this hash. It takes some 20 ms, and the memory of its cost in `buffer`, which grows to it.
    pub(super) fn verify(&self, password: &[u8], buffer: &mut Vec<Block>) -> bool {
        let Some(argon2) = self.argon2() else { return false };
        let blocks = argon2.params().block_count();
        if buffer.len() < blocks {
            *buffer = vec![Block::new(); blocks];
        }
        let mut hash = vec![0; self.hash.len()];
        let memory = buffer.as_mut_slice();
        let hashed = argon2.hash_password_into_with_memory(password, &self.salt, &mut hash, memory);
        hashed.is_ok() && hash.ct_eq(&self.hash).into()
    }

    /// The salt and the hash, which change with the password.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        [&self.salt, &self.hash]
    }
}

fn default_cost() -> (u32, u32, u32) {
    (Params::DEFAULT_M_COST, Params::DEFAULT_T_COST, Params::DEFAULT_P_COST)
}

/// Hashes a password for the file of users, with a random salt: `$argon2id$...`. `None` if it is empty or has more than
/// 1,024 bytes.
#[must_use]
pub fn hash_password(password: &str) -> Option<String> {
    if password.is_empty() || PASSWORD_BYTES_MAX < password.len() {
        return None;
    }
    let salt: [u8; SALT_BYTES] = rand::random();
    let hash = PasswordHash { salt: salt.to_vec(), ..PasswordHash::unknown() };
    let mut bytes = [0; HASH_BYTES];
    hash.argon2()?.hash_password_into(password.as_bytes(), &salt, &mut bytes).ok()?;
    let (memory, passes, lanes) = hash.cost;
    let text = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
    let (salt, hash) = (text(&salt), text(&bytes));
    Some(format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(hash: &PasswordHash, password: &[u8]) -> bool {
        hash.verify(password, &mut Vec::new())
    }

    /// The hash of `password` at this cost.
    fn of_cost(cost: (u32, u32, u32)) -> PasswordHash {
        let mut hash = PasswordHash { cost, ..PasswordHash::unknown() };
        let mut bytes = [0; HASH_BYTES];
        let argon2 = hash.argon2().unwrap();
        argon2.hash_password_into(b"password", &hash.salt, &mut bytes).unwrap();
        hash.hash = bytes.to_vec();
        hash
    }

    #[test]
    fn hashes_of_any_cost_share_a_buffer() {
        let mut buffer = Vec::new();
        let (small, default, large) = ((64, 1, 4), default_cost(), (COST_MAX.0, 1, 4));
        for cost in [small, default, small, large, default, small, (1_021, 2, 3)] {
            let hash = of_cost(cost);
            assert!(hash.verify(b"password", &mut buffer), "{cost:?}");
            assert!(!hash.verify(b"Password", &mut buffer), "{cost:?}");
        }
        assert_eq!(buffer.len(), 64 * 1_024);
    }

    #[test]
    fn a_hash_of_another_program_is_read() {
        // `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 4 -l 24 -e`, from the tests of the reference.
        let text =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let hash = PasswordHash::parse(text).unwrap();
        assert!(verify(&hash, b"password"));
        assert!(!verify(&hash, b"Password") && !verify(&hash, b""));
    }

    #[test]
    fn a_new_hash_is_read_again() {
        let (one, two) =
            (hash_password("open sesame").unwrap(), hash_password("open sesame").unwrap());
        assert_ne!(one, two);
        let [one, two] = [one, two].map(|text| PasswordHash::parse(&text).unwrap());
        assert!(verify(&one, b"open sesame") && verify(&two, b"open sesame"));
        assert!(!verify(&one, b"open barley"));
        assert_ne!(one.parts(), two.parts());
        assert_eq!(hash_password(""), None);
        assert_eq!(hash_password(&"a".repeat(1_025)), None);
        assert!(!verify(&PasswordHash::unknown(), b""));
    }

    #[test]
    fn other_hashes_and_costs_are_refused() {
        let good =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for (from, to) in [
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("m=256", "m=65537"),
            ("m=256", "m=1"),
            ("t=2", "t=11"),
            ("t=2", "t=0"),
            ("p=1", "p=5"),
            ("p=1", "p=1,keyid=a"),
            ("c29tZXNhbHQ", "c2FsdA"),
            ("c29tZXNhbHQ", "!"),
            ("nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "nf65"),
            ("$c29tZXNhbHQ", "$c29tZXNhbHQ$"),
        ] {
            assert_eq!(PasswordHash::parse(&good.replace(from, to)), None, "{from} {to}");
        }
        assert_eq!(PasswordHash::parse("$2y$10$abc"), None);
        assert_eq!(PasswordHash::parse(""), None);
    }
}
