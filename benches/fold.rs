//! Benchmarks of sessions: folding events, encoding, and decoding.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use metrics_core::PlayerEvent;
use metrics_core::event::CheckedEvent;
use metrics_core::session::{Moment, Reach, Session};

/// Event counts of a session: a short one, a usual one, and more than a session keeps.
const SIZES: [i64; 3] = [4, 16, 512];

const BEGAN_MS: i64 = 1_700_000_000_000;

fn fold(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    for size in SIZES {
        let events = events(size);
        group.throughput(Throughput::Elements(size.unsigned_abs()));
        group.bench_with_input(BenchmarkId::new("fold", size), &events, |b, events| {
            b.iter(|| black_box(session(events)));
        });
        let session = session(&events);
        group.bench_with_input(BenchmarkId::new("store", size), &session, |b, session| {
            b.iter(|| black_box(session.snapshot(Reach::LastEvent)));
        });
        let stored = session.snapshot(Reach::LastEvent);
        group.bench_with_input(BenchmarkId::new("load", size), &stored, |b, stored| {
            b.iter(|| Session::load(black_box(stored)));
        });
        let (last, at) = &events[events.len() - 1];
        group.bench_with_input(BenchmarkId::new("again", size), &session, |b, session| {
            b.iter_batched_ref(
                || session.clone(),
                |session| session.apply(last, *at),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn session(events: &[(CheckedEvent, Moment)]) -> Session {
    let (first, at) = &events[0];
    let mut session = Session::begin(first, *at).expect("a play begins a session");
    for (event, at) in &events[1..] {
        session.apply(event, *at);
    }
    session
}

/// A viewer who pauses every five seconds, with a player that sends timestamps.
fn events(n: i64) -> Vec<(CheckedEvent, Moment)> {
    let event = |number: i64| {
        let position = (number * 5 % 3_600) as f64;
        let event = if number % 2 == 0 {
            PlayerEvent::play(position)
        } else {
            PlayerEvent::pause(position)
        };
        let now_ms = BEGAN_MS + number * 5_000;
        let event = event.with_duration(3_600.0).with_timestamp(now_ms).check(7);
        let at = Moment { timestamp_ms: Some(now_ms), ..Moment::received(now_ms + 30) };
        (event.expect("positions are finite"), at)
    };
    (0..n).map(event).collect()
}

criterion_group!(benches, fold);
criterion_main!(benches);
