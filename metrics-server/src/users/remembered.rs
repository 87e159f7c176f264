//! The outcomes of checked credentials, so that a password is not hashed at each request.

use std::collections::HashSet;

/// How many right credentials are remembered, and how many wrong ones. A change of the file forgets all.
const REMEMBERED_MAX: usize = 1_000;

/// A hash of credentials.
pub(super) type Hash = [u8; 32];

/// The outcomes of the checks with one version of the list. Wrong credentials are kept too: the same mistake counts once
/// as a guess, and would otherwise occupy a permit at each repetition. They cannot evict right ones.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    list: u64,
    right: HashSet<Hash>,
    wrong: HashSet<Hash>,
}

impl Remembered {
    /// Whether credentials were right or wrong with this version of the list, if they were checked.
    pub(super) fn outcome(&mut self, list: u64, hash: &Hash) -> Option<bool> {
        self.begin(list);
        let is_right = self.right.contains(hash);
        (is_right || self.wrong.contains(hash)).then_some(is_right)
    }

    /// Records the outcome of a check.
    pub(super) fn insert(&mut self, list: u64, hash: Hash, is_right: bool) {
        self.begin(list);
        let hashes = if is_right { &mut self.right } else { &mut self.wrong };
        if REMEMBERED_MAX <= hashes.len() {
            hashes.clear();
        }
        hashes.insert(hash);
    }

    fn begin(&mut self, list: u64) {
        if self.list != list {
            *self = Self { list, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_those_of_one_version_of_the_list() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.outcome(1, &[1; 32]), None);
        remembered.insert(1, [1; 32], true);
        remembered.insert(1, [2; 32], false);
        assert_eq!(remembered.outcome(1, &[1; 32]), Some(true));
        assert_eq!(remembered.outcome(1, &[2; 32]), Some(false));
        assert_eq!(remembered.outcome(2, &[1; 32]), None);
        assert_eq!(remembered.outcome(1, &[2; 32]), None);
    }

    #[test]
    fn wrong_credentials_are_bounded_and_evict_no_right_ones() {
        let mut remembered = Remembered::default();
        remembered.insert(1, [0xff; 32], true);
        for number in 0..10_000_u64 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            remembered.insert(1, hash, false);
            assert!(remembered.wrong.len() <= REMEMBERED_MAX);
        }
        assert_eq!(remembered.outcome(1, &[0xff; 32]), Some(true));
    }
}
