//! Sums: what a session adds, what it takes to merge it into a day, and what it takes to read a day.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use benches::dataset::Dataset;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use metrics_core::engagement::Parts;
use metrics_core::interval::Segments;
use metrics_core::report::PlayFigures;
use metrics_core::rollup::{Change, Places, Rolled, Scope, each_hour, load_changes};
use metrics_core::store::SessionWrite;

/// As many as the hottest of a thousand videos has on a day, of ten million sessions a year.
const SESSIONS: u64 = 2_740;

const UNTIL_MS: i64 = 1_700_000_000_000;

/// All on one day, of one video.
const DAY_MS: i64 = 19_600 * 86_400_000;

fn rolled<'a>(write: &'a SessionWrite, segments: &'a Segments, number: usize) -> Rolled<'a> {
    Rolled {
        video: 1,
        key: 1,
        source: Some(number as i64 % 3),
        started_at_ms: DAY_MS + number as i64 * 86_400_000 / SESSIONS as i64,
        client: write.subject.client,
        view_ms: write.stored.view_ms,
        unique_ms: write.stored.unique_ms,
        segments,
    }
}

fn sums(c: &mut Criterion) {
    let writes = Dataset::new(1, SESSIONS, UNTIL_MS).sessions(0..SESSIONS);
    let decode = |write: &SessionWrite| {
        Segments::decode(&write.stored.segments).expect("a session encoded them")
    };
    let segments: Vec<Segments> = writes.iter().map(decode).collect();
    let sessions: Vec<_> = writes
        .iter()
        .zip(&segments)
        .enumerate()
        .map(|(number, (write, segments))| rolled(write, segments, number))
        .collect();
    let change = |sessions: &[Rolled<'_>]| {
        let mut change = Change::default();
        sessions.iter().for_each(|session| change.add(session));
        change.tidy();
        change
    };
    let day = change(&sessions);
    let plays = day.plays[&(Scope::Video(1), DAY_MS / 86_400_000)].store().expect("plays");
    let places = day.places[&(1, DAY_MS / 86_400_000)].store().expect("places");

    let mut group = c.benchmark_group("rollup");
    group.throughput(Throughput::Elements(SESSIONS));
    group.bench_function("delta", |b| b.iter(|| black_box(change(&sessions))));
    group.throughput(Throughput::Elements(1));
    group.bench_function("merge a session's plays", |b| {
        b.iter_batched(
            || change(&sessions[..1]).plays.into_values().next().expect("plays"),
            |one| one.add_to(&plays),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("merge a session's places", |b| {
        b.iter_batched(
            || change(&sessions[..1]).places.into_values().next().expect("places"),
            |one| {
                let mut day = Places::load(&places.places).expect("stored");
                day.merge(one);
                day.store()
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("read a day's plays", |b| {
        b.iter(|| {
            let mut figures = PlayFigures::default();
            let day = plays.whole.as_ref().expect("many plays").as_read();
            day.fold(3, &mut figures).map(|()| figures)
        });
    });
    group.bench_function("read a day's plays by hour", |b| {
        b.iter(|| {
            let mut figures = PlayFigures::default();
            each_hour(&plays.hours, |_, hour| hour.fold(3, &mut figures)).map(|()| figures)
        });
    });
    group.bench_function("read a day's seconds", |b| {
        b.iter(|| load_changes(places.seconds.as_deref(), None));
    });
    group.bench_function("read a day's places in 100 parts", |b| {
        let mut parts = Parts::new(places.end_ms, 100);
        b.iter(|| parts.add_places(&places.places));
    });
    group.finish();
}

criterion_group!(benches, sums);
criterion_main!(benches);
