//! Every report against brute force.
//!
//! A few hundred sessions are made up, and what a report must say of them is worked out by walking over all of
//! them, millisecond by millisecond of video, with nothing but the definitions at hand. That is slow, and obviously
//! right. The sessions are as awkward as can be: they start on borders of buckets and a millisecond beside them,
//! around clock changes, and watch stretches that touch, overlap, and end on borders of seconds and parts.

mod dataset;
mod naive;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::dataset::Dataset;
use super::older;
use crate::client::{Browser, Device, Platform};
use crate::engagement::Resolution;
use crate::store::Store;

/// How many questions of each report are asked, drawn at random from all combinations.
const QUESTIONS: usize = 250;

/// Plays, their sums and their classes in every bucket.
pub async fn plays_are_those_of_brute_force(store: &dyn Store) {
    let dataset = Dataset::fill(store).await;
    let mut random = StdRng::seed_from_u64(1);
    for number in 0..QUESTIONS {
        let case = dataset.case(&mut random, number);
        let plays =
            older::plays(store, &case.scan, case.buckets, Vec::new()).await.expect("summed");
        let answer: Vec<_> = plays
            .iter()
            .map(|bucket| {
                let it = &bucket.figures;
                let sums = [it.plays, it.view_ms, it.unique_ms];
                let browsers = Browser::ALL.map(|class| it.browser(class));
                let platforms = Platform::ALL.map(|class| it.platform(class));
                let devices = Device::ALL.map(|class| it.device(class));
                (bucket.start, [&sums[..], &browsers, &platforms, &devices].concat())
            })
            .collect();
        assert_eq!(answer, naive::plays(&dataset.counted(&case), &case.buckets), "{case:?}");
    }
}

/// Plays per page in every bucket, in the order of the answer.
pub async fn sources_are_those_of_brute_force(store: &dyn Store) {
    let dataset = Dataset::fill(store).await;
    let mut random = StdRng::seed_from_u64(2);
    for number in 0..QUESTIONS {
        let case = dataset.case(&mut random, number);
        let sources = older::sources(store, &case.scan, case.buckets).await.expect("summed");
        let answer: Vec<_> = sources
            .into_iter()
            .map(|it| (it.start, it.source.as_str().to_owned(), it.plays))
            .collect();
        assert_eq!(answer, naive::sources(&dataset.counted(&case), &case.buckets), "{case:?}");
    }
}

/// Distinct viewers of equal parts, few and many.
pub async fn parts_are_those_of_brute_force(store: &dyn Store) {
    let dataset = Dataset::fill(store).await;
    let mut random = StdRng::seed_from_u64(3);
    for number in 0..QUESTIONS {
        let case = dataset.case(&mut random, number);
        let parts = [1, 2, 3, 7, 10, 60, 97, 1_000][random.random_range(0..8)];
        let counted = older::parts(store, &case.scan, parts).await.expect("counted");
        let answer: Vec<_> = counted.iter().map(|part| part.viewers).collect();
        let (end_ms, expected) = naive::parts(&dataset.counted(&case), parts);
        assert_eq!(answer, expected, "{parts} parts of {case:?}");
        let end = counted.last().map_or(0.0, |part| part.to);
        assert_eq!(end, f64::from(end_ms) / 1_000.0, "{case:?}");
    }
}

/// Views and viewers of every second in every bucket.
pub async fn seconds_are_those_of_brute_force(store: &dyn Store) {
    let dataset = Dataset::fill(store).await;
    let mut random = StdRng::seed_from_u64(4);
    for number in 0..QUESTIONS {
        let case = dataset.case(&mut random, number);
        let counted = older::seconds(store, &case.scan, case.buckets, Resolution::default())
            .await
            .expect("counted");
        let answer: Vec<_> = counted
            .into_iter()
            .map(|bucket| {
                let seconds = bucket.seconds.iter();
                (bucket.start, seconds.map(|it| (it.second, it.views, it.viewers)).collect())
            })
            .collect();
        assert_eq!(answer, naive::seconds(&dataset.counted(&case), &case.buckets), "{case:?}");
    }
}
