//! User-agent classes: of a known User-Agent, and of a new one.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use metrics_core::user_agent::{Classifier, Headers};

const USER_AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
];

fn classify(c: &mut Criterion) {
    let each = |classifier: &Classifier| {
        for user_agent in USER_AGENTS {
            let headers = Headers::default().with_user_agent(user_agent);
            black_box(classifier.classify(black_box(headers)));
        }
    };
    let mut group = c.benchmark_group("classes");
    group.throughput(Throughput::Elements(USER_AGENTS.len() as u64));
    let known = Classifier::new();
    group.bench_function("known", |b| b.iter(|| each(&known)));
    group.bench_function("new", |b| {
        b.iter_batched_ref(Classifier::new, |new| each(new), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, classify);
criterion_main!(benches);
