//! Compiles programs line by line into payloads, so that another SDK can be asked what they mean.
//!
//! In: NDJSON on standard input, `{experiments, layers, holdouts, savedGroups}`, each optional.
//! Out: NDJSON, `{payload}`, or `{error}` with what a person would be told.
//! Never here: evaluation (see the example `evaluate`).
//! Start at `main`.

use std::io::{BufRead, Write};

use experiment::assign::{Object, Value};
use experiment::definition::Experiment;
use experiment::layer::Layer;
use experiment::program::{Holdout, Program};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    #[serde(default)]
    experiments: Vec<Experiment>,
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    holdouts: Vec<Holdout>,
    #[serde(default)]
    saved_groups: Option<Value>,
}

fn compile(line: &str) -> Result<Object, Box<dyn std::error::Error>> {
    let input: Input = serde_json::from_str(line)?;
    let saved_groups = input.saved_groups.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    let program = Program {
        experiments: input.experiments,
        layers: input.layers,
        holdouts: input.holdouts,
        saved_groups,
        ..Program::default()
    };
    Ok(program.payload()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let answer = match compile(&line?) {
            Ok(payload) => [("payload".to_owned(), Value::Object(payload))],
            Err(error) => [("error".to_owned(), Value::from(error.to_string().as_str()))],
        };
        let answer: Object = answer.into_iter().collect();
        serde_json::to_writer(&mut out, &Value::Object(answer))?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
