//! What must hold for any bytes at all: no panic, no unbounded time or memory, and the same answer
//! twice.
//!
//! In: bytes, from a fuzzer (`make fuzz`) or from the seeds (`make test` runs those). The time and
//! memory of one input are bounded by the fuzzer's own options.

use std::sync::LazyLock;

use rowcast::model::{Document, DocumentLimits, Offset, Record, TopicPartition};
use rowcast::source::{DecodeSettings, Decoder};
use rowcast::transform::fhirpath::{Environment, Item, MAX_ITEMS, Path};
use rowcast::transform::{RuleSet, Transformer as _};

/// Parts an expression from the document that it is evaluated on.
const SEPARATOR: u8 = 0;

/// Evaluated on where an input brings no document.
const PATIENT: &str = include_str!("../seeds/document/patient.json");

/// Rules that know every kind of column.
const RULES: &str = include_str!("../seeds/rules/patient.json");

static RULE_SET: LazyLock<RuleSet> =
    LazyLock::new(|| load("patient.json", RULES).expect("the seed is a good rules file"));

/// An expression, and after a zero byte the document.
pub fn expression(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == SEPARATOR);
    let Some(Ok(expression)) = parts.next().map(std::str::from_utf8) else { return };
    let document = parts.next().unwrap_or(PATIENT.as_bytes());
    let Ok(document) = Document::parse(document, DocumentLimits::default()) else { return };
    for context in [document.text("resourceType"), Some("Patient"), None] {
        let Ok(path) = Path::compile(expression, context) else { continue };
        let evaluate = || {
            let root = document.root();
            let mut items = Vec::new();
            let outcome = path.evaluate(Environment::of(root), Item::resource(root), &mut items);
            let texts: Vec<_> = items.iter().map(Item::text).collect();
            (outcome.map_err(|error| error.to_string()), texts)
        };
        let (outcome, texts) = evaluate();
        assert!(texts.len() <= MAX_ITEMS, "more items than the bound allows");
        assert!(outcome.is_ok() || texts.is_empty(), "results beside an error");
        assert_eq!((outcome, texts), evaluate(), "two answers");
    }
}

/// The value of a record of the ingest topic.
pub fn document(input: &[u8]) {
    rows(&RULE_SET, input);
}

/// A rules file: the first byte says whether it is JSON or YAML.
pub fn rules(input: &[u8]) {
    let name = if input.first() == Some(&b'{') { "rules.json" } else { "rules.yaml" };
    let Ok(text) = std::str::from_utf8(input) else { return };
    match load(name, text) {
        Ok(rules) => rows(&rules, PATIENT.as_bytes()),
        Err(problems) => assert_ne!(problems, "", "refused without a reason"),
    }
}

fn load(name: &str, text: &str) -> Result<RuleSet, String> {
    RuleSet::load(&[(name.to_owned(), text.to_owned())])
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn rows(rules: &RuleSet, value: &[u8]) {
    let decoder = Decoder::new(DecodeSettings::default());
    let record = Record {
        source: TopicPartition::new("fuzz", 0),
        offset: Offset(0),
        timestamp: None,
        key: None,
        value: Some(value.to_vec().into()),
        headers: Vec::new(),
    };
    let Ok(changes) = decoder.decode(&record) else { return };
    for change in changes {
        let first = rules.transform(&change).map_err(|refusal| refusal.to_string());
        let second = rules.transform(&change).map_err(|refusal| refusal.to_string());
        assert_eq!(first, second, "two answers");
    }
}
