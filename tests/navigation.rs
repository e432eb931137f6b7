//! Navigation, checked against a plain reading of the same documents: members given twice, nulls,
//! arrays where one value is expected and the other way round, extensions beside primitives.

use std::sync::LazyLock;

use proptest::prelude::*;
use rowcast::error::Cause;
use rowcast::model::{
    Change, Document, DocumentLimits, Offset, Operation, Origin, ResourceKey, Row, TopicPartition,
    Version,
};
use rowcast::transform::fhirpath::{Environment, Focus, Item, Path};
use rowcast::transform::{RuleSet, Transformer};
use serde_json::json;

/// JSON as it is written, members given twice included.
#[derive(Debug, Clone)]
enum Json {
    Null,
    Text(&'static str),
    Number(&'static str),
    Array(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

/// An element, as the specification of FHIR has it.
#[derive(Debug, Clone, Copy)]
enum Element {
    /// A datatype or a nested element.
    Complex(&'static str),
    /// A primitive, its id and extensions in `_name`.
    Primitive(&'static str),
    /// A choice, by the members it may be written as.
    Choice(&'static [&'static str]),
}

use Element::{Choice, Complex, Primitive};

/// Paths on a patient, and what they mean.
const PATHS: [(&str, &[Element]); 10] = [
    ("birthDate", &[Primitive("birthDate")]),
    ("name", &[Complex("name")]),
    ("name.family", &[Complex("name"), Primitive("family")]),
    ("name.given", &[Complex("name"), Primitive("given")]),
    ("name.given.id", &[Complex("name"), Primitive("given"), Primitive("id")]),
    ("name.period.start", &[Complex("name"), Complex("period"), Primitive("start")]),
    ("contact.name.given", &[Complex("contact"), Complex("name"), Primitive("given")]),
    ("birthDate.extension.url", &[Primitive("birthDate"), Complex("extension"), Primitive("url")]),
    ("deceased", &[Choice(&["deceasedBoolean", "deceasedDateTime"])]),
    ("deceased.id", &[Choice(&["deceasedBoolean", "deceasedDateTime"]), Primitive("id")]),
];

/// Plain paths that columns read without evaluating them, besides those of [`PATHS`].
const FIRSTS: [&str; 8] = [
    "name.first()",
    "name.first().family",
    "name.given.first()",
    "name.first().given.first()",
    "name.first().first().given",
    "contact.first().name.first().given",
    "birthDate.first()",
    "deceased.first().id",
];

/// Rules with one column, for each plain path and for the same path written so that it is evaluated.
static COLUMNS: LazyLock<Vec<(RuleSet, RuleSet)>> = LazyLock::new(|| {
    let paths = PATHS.iter().map(|(path, _)| *path).chain(FIRSTS);
    let kinds = [
        json!({"columnType": "STRING"}),
        json!({"columnType": "STRING", "multiplePrimitiveStrategy": "LAST", "default": "none"}),
        json!({"columnType": "STRING", "multiplePrimitiveStrategy": "JSON"}),
        json!({"columnType": "JSON", "multiplePrimitiveStrategy": "FIRST"}),
        json!({"columnType": "DATE"}),
    ];
    let pair = |path: &str, kind: &serde_json::Value| {
        (column(path, kind), column(&format!("{path}.select($this)"), kind))
    };
    paths.flat_map(|path| kinds.iter().map(move |kind| pair(path, kind))).collect()
});

const NAMES: [&str; 20] = [
    "birthDate",
    "_birthDate",
    "name",
    "_name",
    "family",
    "_family",
    "given",
    "_given",
    "id",
    "period",
    "start",
    "_start",
    "contact",
    "extension",
    "url",
    "deceasedBoolean",
    "_deceasedBoolean",
    "deceasedDateTime",
    "_deceasedDateTime",
    "deceased",
];

impl Json {
    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Text(text) => out.extend(["\"", text, "\""]),
            Self::Number(digits) => out.push_str(digits),
            Self::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    element.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    out.extend(["\"", name, "\":"]);
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Of a member given twice the first counts.
    fn member(&self, wanted: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
    }

    /// The first of these members, by itself or by what is beside it.
    fn chosen(&self, among: &[&'static str]) -> Option<&'static str> {
        let Self::Object(members) = self else { return None };
        members.iter().find_map(|(name, _)| {
            among.iter().find(|wanted| name.strip_prefix('_').unwrap_or(name) == **wanted).copied()
        })
    }

    fn elements(&self) -> Option<&[Self]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    fn shown(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Text(text) | Self::Number(text) => (*text).to_owned(),
            Self::Array(_) => "an array".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }
}

/// What a path means, without any regard to speed.
fn meant<'j>(
    node: &'j Json,
    beside: Option<&'j Json>,
    path: &[Element],
) -> Vec<(&'j Json, Option<&'j Json>)> {
    let Some((element, rest)) = path.split_first() else { return vec![(node, beside)] };
    let owner = if node.is_object() { node } else { beside.unwrap_or(node) };
    let (value, beside) = match element {
        Complex(name) => (owner.member(name), None),
        Primitive(name) => (owner.member(name), owner.member(&format!("_{name}"))),
        Choice(names) => match owner.chosen(names) {
            Some(name) => (owner.member(name), owner.member(&format!("_{name}"))),
            None => (None, None),
        },
    };
    let lists = (value.and_then(Json::elements), beside.and_then(Json::elements));
    let pairs: Vec<(Option<&Json>, Option<&Json>)> = match lists {
        (None, None) => vec![(value, beside)],
        (values, besides) => {
            let (values, besides) = (values.unwrap_or(&[]), besides.unwrap_or(&[]));
            let longest = values.len().max(besides.len());
            (0..longest).map(|at| (values.get(at), besides.get(at))).collect()
        }
    };
    let mut found = Vec::new();
    for (value, beside) in pairs {
        let beside = beside.filter(|beside| beside.is_object());
        match value.filter(|value| !matches!(value, Json::Null)) {
            Some(value) => found.extend(meant(value, beside, rest)),
            None if beside.is_some() => found.extend(meant(&Json::Null, beside, rest)),
            None => {}
        }
    }
    found
}

/// What an item is and whether something is beside it.
fn shown(item: &Item<'_>) -> (String, bool) {
    let Item::Node { node, sidecar, .. } = item else { panic!("navigation finds nodes") };
    let kind = || if sonic_rs::JsonValueTrait::is_object(*node) { "an object" } else { "an array" };
    let is_null = sonic_rs::JsonValueTrait::is_null(*node);
    let text = item.text().map(std::borrow::Cow::into_owned);
    let shown = if is_null { "nothing".to_owned() } else { text.unwrap_or_else(|| kind().into()) };
    (shown, sidecar.is_some())
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        prop::sample::select(vec!["a", "1974-12-25", ""]).prop_map(Json::Text),
        prop::sample::select(vec!["1", "72.50"]).prop_map(Json::Number),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            3 => object(inner),
        ]
    })
}

fn object(value: impl Strategy<Value = Json>) -> impl Strategy<Value = Json> {
    let member = (prop::sample::select(NAMES.to_vec()), value);
    prop::collection::vec(member, 0..9).prop_map(Json::Object)
}

fn column(path: &str, kind: &serde_json::Value) -> RuleSet {
    let mut column = kind.clone();
    column["columnName"] = json!("value");
    column["fhirPath"] = json!(path);
    let transformer = json!({
        "resourceType": "Patient", "tableName": "patient", "columns": [column],
    });
    let rules = json!({ "transformers": [transformer] }).to_string();
    RuleSet::load(&[("rules.json".to_owned(), rules)]).expect("the rules are good")
}

fn rows(rules: &RuleSet, change: &Change) -> Result<Vec<Row>, Cause> {
    let made = rules.transform(change).map_err(|refusal| refusal.cause)?;
    let sets = made.into_iter().flat_map(|made| made.row_sets.expect("there is no `where`"));
    Ok(sets.flat_map(|set| set.rows).collect())
}

proptest! {
    #[test]
    fn a_plain_path_fills_its_column_as_any_path_does(patient in object(json())) {
        let mut text = String::new();
        patient.write(&mut text);
        let document = Document::parse(text.as_bytes(), DocumentLimits::default()).expect("JSON");
        let change = Change {
            timestamp: None,
            resource: ResourceKey { resource_type: "Patient".into(), id: "1".into() },
            operation: Operation::Upsert { version: Version::new(1).expect("positive"), document },
            origin: Origin {
                source: TopicPartition::new("changes", 0),
                offset: Offset(0),
                index: 0,
            },
        };
        for (plain, evaluated) in &*COLUMNS {
            prop_assert!(rows(plain, &change) == rows(evaluated, &change), "{text}");
        }
    }

    #[test]
    fn navigation_finds_what_a_plain_reading_finds(patient in object(json())) {
        let mut text = String::new();
        patient.write(&mut text);
        let document = Document::parse(text.as_bytes(), DocumentLimits::default()).expect("JSON");
        let environment = Environment::of(document.root());
        let item = || Item::Node { node: document.root(), sidecar: None, fhir_type: None };
        let mut focus = Focus::new(environment, item());
        for (expression, path) in PATHS {
            let expected: Vec<_> = meant(&patient, None, path)
                .into_iter()
                .map(|(node, beside)| (node.shown(), beside.is_some()))
                .collect();
            let path = Path::compile(expression, Some("Patient")).expect("a path on a patient");
            let mut alone = Vec::new();
            path.evaluate(environment, item(), &mut alone).expect("within the bounds");
            prop_assert_eq!(&alone.iter().map(shown).collect::<Vec<_>>(), &expected);
            let mut among_others = Vec::new();
            focus.evaluate(&path, &mut among_others).expect("within the bounds");
            prop_assert_eq!(&among_others.iter().map(shown).collect::<Vec<_>>(), &expected);
        }
    }
}
