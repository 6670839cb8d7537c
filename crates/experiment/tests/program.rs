//! Experiments as people define them, compiled to a payload and evaluated for thousands of made-up units.
//!
//! In: definitions in TOML, or drawn from a seed.  Out: nothing.
//! Never here: the payload's own semantics (see `growthbook`).
//! Start at `a_ramp_never_evicts_or_moves_a_unit`.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use experiment::assign::{Compiled, Context, Exposure, Log, Object, Payload, Source, StickyDocuments, Value};
use experiment::definition::{Experiment, Slot, Variant};
use experiment::layer::Layer;
use experiment::program::{Flag, Holdout, Preview, Program, ValueType, preview_link};

/// splitmix64 (Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() * n as f64) as usize
    }
}

fn read(toml: &str) -> Experiment {
    toml::from_str(toml).unwrap()
}

fn experiment(key: &str) -> Experiment {
    read(&format!("key = '{key}'\nvariants = [{{ key = 'a', value = 'A' }}, {{ key = 'b', value = 'B' }}]"))
}

fn slot(layer: &str, start: f64, end: f64) -> Slot {
    Slot { layer: layer.to_owned(), start, end }
}

fn layer(name: &str) -> Layer {
    Layer { name: name.to_owned(), hash_attribute: "id".to_owned(), seed: None }
}

fn compile(program: &Program) -> Compiled {
    // As text, because that is how an SDK gets it.
    Payload::validate(&serde_json::to_string(&program.payload().unwrap()).unwrap()).unwrap()
}

fn unit(i: usize) -> Object {
    [
        ("id".to_owned(), Value::from(format!("unit-{i}").as_str())),
        ("country".to_owned(), Value::from(if i.is_multiple_of(3) { "DE" } else { "FR" })),
    ]
    .into_iter()
    .collect()
}

/// What a unit gets: the value, the source, and its exposures as `experiment:variation`.
fn see(payload: &Compiled, feature: &str, attributes: &Object) -> (Value, Source, Vec<String>) {
    let mut log = Log::new();
    let result = payload.evaluate(feature, &Context::new(attributes), &mut log);
    let exposures = log.exposures().map(|exposure| match exposure {
        Exposure::Evaluated { experiment, result, .. } => format!("{}:{}", experiment.key(), result.key),
        Exposure::Tracked(_) => unreachable!("no rule of ours has tracks"),
    });
    (result.value.clone(), result.source, exposures.collect())
}

#[test]
fn a_ramp_never_evicts_or_moves_a_unit() {
    let mut random = Random(1);
    for trial in 0..40 {
        let mut ramped = experiment(&format!("ramp-{trial}"));
        let variant = |i: usize, random: &mut Random| Variant {
            key: format!("v{i}"),
            weight: random.next() + 1e-3,
            value: Value::from(i as f64),
        };
        ramped.variants = (0..2 + random.below(4)).map(|i| variant(i, &mut random)).collect();
        let mut steps: Vec<f64> = (0..6).map(|_| random.next()).chain([0.0, 1.0]).collect();
        steps.sort_by(f64::total_cmp);
        let mut before = vec![None; 400];
        for coverage in steps {
            ramped.coverage = coverage;
            let payload = compile(&Program { experiments: vec![ramped.clone()], ..Program::default() });
            for (i, before) in before.iter_mut().enumerate() {
                let now = see(&payload, &ramped.key, &unit(i)).2.pop();
                assert!(
                    before.is_none() || *before == now,
                    "trial {trial}, coverage {coverage}, unit {i}: {before:?} became {now:?}"
                );
                *before = now;
            }
        }
        assert!(before.iter().all(Option::is_some), "full coverage leaves nobody out");
    }
}

