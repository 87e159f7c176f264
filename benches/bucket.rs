//! The start of a time's bucket, without a time zone and with one.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Europe::Amsterdam;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use metrics_core::time_bucket::Buckets;

/// The hours of a year, with both of its clock changes.
const HOURS: i64 = 8_760;

fn start_of(c: &mut Criterion) {
    let first = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).expect("in range");
    let hours: Vec<_> = (0..HOURS).map(|hour| first + TimeDelta::hours(hour)).collect();
    let mut group = c.benchmark_group("bucket");
    group.throughput(Throughput::Elements(HOURS.unsigned_abs()));
    for width in ["1 hour", "1 day", "1 month"] {
        let buckets = Buckets::new(width.parse().expect("a width"));
        for (zone, buckets) in [("none", buckets), ("Amsterdam", buckets.in_timezone(Amsterdam))] {
            group.bench_with_input(BenchmarkId::new(width, zone), &buckets, |b, buckets| {
                b.iter(|| {
                    for at in &hours {
                        black_box(buckets.start_of(*at));
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, start_of);
criterion_main!(benches);
