//! Checks every report against brute force.
//!
//! A naive implementation computes each report from a few hundred generated sessions, millisecond by millisecond of
//! video, from the definitions alone: slow, and obviously right. The sessions are edge cases: they start on boundaries
//! of buckets and a millisecond beside them, around clock changes, and their segments touch, overlap, and end on
//! boundaries of seconds and parts.

mod dataset;
mod naive;
mod viewing;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::dataset::{Case, Dataset};
use super::draft::{check_totals, close, exported, merge};
use super::{older, repetitions};
use crate::engagement::Resolution;
use crate::query::Selection;
use crate::store::{Store, VideoScope};
use crate::upkeep::{Erasure, count_selected, erase};
use crate::user_agent::{Browser, Device, Platform};

/// The number of random requests per report, from all combinations, at night.
const RANDOM_QUERIES: usize = 250;

/// Compares plays, view times and user-agent classes of every bucket.
pub async fn plays_are_those_of_brute_force(store: &dyn Store) {
    each_case(store, 1, async |dataset, case, _| {
        let plays =
            older::plays(store, &case.scan, case.buckets, Vec::new()).await.expect("summed");
        let answer: Vec<_> = plays
            .iter()
            .map(|bucket| {
                let it = &bucket.totals;
                let sums = [it.plays, it.view_ms, it.unique_ms];
                let browsers = Browser::ALL.map(|class| it.browser(class));
                let platforms = Platform::ALL.map(|class| it.platform(class));
                let devices = Device::ALL.map(|class| it.device(class));
                (bucket.start, [&sums[..], &browsers, &platforms, &devices].concat())
            })
            .collect();
        assert_eq!(answer, naive::plays(&dataset.counted(case), &case.buckets), "{case:?}");
    })
    .await;
}

/// Compares plays per page of every bucket, in the order of the response.
pub async fn sources_are_those_of_brute_force(store: &dyn Store) {
    each_case(store, 2, async |dataset, case, _| {
        check_sources(store, dataset, case).await;
    })
    .await;
}

/// Compares distinct viewers of each part, for few and many parts.
pub async fn parts_are_those_of_brute_force(store: &dyn Store) {
    each_case(store, 3, async |dataset, case, random| {
        let parts = [1, 2, 3, 7, 10, 60, 97, 1_000][random.random_range(0..8)];
        let counted = older::parts(store, &case.scan, parts).await.expect("counted");
        let answer: Vec<_> = counted.iter().map(|part| part.viewers).collect();
        let (end_ms, expected) = naive::parts(&dataset.counted(case), parts);
        assert_eq!(answer, expected, "{parts} parts of {case:?}");
        let end = counted.last().map_or(0.0, |part| part.to);
        assert_eq!(end, f64::from(end_ms) / 1_000.0, "{case:?}");
    })
    .await;
}

/// Compares views and viewers of every second in every bucket.
pub async fn seconds_are_those_of_brute_force(store: &dyn Store) {
    each_case(store, 4, async |dataset, case, _| {
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
        assert_eq!(answer, naive::seconds(&dataset.counted(case), &case.buckets), "{case:?}");
    })
    .await;
}

/// Checks random requests to a store that is filled.
async fn each_case(
    store: &dyn Store,
    seed: u64,
    check: impl AsyncFn(&Dataset, &Case, &mut StdRng),
) {
    let dataset = Dataset::fill(store).await;
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..repetitions(RANDOM_QUERIES) {
        let case = dataset.case(&mut random, number);
        check(&dataset, &case, &mut random).await;
    }
}

async fn check_sources(store: &dyn Store, dataset: &Dataset, case: &Case) {
    let sources = older::sources(store, &case.scan, case.buckets).await.expect("summed");
    let answer: Vec<_> =
        sources.into_iter().map(|it| (it.start, it.source.as_str().to_owned(), it.plays)).collect();
    assert_eq!(answer, naive::sources(&dataset.counted(case), &case.buckets), "{case:?}");
}

/// The number of random erasures before everything is erased, at night.
const ERASURES: usize = 24;

/// An erasure by any selection removes exactly the selected sessions, open and closed, from every report, and videos
/// without sessions too.
pub async fn erasures_are_those_of_brute_force(store: &dyn Store) {
    let mut dataset = Dataset::fill(store).await;
    let mut random = StdRng::seed_from_u64(5);
    let erasures = repetitions(ERASURES);
    for number in 0..erasures {
        if number == erasures / 2 {
            close(store).await;
            merge(store).await;
        }
        let erasing = dataset.erasing(&mut random, number);
        let erasure = dataset.erasure(&erasing);
        let counted = count_selected(store, &erasure).await.expect("counted");
        let erased = erase(store, &erasure).await.expect("erased");
        let expected = dataset.erase(&erasing);
        assert_eq!((counted.sessions, counted.first_start_ms), expected, "{erasing:?}");
        assert_eq!(erased.sessions, counted, "{erasing:?}");
        check_left(store, &dataset, &mut random).await;
    }
    erase(store, &Erasure::of(Selection::default())).await.expect("erased");
    let mut snapshot = store.snapshot().await.expect("opened");
    let videos = snapshot.videos(&VideoScope::default(), None, 10).await.expect("listed");
    assert_eq!((videos, exported(store, 10).await), (Vec::new(), Vec::new()));
    assert_eq!(snapshot.resumable(None, 10).await.expect("listed"), []);
}

/// Compares sessions, totals, videos and some reports with the remaining sessions of the dataset.
async fn check_left(store: &dyn Store, dataset: &Dataset, random: &mut StdRng) {
    let left: Vec<_> = exported(store, 1_000).await.iter().map(|record| record.id).collect();
    assert_eq!(left, dataset.ids());
    check_totals(store).await;
    let mut snapshot = store.snapshot().await.expect("opened");
    let videos = snapshot.videos(&VideoScope::default(), None, 100).await.expect("listed");
    drop(snapshot);
    assert_eq!(videos.len(), dataset.used().len());
    for number in 0..4 {
        let case = dataset.case(random, number);
        check_sources(store, dataset, &case).await;
    }
}