#[test]
fn no_unit_is_in_two_experiments_of_one_layer() {
    let mut random = Random(2);
    for trial in 0..20 {
        let mut program = Program { layers: vec![layer("first"), layer("second")], ..Program::default() };
        let mut at = 0;
        while program.experiments.len() < 8 && at < 9_000 {
            let (start, end) = (at + random.below(500), at + 500 + random.below(1_500));
            at = end;
            let mut member = experiment(&format!("e{trial}-{}", program.experiments.len()));
            member.slots = vec![slot("first", start as f64 / 1e4, end.min(10_000) as f64 / 1e4)];
            if program.experiments.len() == 3 {
                member.slots.push(slot("second", 0.0, 0.5));
            }
            program.experiments.push(member);
        }
        let payload = compile(&program);
        let mut entered = 0;
        for i in 0..1_000 {
            let seen: usize =
                program.experiments.iter().map(|member| see(&payload, &member.key, &unit(i)).2.len()).sum();
            assert!(seen <= 1, "trial {trial}: unit {i} is in {seen} experiments");
            entered += seen;
        }
        assert!(entered > 300, "trial {trial}: only {entered} units are in any experiment");
    }
}

#[test]
fn slots_do_not_favour_variants() {
    // 20,000 units, half of them in the slot, weights 1:1:2: χ² with 2 degrees of freedom is below 13.8 for all but one seed in a thousand.
    let mut member = read(
        "key = 'e'\nvariants = [{ key = 'a', value = 0 }, { key = 'b', value = 1 }, { key = 'c', value = 2, weight = 2 }]",
    );
    member.slots = vec![slot("first", 0.25, 0.75)];
    let payload = compile(&Program { layers: vec![layer("first")], experiments: vec![member], ..Program::default() });
    let mut counts = [0.0; 3];
    for i in 0..20_000 {
        if let (Value::Number(variant), Source::Experiment, _) = see(&payload, "e", &unit(i)) {
            counts[variant as usize] += 1.0;
        }
    }
    let total: f64 = counts.iter().sum();
    assert!((total - 10_000.0).abs() < 300.0, "{total}");
    let chi_square: f64 = counts
        .iter()
        .zip([0.25, 0.25, 0.5])
        .map(|(count, share)| (count - total * share).powi(2) / (total * share))
        .sum();
    assert!(chi_square < 13.8, "{counts:?}");
}

