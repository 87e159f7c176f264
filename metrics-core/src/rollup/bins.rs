//! View time in bins, so that a minimum view time can be asked for without looking at sessions.

/// How many bins are a second wide.
const SECONDS: u64 = 60;

/// Sessions that were watched for a day or longer share the last bin.
const MINUTES: u64 = 24 * 60;

/// The bin of a view time: a whole second up to a minute, and a whole minute from there on.
pub(super) fn bin_of(view_ms: u64) -> u16 {
    let seconds = view_ms / 1_000;
    let bin = if seconds < SECONDS { seconds } else { SECONDS + (seconds / 60).min(MINUTES) - 1 };
    bin as u16
}

/// The first bin with view times of at least `minimum_ms`, if no bin lies on both sides of it.
#[must_use]
pub fn first_bin(minimum_ms: u64) -> Option<u16> {
    let seconds = minimum_ms / 1_000;
    let is_edge = minimum_ms.is_multiple_of(1_000)
        && (seconds < SECONDS || seconds.is_multiple_of(60) && seconds / 60 <= MINUTES);
    is_edge.then(|| bin_of(minimum_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minimum_on_an_edge_has_a_first_bin() {
        for (minimum_ms, expected) in [
            (0, Some(0)),
            (1_000, Some(1)),
            (59_000, Some(59)),
            (60_000, Some(60)),
            (120_000, Some(61)),
            (86_400_000, Some(1_499)),
            (1, None),
            (1_500, None),
            (61_000, None),
            (86_460_000, None),
        ] {
            assert_eq!(first_bin(minimum_ms), expected, "{minimum_ms} ms");
        }
    }

    proptest! {
        #[test]
        fn a_bin_is_on_one_side_of_an_edge(
            view_ms in prop_oneof![0_u64..200_000, 0_u64..200_000_000],
            minimum_s in prop_oneof![0_u64..60, (1_u64..1_441).prop_map(|minutes| 60 * minutes)],
        ) {
            let first = first_bin(1_000 * minimum_s).expect("an edge");
            prop_assert_eq!(first <= bin_of(view_ms), 1_000 * minimum_s <= view_ms);
        }
    }
}
