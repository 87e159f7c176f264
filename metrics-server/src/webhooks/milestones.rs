//! Milestones: numbers of plays at which a video is announced. No I/O and no clock.

use std::collections::BTreeMap;

use super::sign::id_of;

/// The first power of ten that is a milestone.
const POWER_MIN: u64 = 10;

/// The numbers of plays.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Milestones {
    /// 10, 100, 1,000 and so on.
    PowersOfTen,
    // Invariant: ascending, and not empty.
    Listed(Vec<u64>),
}

/// The last milestone of each video, by a hash of its name. `None` before the first evaluation.
pub(super) type Reached = Option<BTreeMap<String, u64>>;

/// A video that has reached a milestone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Milestone {
    pub(super) video: String,
    pub(super) plays: u64,
    pub(super) milestone: u64,
}

impl Milestones {
    /// The least milestone.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::PowersOfTen => POWER_MIN,
            Self::Listed(numbers) => numbers.first().copied().unwrap_or(u64::MAX),
        }
    }

    /// The largest milestone that so many plays reach.
    fn reached_by(&self, plays: u64) -> Option<u64> {
        match self {
            Self::PowersOfTen => {
                let power =
                    plays.checked_ilog10().and_then(|exponent| 10_u64.checked_pow(exponent));
                power.filter(|power| POWER_MIN <= *power)
            }
            Self::Listed(numbers) => {
                let count = numbers.partition_point(|number| *number <= plays);
                count.checked_sub(1).and_then(|last| numbers.get(last)).copied()
            }
        }
    }

    /// Takes the plays of all videos that have any milestone, and returns those with a new one. The first time, none is
    /// new: a rule that is added to years of history announces the next milestones only.
    pub(super) fn step(
        &self,
        reached: &mut Reached,
        videos: impl IntoIterator<Item = (String, u64)>,
    ) -> Vec<Milestone> {
        let before = reached.take();
        let mut after = BTreeMap::new();
        let mut new = Vec::new();
        for (video, plays) in videos {
            let Some(milestone) = self.reached_by(plays) else { continue };
            let hash = id_of(&[&video]);
            let last = before.as_ref().map(|before| before.get(&hash).copied().unwrap_or(0));
            // Erased sessions take none back.
            after.insert(hash, milestone.max(last.unwrap_or(0)));
            if last.is_some_and(|last| last < milestone) {
                new.push(Milestone { video, plays, milestone });
            }
        }
        *reached = Some(after);
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plays(all: &[(&str, u64)]) -> Vec<(String, u64)> {
        all.iter().map(|(video, plays)| ((*video).to_owned(), *plays)).collect()
    }

    #[test]
    fn a_video_is_announced_once_per_milestone() {
        let mut reached = None;
        let mut step = |all: &[(&str, u64)]| -> Vec<(String, u64)> {
            let new = Milestones::PowersOfTen.step(&mut reached, plays(all));
            new.into_iter().map(|it| (it.video, it.milestone)).collect()
        };
        assert_eq!(step(&[("old", 5_000), ("young", 9)]), []);
        assert_eq!(step(&[("old", 9_999), ("young", 10)]), [("young".to_owned(), 10)]);
        assert_eq!(step(&[("old", 10_000), ("young", 99)]), [("old".to_owned(), 10_000)]);
        // Erased, and watched again.
        assert_eq!(step(&[("old", 9_000), ("young", 99)]), []);
        assert_eq!(step(&[("old", 10_001), ("young", 1_234)]), [("young".to_owned(), 1_000)]);
    }

    #[test]
    fn listed_numbers_are_milestones() {
        let listed = Milestones::Listed(vec![5, 50]);
        let reached: Vec<_> = [4, 5, 49, 50, 5_000].map(|plays| listed.reached_by(plays)).into();
        assert_eq!(reached, [None, Some(5), Some(5), Some(50), Some(50)]);
        assert_eq!((listed.first(), Milestones::PowersOfTen.first()), (5, 10));
    }

    proptest! {
        #[test]
        fn a_power_of_ten_is_the_number_with_one_digit_that_is_not_0(plays: u64) {
            let text = plays.to_string();
            let naive = format!("1{}", "0".repeat(text.len() - 1)).parse().ok();
            let naive = naive.filter(|number| 10 <= *number && *number <= plays);
            prop_assert_eq!(Milestones::PowersOfTen.reached_by(plays), naive);
        }
    }
}