#[test]
fn a_holdout_is_counted_and_stays_withheld_after_a_decision() {
    let holdout = Holdout { key: "global".to_owned(), share: 0.2, hash_attribute: "id".to_owned(), seed: None };
    let mut held = experiment("e");
    held.holdout = Some("global".to_owned());
    held.audience = Some(serde_json::from_str(r#"{"country":"DE"}"#).unwrap());
    let mut program = Program { experiments: vec![held], holdouts: vec![holdout], ..Program::default() };
    let running = compile(&program);
    program.experiments[0].winner = Some("b".to_owned());
    let decided = compile(&program);
    let mut out = 0;
    for i in 0..2_000 {
        let (value, _, exposures) = see(&running, "e", &unit(i));
        let (winner, source, counted) = see(&decided, "e", &unit(i));
        let in_audience = i % 3 == 0;
        if exposures[0] == "global:held_out" {
            out += 1;
            assert_eq!((value, exposures.len()), (Value::from("A"), 1));
            assert_eq!((winner, counted), (Value::from("A"), vec!["global:held_out".to_owned()]));
        } else {
            assert_eq!(exposures[0], "global:included");
            assert_eq!(exposures.len(), if in_audience { 2 } else { 1 });
            // The winner is served to the whole audience, and nobody is counted for it.
            let expected = if in_audience { ("B", Source::Force) } else { ("A", Source::DefaultValue) };
            assert_eq!((winner, source), (Value::from(expected.0), expected.1));
            assert_eq!(counted, ["global:included"]);
        }
    }
    assert!((out as f64 - 400.0).abs() < 80.0, "{out}");
}

#[test]
fn a_preview_shows_a_variant_to_whoever_has_its_token_and_to_nobody_else() {
    let preview = |experiment: &str, token: &str, variant: &str| Preview {
        experiment: experiment.to_owned(),
        token: token.to_owned(),
        variant: variant.to_owned(),
    };
    let mut listed = experiment("e");
    listed.allow_list = [("7".to_owned(), "a".to_owned())].into();
    listed.audience = Some(serde_json::from_str(r#"{"country":"nowhere"}"#).unwrap());
    for paused in [false, true] {
        listed.paused = paused;
        let previews = vec![preview("e", "5f0c", "b"), preview("e", "77aa", "gone"), preview("other", "1234", "b")];
        let payload = compile(&Program { experiments: vec![listed.clone()], previews, ..Program::default() });
        let seen = |attributes: &str| see(&payload, "e", &Object::parse(attributes).unwrap());
        // Without an id as well, and before the list.
        for attributes in [r#"{"montauk_preview":"5f0c"}"#, r#"{"id":"7","montauk_preview":"5f0c"}"#] {
            assert_eq!(seen(attributes), (Value::from("B"), Source::Force, vec![]), "{attributes}");
        }
        for other in
            [r#"{"id":"1"}"#, r#"{"id":"1","montauk_preview":"77aa"}"#, r#"{"id":"5f0c","montauk_preview":""}"#]
        {
            assert_eq!(seen(other), (Value::from("A"), Source::DefaultValue, vec![]), "{other}");
        }
    }
}

#[test]
fn a_preview_link_keeps_what_the_address_says() {
    for (address, expected) in [
        ("https://shop.example", Some("https://shop.example/?montauk_preview=5f0c")),
        (
            "https://shop.example/a?b=c&montauk=1#top",
            Some("https://shop.example/a?b=c&montauk=1&montauk_preview=5f0c#top"),
        ),
        ("http://localhost:3000/?", Some("http://localhost:3000/?montauk_preview=5f0c")),
        ("shop.example/a", None),
        ("mailto:mina@shop.example", None),
        ("", None),
    ] {
        assert_eq!(preview_link(address, "5f0c").as_deref(), expected, "{address}");
    }
}

#[test]
fn an_allow_list_works_without_being_counted() {
    let mut listed = experiment("e");
    listed.allow_list = [("7".to_owned(), "b".to_owned())].into();
    listed.audience = Some(serde_json::from_str(r#"{"country":"nowhere"}"#).unwrap());
    for paused in [false, true] {
        listed.paused = paused;
        let payload = compile(&Program { experiments: vec![listed.clone()], ..Program::default() });
        // A number is the same unit as its text.
        for unit in [r#"{"id":"7"}"#, r#"{"id":7}"#] {
            assert_eq!(see(&payload, "e", &Object::parse(unit).unwrap()), (Value::from("B"), Source::Force, vec![]));
        }
        assert_eq!(see(&payload, "e", &unit(1)), (Value::from("A"), Source::DefaultValue, vec![]));
    }
}

#[test]
fn a_new_phase_assigns_anew_and_sticky_units_stay() {
    let mut phased = experiment("e");
    let payload =
        |experiment: &Experiment| compile(&Program { experiments: vec![experiment.clone()], ..Program::default() });
    let first = payload(&phased);
    phased.phase = 1;
    let second = payload(&phased);
    let moved = (0..1_000).filter(|&i| see(&first, "e", &unit(i)).0 != see(&second, "e", &unit(i)).0).count();
    assert!((400..600).contains(&moved), "{moved}");

    phased.sticky = Some(toml::from_str("fallback_attribute = 'device'").unwrap());
    let attributes = unit(1);
    let before = payload(&phased);
    let mut log = Log::new();
    let context = Context { sticky: Some(&StickyDocuments::default()), ..Context::new(&attributes) };
    let value = before.evaluate("e", &context, &mut log).value.clone();
    let documents: StickyDocuments = log.sticky_documents().iter().cloned().collect();
    assert_eq!(documents.0["id||unit-1"].assignments.keys().collect::<Vec<_>>(), ["e__1"]);
    // The audience moves on, the unit does not.
    phased.audience = Some(serde_json::from_str(r#"{"country":"nowhere"}"#).unwrap());
    phased.seed = Some("another".to_owned());
    let after = payload(&phased);
    let mut log = Log::new();
    let context = Context { sticky: Some(&documents), ..context };
    let result = after.evaluate("e", &context, &mut log);
    assert_eq!((result.value, result.result.unwrap().sticky_bucket_used), (&value, true));
}

#[test]
fn a_layer_finds_gaps_and_says_when_it_is_full() {
    let first = layer("first");
    let taken = [slot("first", 0.0, 0.3), slot("first", 0.4, 0.9)];
    let owned: Vec<_> = taken.iter().map(|slot| ("e", slot)).collect();
    assert_eq!(first.allocate(&owned, 0.1).unwrap(), slot("first", 0.3, 0.4));
    assert_eq!(first.allocate(&[], 1.0).unwrap(), slot("first", 0.0, 1.0));
    let error = first.allocate(&owned, 0.2).unwrap_err().to_string();
    assert_eq!(
        error,
        "layer `first` is too full for a slot of 0.2: its widest gap is 0.1; end an experiment, or take another layer"
    );
    assert!(first.allocate(&owned, 0.0).is_err());
    assert!(first.allocate(&owned, 0.00005).is_err());
}

/// What is wrong with a program of one experiment whose definition is changed.
fn error(change: impl FnOnce(&mut Program)) -> String {
    let mut program = Program {
        experiments: vec![experiment("e"), experiment("other")],
        layers: vec![layer("first")],
        ..Program::default()
    };
    assert!(program.payload().is_ok());
    change(&mut program);
    program.payload().unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_said_with_the_next_step() {
    let audience = |json: &str| Some(serde_json::from_str(json).unwrap());
    let errors = [
        (error(|program| program.experiments[0].variants.truncate(1)), "has fewer than two variants"),
        (error(|program| program.experiments[0].variants.clear()), "has fewer than two variants"),
        (error(|program| program.experiments[0].variants[1].key = "a".to_owned()), "two variants with the key `a`"),
        (error(|program| program.experiments[0].variants[1].weight = -1.0), "the weight `-1`"),
        (error(|program| program.experiments[0].variants[1].weight = f64::NAN), "the weight `NaN`"),
        (
            error(|program| program.experiments[0].variants.iter_mut().for_each(|variant| variant.weight = 0.0)),
            "weights that sum to `0`",
        ),
        (error(|program| program.experiments[0].coverage = 1.1), "has the coverage `1.1`"),
        (error(|program| program.experiments[0].winner = Some("c".to_owned())), "has the winner `c`"),
        (
            error(|program| program.experiments[0].allow_list = [("u".to_owned(), "c".to_owned())].into()),
            "see the variant `c`",
        ),
        (error(|program| program.experiments[0].hash_attribute = "a.b".to_owned()), "without a dot"),
        (error(|program| program.experiments[1].key = "e".to_owned()), "stands here twice"),
        (
            error(|program| program.experiments[0].slots = vec![slot("nowhere", 0.0, 0.5)]),
            "layer `nowhere`, which is not there",
        ),
        (error(|program| program.experiments[0].slots = vec![slot("first", 0.5, 0.5)]), "has the slot `[0.5, 0.5)`"),
        (error(|program| program.experiments[0].slots = vec![slot("first", 0.0, 0.00015)]), "multiples of 0.0001"),
        (
            error(|program| program.experiments[0].holdout = Some("h".to_owned())),
            "has the holdout `h`, which is not there",
        ),
        (
            error(|program| program.experiments[0].audience = audience(r#"{"a":{"$regex":"(?=x)"}}"#)),
            "`audience.a.$regex` never matches",
        ),
        (error(|program| program.experiments[0].audience = audience(r#"{"$or":5}"#)), "`audience.$or` is no list"),
        (error(|program| program.experiments[0].audience = audience("5")), "`audience` is no condition"),
    ];
    for (error, expected) in errors {
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
    let meets = error(|program| {
        program.experiments[0].slots = vec![slot("first", 0.0, 0.5)];
        program.experiments[1].slots = vec![slot("first", 0.4999, 1.0)];
    });
    assert_eq!(
        meets,
        "layer `first` has slots that meet: `e` from 0 to 0.5 and `other` from 0.4999 on; move one of them"
    );
}

#[test]
fn a_decided_experiment_leaves_its_slot() {
    let mut program = Program {
        experiments: vec![experiment("e"), experiment("other")],
        layers: vec![layer("first")],
        ..Program::default()
    };
    program.experiments.iter_mut().for_each(|experiment| experiment.slots = vec![slot("first", 0.0, 1.0)]);
    assert!(program.payload().is_err());
    program.experiments[0].winner = Some("a".to_owned());
    assert!(program.payload().is_ok());
}

#[test]
fn a_project_file_is_read_and_an_unknown_field_is_refused() {
    let text = r#"
        key = "checkout"
        feature = "checkout_button"
        hash_attribute = "user"
        coverage = 0.5
        phase = 2
        holdout = "global"
        slots = [{ layer = "page", start = 0.0, end = 0.25 }]
        audience = { country = { "$in" = ["DE", "AT"] }, age = { "$gte" = 18 } }
        sticky = { first_phase = 1 }
        allow_list = { "qa-1" = "green" }
        [[variants]]
        key = "control"
        value = { color = "blue", size = 12 }
        [[variants]]
        key = "green"
        weight = 3
        value = { color = "green", size = 12 }
    "#;
    let experiment = read(text);
    assert_eq!(experiment.shares(), [0.25, 0.75]);
    assert_eq!(
        experiment.ranges().iter().map(|range| (range.start, range.end)).collect::<Vec<_>>(),
        [(0.0, 0.125), (0.25, 0.625)]
    );
    assert_eq!(experiment, read(&toml::to_string(&experiment).unwrap()));
    for wrong in ["owner = 'me'\n", "coverge = 0.5\n"] {
        assert!(
            toml::from_str::<Experiment>(&format!("{wrong}{text}")).unwrap_err().to_string().contains("unknown field")
        );
    }
}

fn flag(key: &str, default: &str) -> Flag {
    Flag { key: key.to_owned(), value_type: ValueType::String, default: Value::from(default), description: None }
}

#[test]
fn a_flag_without_an_experiment_has_its_default_and_one_with_has_its_rules() {
    let flags = vec![flag("a", "A"), flag("plain", "x")];
    let program = Program { experiments: vec![experiment("a")], flags, ..Program::default() };
    let payload = compile(&program);
    assert_eq!(payload.features().collect::<Vec<_>>(), ["a", "plain"]);
    let (value, source, exposures) = see(&payload, "plain", &unit(1));
    assert_eq!((value, source, exposures.len()), (Value::from("x"), Source::DefaultValue, 0));
    assert_eq!(see(&payload, "a", &unit(1)).2.len(), 1);
}

#[test]
fn a_flag_and_its_experiments_agree() {
    let check = |experiment: Experiment, flags: Vec<Flag>, expected: &str| {
        let program = Program { experiments: vec![experiment], flags, ..Program::default() };
        assert_eq!(program.payload().unwrap_err().to_string(), expected);
    };
    let number = |mut experiment: Experiment| {
        experiment.variants[1].value = Value::from(1.0);
        experiment
    };
    check(
        experiment("a"),
        vec![flag("a", "other")],
        "experiment `a` gives its control another value than the default of its flag `a`: make them equal",
    );
    check(
        number(experiment("a")),
        vec![flag("a", "A")],
        "experiment `a` gives the variant `b` a number, and its flag `a` is a string: make them agree",
    );
    let twice = vec![flag("f", "x"), flag("f", "y")];
    check(experiment("a"), twice, "flag `f` stands here twice: give each flag its own key");
    // JSON takes anything, and without a flag nobody has said a type.
    let json = Flag { value_type: ValueType::Json, ..flag("a", "A") };
    for flags in [vec![json], Vec::new()] {
        let program = Program { experiments: vec![number(experiment("a"))], flags, ..Program::default() };
        assert!(program.payload().is_ok());
    }
}
