//! The union of a session's segments, at the sizes that sessions have.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use metrics_core::interval::{Interval, Segments};

/// The number of segments of a session: the median, a restless viewer, and a scrubber held down.
const SIZES: [u32; 3] = [4, 64, 1_024];

fn union(c: &mut Criterion) {
    let mut group = c.benchmark_group("segments");
    for size in SIZES {
        let segments = segments(size);
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_with_input(BenchmarkId::new("union", size), &segments, |b, segments| {
            b.iter(|| black_box(segments.union()));
        });
        group.bench_with_input(BenchmarkId::new("insert", size), &segments, |b, segments| {
            b.iter_batched(
                || segments.iter().rev(),
                |all| {
                    all.fold(Segments::default(), |mut sum, it| {
                        sum.insert(it);
                        sum
                    })
                },
                BatchSize::SmallInput,
            );
        });
        let encoded = segments.encode();
        group.bench_with_input(BenchmarkId::new("decode", size), &encoded, |b, encoded| {
            b.iter(|| Segments::decode(black_box(encoded)));
        });
    }
    group.finish();
}

/// The same segments on every run, spread over an hour.
fn segments(n: u32) -> Segments {
    let starts = (0..n).map(|i| i.wrapping_mul(2_654_435_761) % 3_600_000);
    starts.filter_map(|start| Interval::new(start, start + 1 + start % 30_000)).collect()
}

criterion_group!(benches, union);
criterion_main!(benches);
