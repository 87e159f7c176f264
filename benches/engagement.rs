//! Engagement curves: viewers of a hundred parts, views and viewers of every second.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use benches::dataset::Dataset;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use metrics_core::engagement::{Parts, Seconds};
use metrics_core::interval::Segments;
use metrics_core::time_bucket::{Buckets, Width};

/// A number of sessions that covers all lengths of sessions and videos.
const SESSIONS: u64 = 1_000;

const UNTIL_MS: i64 = 1_700_000_000_000;

fn count(c: &mut Criterion) {
    let sessions = Dataset::new(1, SESSIONS, UNTIL_MS).sessions(0..SESSIONS);
    let decode = |bytes: &[u8]| Segments::decode(bytes).expect("a session encoded them");
    let viewings: Vec<(i64, Segments)> =
        sessions.iter().map(|it| (it.stored.started_at_ms, decode(&it.stored.segments))).collect();
    let end_ms = viewings.iter().map(|(_, segments)| segments.union().end_ms()).max();
    let end_ms = end_ms.expect("there are sessions");

    let mut group = c.benchmark_group("engagement");
    group.throughput(Throughput::Elements(SESSIONS));
    group.bench_function("parts", |b| {
        b.iter(|| {
            let mut parts = Parts::new(end_ms, 100);
            viewings.iter().for_each(|(_, segments)| parts.add(segments));
            black_box(parts.finish())
        });
    });
    group.bench_function("seconds", |b| {
        b.iter(|| {
            let mut seconds = Seconds::new(Buckets::new(Width::YEAR));
            for (started_at_ms, segments) in &viewings {
                seconds
                    .add(*started_at_ms, segments, None)
                    .expect("an hour of video is not too long");
            }
            black_box(seconds.finish())
        });
    });
    group.bench_function("decode", |b| {
        b.iter(|| sessions.iter().map(|it| decode(&it.stored.segments).len()).sum::<usize>());
    });
    group.finish();
}

criterion_group!(benches, count);
criterion_main!(benches);
