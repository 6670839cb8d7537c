//! How long one evaluation takes: `cargo bench -p experiment`.
//!
//! In: payloads with one feature each, and one of 10,000 features.  Out: figures of criterion.
//! Never here: claims; the console prints what the machine says.
//! Start at `evaluations`.

#![expect(clippy::unwrap_used, reason = "in a bench the panic is the report")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use experiment::assign::{Context, Log, Object, Payload};

const UNIT: &str = r#"{"id":"5d1fa2c8-user-1234","country":"DE","age":31,"plan":"pro","version":"2.10.3","tags":["a","b"],"email":"a@example.com"}"#;

const SIMPLE: &str = r#"{"f":{"defaultValue":0,"rules":[{"key":"e","seed":"s","hashVersion":2,"variations":[0,1],"weights":[0.5,0.5],"meta":[{"key":"control"},{"key":"treatment"}]}]}}"#;

const TARGETED: &str = r#"{"f":{"defaultValue":0,"rules":[{"key":"e","seed":"s","hashVersion":2,"variations":[0,1],"weights":[0.5,0.5],
    "condition":{"country":{"$in":["DE","FR","AT"]},"age":{"$gte":18},"plan":"pro"},"filters":[{"seed":"layer","ranges":[[0,1]],"hashVersion":2}]}]}}"#;

const NAMESPACE: &str = r#"{"f":{"defaultValue":0,"rules":[{"key":"e","hashVersion":2,"variations":[0,1],"condition":{"country":"DE"},"namespace":["n",0,1]}]}}"#;

const REGEX: &str = r#"{"f":{"defaultValue":0,"rules":[{"force":1,"condition":{"email":{"$regex":"@example\\.com$"},"version":{"$vgte":"2.9.0"}}}]}}"#;

fn payload(features: &str) -> String {
    format!(r#"{{"features":{features}}}"#)
}

fn many() -> String {
    let rule = r#"{"key":"e","hashVersion":2,"variations":[0,1],"condition":{"country":"DE"}}"#;
    let features: Vec<String> =
        (0..10_000).map(|i| format!(r#""feature-{i}":{{"defaultValue":0,"rules":[{rule}]}}"#)).collect();
    payload(&format!("{{{}}}", features.join(",")))
}

fn evaluations(criterion: &mut Criterion) {
    let attributes = Object::parse(UNIT).unwrap();
    let context = Context::new(&attributes);
    let mut group = criterion.benchmark_group("evaluate");
    let all =
        [("simple", SIMPLE), ("targeted_layer", TARGETED), ("targeted_namespace", NAMESPACE), ("regex_version", REGEX)];
    for (name, features) in all {
        let compiled = Payload::compile(&payload(features)).unwrap();
        assert_ne!(
            compiled.evaluate("f", &context, &mut Log::new()).source,
            experiment::assign::Source::DefaultValue,
            "{name}"
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut log = Log::new();
                let result = compiled.evaluate(black_box("f"), black_box(&context), &mut log);
                black_box((result.value, result.source));
                black_box(&log);
            });
        });
    }
    let many = Payload::compile(&many()).unwrap();
    group.bench_function("one_of_10000_features", |bencher| {
        bencher.iter(|| black_box(many.evaluate(black_box("feature-7777"), &context, &mut Log::new()).source));
    });
    group.finish();
    criterion.bench_function("attributes/parse", |bencher| bencher.iter(|| Object::parse(black_box(UNIT)).unwrap()));
    let text = self::many();
    criterion.bench_function("payload/compile_10000_features", |bencher| {
        bencher.iter(|| Payload::compile(black_box(&text)).unwrap())
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(2));
    targets = evaluations
}
criterion_main!(benches);
