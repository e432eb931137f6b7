//! Nothing runs for ever, and nothing panics, whatever the expression and the document.

use chrono::DateTime;
use proptest::prelude::*;
use rowcast::transform::fhirpath::{Environment, Item, Path};
use serde_json::Value;

use super::{document, refused, results};

#[test]
fn an_expression_that_never_ends_is_stopped() {
    let wide = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(9_999));
    let failed = |expression| results(expression, None, &wide).expect_err(expression);
    assert!(failed("a.select(%resource.a)").contains("items"));
    assert!(failed("a.where(%resource.a.where($this = 2).exists())").contains("steps"));
    assert!(failed("a.aggregate($total & 'xxxxxxxxxxxxxxxx' & $total, '')").contains("bytes"));
    assert!(results("('1e999999999' | 'a').exists()", None, &wide).is_ok());
    assert!(results("a + 1", None, r#"{"a":1e999999999}"#).expect_err("huge").contains("range"));
    let doubled = format!("a.join().replaceMatches('1+', '{}')", "$0".repeat(150));
    assert!(failed(&doubled).contains("bytes"));
    assert!(failed("a.repeatAll(1)").contains("items"));
    assert_eq!(results("a.aggregate($total * 1 's', 1 'm')", None, &wide), Ok(vec![]));
    assert_eq!(results("9.exp().exp().exp()", None, &wide), Ok(vec![]));
}

#[test]
fn deep_and_long_expressions_are_refused_before_they_harm_the_stack() {
    let nested = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(refused(&nested, None).contains("deeper"));
    assert!(refused(&"-".repeat(5_000), None).contains("deeper"));
    assert!(refused(&"a.".repeat(5_000), None).contains("deeper"));
    assert!(refused(&"a or ".repeat(3_000), None).contains("deeper"));
    assert!(refused(&"a".repeat(20_000), None).contains("longer"));
}

#[test]
fn the_deepest_expression_that_is_accepted_can_be_evaluated() {
    let depth = 90;
    for (open, close) in [("iif(true,", ",2)"), ("(1 + ", ")"), ("name.select(", ")")] {
        let mut accepted = 0;
        for depth in 1..=depth {
            let expression = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let Ok(path) = Path::compile(&expression, None) else { continue };
            accepted = depth;
            let document = document(b"{}");
            let mut items = Vec::new();
            let root = document.root();
            path.evaluate(Environment::of(root), Item::resource(root), &mut items)
                .expect("evaluates");
        }
        assert!(accepted >= 30, "{open}");
    }
}

/// Pieces that make texts which are nearly expressions.
const PIECES: [&str; 84] = [
    "name",
    "given",
    "a",
    "value",
    ".",
    "..",
    "(",
    ")",
    "[",
    "]",
    "0",
    "1.5",
    "-",
    "+",
    "*",
    "/",
    " div ",
    " mod ",
    " and ",
    " or ",
    " implies ",
    " in ",
    " contains ",
    " is ",
    " as ",
    "=",
    "!=",
    "~",
    "<",
    ">=",
    "|",
    "&",
    "'x'",
    "'\\u00e9'",
    "@2024-02",
    "@T10:30",
    "@2024-01-01T10:00Z",
    "4 days",
    "{}",
    "$this",
    "$index",
    "%resource",
    "first()",
    ".where(",
    ".select($this)",
    ".exists()",
    ".count()",
    ".substring(1)",
    ".toInteger()",
    ".ofType(string)",
    ".children()",
    ".descendants()",
    ".repeat(a)",
    ".join(',')",
    ".replace('', 'x')",
    ".round(2)",
    "extension('u')",
    ",",
    "4.5 'mg'",
    "1 'a'",
    "12 'Cel'",
    "now()",
    ".lowBoundary()",
    ".highBoundary(3)",
    ".precision()",
    ".sort()",
    ".sort(-$this, a desc)",
    ".resolve()",
    ".type()",
    ".name",
    ".power(3)",
    ".power(0.5)",
    ".power(-99999)",
    ".exp()",
    ".ln()",
    ".log(2)",
    ".sqrt()",
    ".toQuantity('g')",
    ".comparable(1 'g')",
    ".encode('hex')",
    ".unescape('html')",
    ".checkModifiers('u')",
    ".repeatAll(a)",
    ".coalesce(a, 1)",
];

fn nearly_expression() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12)
        .prop_map(|pieces| pieces.concat())
}

/// What functions and operators are tried on: values at the ends of what there is.
const OPERANDS: [&str; 24] = [
    "$this",
    "a",
    "value",
    "descendants()",
    "{}",
    "true",
    "'é<&'",
    "'2024-02'",
    "0",
    "-1",
    "9223372036854775807",
    "0.000000000000000000000000000001",
    "-99999999999999999999999999999.5",
    "@0001",
    "@9999-12-31",
    "@9999-12-31T23:59:59.999-12:00",
    "@0001-01-01T00:00:00.000+14:00",
    "@T23:59:59.999999999",
    "1 'mg'",
    "-40 'Cel'",
    "7 '[pH]'",
    "9223372036854775807 years",
    "0.5 'm'",
    "1 'no unit'",
];

/// Operands with functions behind them and operators between.
fn chained_expression() -> impl Strategy<Value = String> {
    let functions: Vec<&str> = PIECES
        .into_iter()
        .filter(|piece| piece.starts_with('.') && piece.len() > 2 && !piece.ends_with('('))
        .collect();
    let operators =
        vec![" + ", " - ", " * ", " / ", " div ", " mod ", " = ", " ~ ", " < ", " | ", " & "];
    let term = (
        prop::sample::select(&OPERANDS[..]),
        prop::collection::vec(prop::sample::select(functions), 0..4),
    );
    let term = term.prop_map(|(operand, functions)| format!("({operand}){}", functions.concat()));
    (term.clone(), prop::collection::vec((prop::sample::select(operators), term), 0..3)).prop_map(
        |(first, rest)| {
            rest.iter().fold(first, |whole, (operator, term)| format!("({whole}{operator}{term})"))
        },
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zé0-9:T-]{0,12}".prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "a",
        "_a",
        "name",
        "given",
        "_given",
        "value",
        "valueQuantity",
        "extension",
        "code",
        "unit",
    ]);
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5)
                .prop_map(|members| members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(text in ".{0,60}") {
        if let Err(error) = Path::compile(&text, Some("Patient")) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_document_is_evaluated_or_refused(
        expression in prop_oneof![nearly_expression(), chained_expression()],
        json in any_json(),
        context in prop::option::of(prop::sample::select(vec!["Patient", "HumanName", "Observation", "Quantity"])),
    ) {
        if let Ok(path) = Path::compile(&expression, context) {
            let document = document(json.to_string().as_bytes());
            let mut items = vec![Item::Integer(7)];
            let root = document.root();
            let environment = Environment::of(root).at(DateTime::from_timestamp(1_700_000_000, 0));
            let outcome = path.evaluate(environment, Item::resource(root), &mut items);
            prop_assert!(matches!(items.first(), Some(Item::Integer(7))));
            prop_assert!(outcome.is_ok() || items.len() == 1);
        }
    }
}
