//! Evaluates one feature many times, so that the processor time of one evaluation can be told from outside.
//!
//! In: a file `{payload, attributes, feature}`, a number of rounds.  Out: the value, as JSON.
//! Never here: clocks (`bench/experiments.py` reads the kernel's account of two runs of different length).
//! Start at `main`.

use std::hint::black_box;
use std::io::Write;

use experiment::assign::{Context, Log, Object, Payload, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(rounds)) = (arguments.next(), arguments.next()) else {
        return Err("usage: evaluation_speed FILE ROUNDS".into());
    };
    let input = Object::parse(&std::fs::read_to_string(file)?)?;
    let object = |name: &str| input.get(name).and_then(Value::as_object).ok_or(format!("`{name}` is no object"));
    let payload = Payload::compile_object(object("payload")?)?;
    let feature = input.get("feature").and_then(Value::as_str).ok_or("`feature` is no text")?;
    let context = Context::new(object("attributes")?);
    for _ in 0..rounds.parse::<u64>()? {
        let mut log = Log::new();
        let result = payload.evaluate(black_box(feature), black_box(&context), &mut log);
        black_box((result.value, result.source));
        black_box(&log);
    }
    let mut log = Log::new();
    let value = payload.evaluate(feature, &context, &mut log).to_json();
    let value = value.as_object().and_then(|result| result.get("value")).cloned().unwrap_or(Value::Null);
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&value)?)?;
    Ok(())
}
