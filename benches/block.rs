//! Blocks: the cost of encoding sessions, and of decoding the columns that reports read.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use benches::dataset::Dataset;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use metrics_core::benchmarks::{BLOCK_SESSIONS_MAX, decode_columns, encode};
use metrics_core::store::{Group, Groups, Row, SessionWrite};

const UNTIL_MS: i64 = 1_700_000_000_000;

fn row(write: &SessionWrite) -> Row {
    let mut row = write.row();
    row.stored = row.stored.finalized();
    row
}

fn blocks(c: &mut Criterion) {
    let sessions = BLOCK_SESSIONS_MAX as u64;
    let writes = Dataset::new(1, sessions, UNTIL_MS).sessions(0..sessions);
    let rows: Vec<Row> = writes.iter().map(row).collect();
    let block = encode(rows.clone());

    let mut group = c.benchmark_group("block");
    group.throughput(Throughput::Elements(sessions));
    group.bench_function("encode", |b| {
        b.iter_batched(|| rows.clone(), encode, criterion::BatchSize::LargeInput);
    });
    group.bench_function("decode all", |b| b.iter(|| black_box(block.rows())));
    for (name, groups) in [
        ("plays", &[Group::Starts, Group::Times, Group::UserAgents][..]),
        ("segments", &[Group::Starts, Group::Segments]),
        ("quality", &[Group::Starts, Group::Times, Group::Quality]),
    ] {
        let groups: Groups = groups.iter().copied().collect();
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| black_box(decode_columns(&block, groups)));
        });
    }
    group.finish();
}

criterion_group!(benches, blocks);
criterion_main!(benches);
