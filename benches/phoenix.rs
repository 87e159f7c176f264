//! Messages of the channel protocol, parsed from text.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use metrics_server::reads_message;

const EVENT: &str = r#"["3","17","session:2d3f5b0e-6a4b-4c1f-9d2e-0a1b2c3d4e5f","event",{"name":"pause","from":12.5,"to":47.25,"duration":60.1,"timestamp":1767225600000}]"#;

const OLD_EVENT: &str = r#"{"topic":"session:2d3f5b0e-6a4b-4c1f-9d2e-0a1b2c3d4e5f","event":"event","payload":{"name":"pause","from":12.5,"to":47.25},"ref":"17","join_ref":"3"}"#;

const HEARTBEAT: &str = r#"[null,"18","phoenix","heartbeat",{}]"#;

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("phoenix");
    for (name, version, text) in [
        ("event, V2", "2.0.0", EVENT),
        ("event, V1", "1.0.0", OLD_EVENT),
        ("heartbeat, V2", "2.0.0", HEARTBEAT),
    ] {
        assert!(reads_message(version, text), "{name}");
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| b.iter(|| reads_message(version, black_box(text))));
    }
    group.finish();
}

criterion_group!(benches, messages);
criterion_main!(benches);
