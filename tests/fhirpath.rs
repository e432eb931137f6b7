//! The official FHIRPath tests for R4, and what must hold for any expression and document.
//!
//! The official tests are read from the folder `ROWCAST_SUITES` names, or `../shared/suites`;
//! where there is none, that test says so and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bigdecimal::BigDecimal;
use chrono::DateTime;
use proptest::prelude::*;
use rowcast::model::{Document, DocumentLimits};
use rowcast::transform::fhirpath::{Environment, EvaluationError, Item, Path, convert_to_boolean};
use serde_json::Value;

/// An official test that is not passed, and why.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exception {
    pub(crate) test: String,
    /// Whether the test is one for R4, JSON and this mode at all.
    pub(crate) applies: bool,
    pub(crate) reason: String,
}

/// The official tests that are not passed; checked both ways.
pub(crate) fn exceptions() -> Vec<Exception> {
    serde_json::from_str(include_str!("fixtures/fhirpath-exceptions.json")).expect("exceptions")
}

fn suites() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/suites");
    std::env::var_os("ROWCAST_SUITES").map_or_else(default, PathBuf::from)
}

fn document(text: &[u8]) -> Document {
    Document::parse(text, DocumentLimits::default()).expect("a valid document")
}

#[test]
fn the_official_tests_pass_but_for_the_listed_exceptions() {
    let folder = suites().join("hl7-fhirpath-r4");
    let Ok(tests) = std::fs::read(folder.join("tests-r4.json")) else {
        println!("skipped: no hl7-fhirpath-r4/tests-r4.json in {}", suites().display());
        return;
    };
    let tests: Vec<Value> = serde_json::from_slice(&tests).expect("a list of tests");
    let mut listed: BTreeMap<String, Exception> =
        exceptions().into_iter().map(|exception| (exception.test.clone(), exception)).collect();
    let mut documents = BTreeMap::new();
    let (mut passed, mut applicable, mut faults) = (0, 0, Vec::new());
    for test in &tests {
        let name = test["name"].as_str().expect("a name");
        let input = test["input"].as_str().unwrap_or_default();
        let document = documents.entry(input).or_insert_with(|| {
            match std::fs::read(folder.join("input-json").join(input)) {
                Ok(bytes) => document(&bytes),
                Err(_) => document(b"{}"),
            }
        });
        let exception = listed.remove(name);
        applicable += usize::from(exception.as_ref().is_none_or(|exception| exception.applies));
        match (outcome(test, document), exception) {
            (Ok(()), None) => passed += 1,
            (Ok(()), Some(_)) => faults.push(format!("{name}: passes, take it off the list")),
            (Err(_), Some(_)) => {}
            (Err(why), None) => {
                faults.push(format!("{name}: {} {why}", test["expr"].as_str().unwrap_or_default()));
            }
        }
    }
    faults.extend(listed.keys().map(|name| format!("{name}: there is no such test")));
    println!("{passed} of the {applicable} that apply passed, of {}", tests.len());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(passed * 100 >= applicable * 99, "{passed} of {applicable}");
}

/// Why an official test does not pass.
fn outcome(test: &Value, document: &Document) -> Result<(), String> {
    let expression = test["expr"].as_str().expect("an expression");
    let is_invalid = !test["invalid"].is_null();
    let path = match Path::compile(expression, document.text("resourceType")) {
        Ok(path) => path,
        Err(_) if is_invalid => return Ok(()),
        Err(error) => return Err(format!("is refused: {}", error.problem)),
    };
    let mut items = Vec::new();
    let environment =
        Environment::of(document.root()).at(DateTime::from_timestamp(1_700_000_000, 0));
    match path.evaluate(environment, Item::resource(document.root()), &mut items) {
        Err(_) if is_invalid => return Ok(()),
        Err(error) => return Err(format!("failed: {error}")),
        Ok(()) if is_invalid => return Err("should fail".to_owned()),
        Ok(()) => {}
    }
    let found: Vec<String> = if test["predicate"] == true {
        let truth = convert_to_boolean(&items).expect("one item");
        truth.iter().map(ToString::to_string).collect()
    } else {
        items.iter().map(|item| item.text().unwrap_or_default().into_owned()).collect()
    };
    let expected = test["out"].as_array().expect("a list of results");
    let mut open: Vec<&Value> = expected.iter().collect();
    let unordered = test["ordered"] == "false";
    let same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(text, value)| {
            if unordered {
                let at = open.iter().position(|other| is_same(text, other));
                at.map(|at| open.swap_remove(at)).is_some()
            } else {
                is_same(text, value)
            }
        });
    if same { Ok(()) } else { Err(format!("found {found:?}")) }
}

fn is_same(found: &str, expected: &Value) -> bool {
    let value = expected["value"].as_str().unwrap_or_default();
    let value = match expected["type"].as_str() {
        Some("date" | "dateTime" | "time") | None => value.trim_start_matches(['@', 'T']),
        Some("decimal") => {
            let number = |text: &str| text.parse::<BigDecimal>().ok();
            return number(found) == number(value);
        }
        _ => value,
    };
    found == value
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1",
  "meta":{"versionId":"7"},
  "active":true,"birthDate":"1974-03","_birthDate":{"extension":[{"url":"u:time","valueDateTime":"1974-03-01T10:00:00Z"}]},
  "deceasedBoolean":false,
  "name":[{"use":"official","family":"Ash","given":["Ann",null,"Bo"],"_given":[null,{"extension":[{"url":"u:no","valueString":"x"}]},null]},
          {"use":"maiden","family":"Birch"}],
  "contact":[{"name":{"family":"Cole"},"gender":"male"}],
  "multipleBirthInteger":2,
  "generalPractitioner":[{"reference":"Practitioner/d1/_history/3"},{"reference":"http://x.org/fhir/Organization/o1"},{"reference":"urn:uuid:1"}],
  "contained":[{"resourceType":"Organization","id":"c1","name":"Org"}]}"#;

/// The texts of the results; of an item without text, its type.
fn results(expression: &str, context: Option<&str>, json: &str) -> Result<Vec<String>, String> {
    let path = Path::compile(expression, context).map_err(|error| error.problem.to_string())?;
    let document = document(json.as_bytes());
    let mut items = Vec::new();
    path.evaluate(Environment::of(document.root()), Item::resource(document.root()), &mut items)
        .map_err(|error| error.to_string())?;
    let shown = |item: &Item<'_>| match item.text() {
        Some(text) => text.into_owned(),
        None => format!("<{}>", item.type_name().unwrap_or("untyped")),
    };
    Ok(items.iter().map(shown).collect())
}

#[track_caller]
fn yields(expression: &str, expected: &[&str]) {
    let found = results(expression, Some("Patient"), PATIENT).expect(expression);
    assert_eq!(found, expected, "{expression}");
}

#[track_caller]
fn refused(expression: &str, context: Option<&str>) -> String {
    let error = Path::compile(expression, context).expect_err(expression);
    format!("{error}\n{}", error.problem)
}

#[test]
fn a_path_may_begin_with_the_resource_type_or_with_an_element() {
    for expression in ["Patient.name.family", "name.family", "$this.name.family"] {
        yields(expression, &["Ash", "Birch"]);
    }
}

#[test]
fn a_child_expression_is_evaluated_on_an_item_of_its_parent() {
    let document = document(PATIENT.as_bytes());
    let parent = Path::compile("Patient.contact", Some("Patient")).expect("valid");
    assert_eq!(parent.result_type(), Some("Patient.contact"));
    let child = Path::compile("name.family", parent.result_type()).expect("valid");
    let (mut contacts, mut families) = (Vec::new(), Vec::new());
    let root = document.root();
    parent.evaluate(Environment::of(root), Item::resource(root), &mut contacts).expect("evaluates");
    for contact in contacts {
        child.evaluate(Environment::of(root), contact, &mut families).expect("evaluates");
    }
    assert_eq!(families.iter().filter_map(Item::text).collect::<Vec<_>>(), ["Cole"]);
    assert!(refused("mame", Some("Patient.contact")).contains("`name`"));
}

#[test]
fn a_choice_element_is_found_by_its_name_and_has_the_type_of_its_member() {
    yields("deceased", &["false"]);
    yields("multipleBirth is integer", &["true"]);
    yields("multipleBirth.ofType(boolean)", &[]);
    let path = Path::compile("multipleBirth.ofType(integer)", Some("Patient")).expect("valid");
    assert_eq!(path.result_type(), Some("integer"));
}

#[test]
fn a_primitive_without_value_is_an_item_with_extensions_only() {
    yields("name.given.count()", &["3"]);
    yields("name.given", &["Ann", "<string>", "Bo"]);
    yields("name.given.where(hasValue())", &["Ann", "Bo"]);
    yields("name.given.extension('u:no').value", &["x"]);
    yields("birthDate.extension('u:time').value", &["1974-03-01T10:00:00Z"]);
}

#[test]
fn elements_of_a_resource_within_are_found_by_its_own_type() {
    yields("contained.name", &["Org"]);
    yields("contained.ofType(Organization).name", &["Org"]);
    yields("contained.ofType(Patient).name", &[]);
    yields("contained.where($this is Organization).id", &["c1"]);
}

#[test]
fn without_a_context_elements_are_taken_as_they_come() {
    let on = |expression| results(expression, None, PATIENT).expect("evaluates");
    assert_eq!(on("Patient.name.family.first()"), ["Ash"]);
    assert_eq!(on("Observation.status"), Vec::<String>::new());
    let untyped = r#"{"part":[{"valueInteger":3,"nothing":null}]}"#;
    assert_eq!(results("part.value", None, untyped), Ok(vec!["3".to_owned()]));
    assert_eq!(results("part.nothing", None, untyped), Ok(vec![]));
}

#[test]
fn keys_are_bare_ids() {
    yields("getResourceKey()", &["p1"]);
    yields("contained.getResourceKey()", &["c1"]);
    yields("generalPractitioner.getReferenceKey()", &["d1", "o1"]);
    yields("generalPractitioner.getReferenceKey(Practitioner)", &["d1"]);
    yields("generalPractitioner.getReferenceKey(Patient)", &[]);
    yields("name.getResourceKey()", &[]);
}

#[test]
fn numbers_keep_the_digits_they_were_written_with() {
    let observation =
        r#"{"resourceType":"Observation","valueQuantity":{"value":72.50,"unit":"kg"}}"#;
    let on = |expression| results(expression, Some("Observation"), observation);
    assert_eq!(on("value.value"), Ok(vec!["72.50".to_owned()]));
    assert_eq!(on("value.value = 72.5"), Ok(vec!["true".to_owned()]));
    assert_eq!(on("value.ofType(Quantity).value.toString()"), Ok(vec!["72.50".to_owned()]));
}

#[test]
fn what_is_empty_stays_empty() {
    yields("name.suffix = 'x'", &[]);
    yields("name.suffix.first() + 1", &[]);
    yields("name.where(suffix = 'x')", &[]);
    yields("{} and true", &[]);
    yields("{} and false", &["false"]);
    yields("name.suffix.exists() or {}", &[]);
}

#[test]
fn several_items_where_one_is_needed_are_an_error_without_their_values() {
    let failed = |expression| results(expression, Some("Patient"), PATIENT).expect_err(expression);
    for expression in ["name.family < 'x'", "name and true", "name.family.upper()", "name.single()"]
    {
        let message = failed(expression);
        assert!(message.contains("several"), "{expression}: {message}");
        assert!(!message.contains("Ash"));
    }
    yields("(1 | 2) = 1", &["false"]);
}

#[test]
fn dates_of_different_precision_compare_as_far_as_they_are_known() {
    yields("birthDate < @1974-03-02", &[]);
    yields("birthDate < @1975-01-01", &["true"]);
    yields("birthDate = @1974-03", &["true"]);
}

#[test]
fn filters_know_the_item_and_its_index() {
    yields("name.where(use = 'maiden').family", &["Birch"]);
    yields("name.where($index = 1).family", &["Birch"]);
    yields("name.exists(use = 'old')", &["false"]);
    yields("name.all(family.exists())", &["true"]);
    yields(
        "name.select(family & ' ' & given.first().combine({}).join(','))",
        &["Ash Ann", "Birch "],
    );
    yields("name.where(family = %resource.name.last().family).use", &["maiden"]);
}

#[test]
fn an_unknown_element_is_refused_with_its_place_and_the_nearest_names() {
    let message = refused("Patient.name.givn", Some("Patient"));
    assert!(message.contains("\nPatient.name.givn\n             ^"), "{message}");
    assert!(message.contains("HumanName has no element `givn`; did you mean `given`"), "{message}");
    let message = refused("valueQuantity.unit", Some("Observation"));
    assert!(message.contains("did you mean `value.ofType(Quantity)`"), "{message}");
    assert!(refused("Encounter.status", Some("Patient")).contains("evaluated on Patient"));
}

#[test]
fn the_caret_stands_under_its_line() {
    let message = refused("name\n  .given..first()", Some("Patient"));
    assert!(message.contains("\n  .given..first()\n         ^"), "{message}");
}

#[test]
fn what_is_not_supported_is_refused_when_it_is_compiled() {
    for (expression, reason) in [
        ("code.memberOf('x')", "terminology server"),
        ("%terminologies.expand('x')", "terminology server"),
        ("%factory.Coding('s', 'c')", "not of new resources"),
        ("extension('u').slice('x', 'y')", "needs the profiles"),
        ("subject.conformsTo('http://example.org/Mine')", "FHIR's own types"),
        ("'Patient/1'.resolve()", "contained in the document"),
        ("code.coding.frist()", "did you mean `first`"),
        ("value.ofType(Quantitty)", "did you mean `Quantity`"),
        ("code.text.substring()", "takes 1 to 2 arguments, found 0"),
        ("code.startsWith('x')", "does not apply to CodeableConcept"),
        ("code.lowBoundary()", "does not apply to CodeableConcept"),
        ("code.resolve()", "does not apply to CodeableConcept"),
        ("code.where(resolve() is Patient)", "does not apply to CodeableConcept"),
        ("code.text.matches('(')", "regular expression"),
        ("code.text.encode('rot13')", "one of base64, hex, urlbase64"),
        ("%resourse", "did you mean `resource`"),
        ("issued < @2024-13", "no valid date"),
    ] {
        let message = refused(expression, Some("Observation"));
        assert!(message.contains(reason), "{expression}: {message}");
    }
}

#[test]
fn a_refusal_points_at_its_place() {
    for (context, expression, place) in [
        ("Observation", "code.memberOf('x')", "memberOf"),
        ("Observation", "code.text & %terminologies", "%term"),
        ("Observation", "subject.conformsTo('http://example.org/Mine')", "'http"),
        ("Observation", "code.text.encode('rot13')", "'rot13'"),
        ("Observation", "code.text.where($this.matches('['))", "'['"),
        ("Observation", "subject.where(resolve() is Patent)", "Patent"),
        ("Observation", "(1 'mg').valu", "valu"),
        ("Observation", "code.type().nam", "nam"),
        ("Bundle", "Bundle.entry.resource.ofType(Patient).nme", "nme"),
        ("Bundle", "Bundle.entry.resource.nmae", "nmae"),
        ("Bundle", "Bundle.entry.resource.name.famly", "famly"),
        ("Bundle", "entry.resource.resourceType", "resourceType"),
    ] {
        let error = Path::compile(expression, Some(context)).expect_err(expression);
        assert_eq!(Some(error.at), expression.find(place), "{expression}: {}", error.problem);
    }
}

#[test]
fn elements_of_an_abstract_resource_are_those_of_some_resource() {
    let bundle = r#"{"resourceType":"Bundle","entry":[
        {"resource":{"resourceType":"Patient","name":[{"family":"Ash"}]}},
        {"resource":{"resourceType":"Organization","name":"Org"}}]}"#;
    let on = |expression| results(expression, Some("Bundle"), bundle);
    assert_eq!(on("entry.resource.name.family"), Ok(vec!["Ash".to_owned()]));
    assert_eq!(on("entry.resource.ofType(Organization).name"), Ok(vec!["Org".to_owned()]));
    assert!(refused("entry.resource.nmae", Some("Bundle")).contains("did you mean `name`"));
}

#[test]
fn the_json_name_of_a_type_is_no_element_and_the_refusal_says_what_is() {
    for context in [Some("Patient"), Some("Bundle"), None] {
        assert!(refused("%resource.resourceType", context).contains("`type().name`"));
    }
    yields("type().name", &["Patient"]);
    yields("contained.type()", &["FHIR.Organization"]);
    yields(
        "(birthDate | 1).type().select(namespace & '.' & name)",
        &["FHIR.date", "System.Integer"],
    );
    yields("type().baseType", &["FHIR.DomainResource"]);
    // an element that is called so
    assert!(Path::compile("instance.resourceType", Some("ExampleScenario")).is_ok());
}

const OBSERVATION: &str = r##"{"resourceType":"Observation","id":"o1","status":"final",
  "contained":[{"resourceType":"Patient","id":"p","birthDate":"1974-03-01"}],
  "subject":{"reference":"#p"},
  "performer":[{"reference":"Practitioner/d1"},{"type":"Organization","display":"x"},{"reference":"urn:uuid:1"},
               {"reference":"https://example.org/fhir/PractitionerRole/7/_history/2"}],
  "hasMember":[{"reference":"#"},{"reference":"#gone"}],
  "effectiveDateTime":"2024-02-29",
  "modifierExtension":[{"url":"u:known","valueBoolean":true}],
  "valueQuantity":{"value":1.50,"system":"http://unitsofmeasure.org","code":"g"},
  "component":[{"valueQuantity":{"value":3,"system":"http://unitsofmeasure.org","code":"a"}},
               {"valueQuantity":{"value":2,"system":"http://example.org","code":"tab"}},
               {"valueQuantity":{"value":2,"unit":"heaped spoons"}}]}"##;

#[track_caller]
fn observed(expression: &str, expected: &[&str]) {
    let found = results(expression, Some("Observation"), OBSERVATION).expect(expression);
    assert_eq!(found, expected, "{expression}");
}

#[test]
fn a_reference_resolves_to_what_is_contained_and_to_nothing_else() {
    observed("subject.resolve().ofType(Patient).birthDate", &["1974-03-01"]);
    observed("hasMember.resolve().id", &["o1"]);
    observed("performer.resolve()", &[]);
    observed("'#p'.select($this).resolve().type().name", &["Patient"]);
}

#[test]
fn what_a_reference_points_to_is_told_without_the_resource() {
    observed("subject.resolve() is Patient", &["true"]);
    observed("subject.where(resolve() is Patient).exists()", &["true"]);
    observed("performer.where(resolve().is(Practitioner)).reference", &["Practitioner/d1"]);
    observed("performer.where(resolve() is Organization).display", &["x"]);
    observed("performer.where(resolve() is PractitionerRole).count()", &["1"]);
    observed("performer.where(resolve() is Resource).count()", &["3"]);
    observed("hasMember.where(resolve() is Observation).count()", &["1"]);
}

#[test]
fn quantities_compare_by_ucum_whatever_their_unit() {
    observed("value = 1500 'mg'", &["true"]);
    observed("value > 1 'kg'", &["false"]);
    observed("value = 1.5 's'", &[]);
    observed("value.ofType(Quantity).comparable(1 's')", &["false"]);
    yields("23 'Cel' = 73.4 '[degF]'", &["true"]);
    yields("1 '[pH]' < 1 'mol/L'", &[]);
    yields("1 'nonsense' = 1 'g'", &[]);
    yields("4 'kg' ~ 4040 'g'", &["true"]);
    yields("2 '1' = 2", &["true"]);
    observed("component[1].value = 2 'tab'", &["true"]);
    observed("component[1].value.ofType(Quantity).comparable(2 'g')", &["false"]);
    observed("component[2].value = 2 'g'", &[]);
}

#[test]
fn years_of_the_calendar_are_those_of_ucum_only_roughly() {
    yields("1 year = 1 'a'", &[]);
    yields("1 year ~ 1 'a'", &["true"]);
    yields("1 year = 12 months", &["true"]);
    yields("1 year = 365 days", &["true"]);
    yields("1 day = 24 'h'", &["true"]);
    observed("component[0].value = 3 years", &["true"]);
    observed("component[0].value = 3 'a'", &["true"]);
    observed("effective + component[0].value", &["2027-02-28"]);
}

#[test]
fn quantities_are_added_in_the_smaller_unit_and_multiplied_with_their_units() {
    for (expression, expected) in [
        ("3 'm' + 3 'cm'", "303 'cm'"),
        ("3 'cm' - 1 'm'", "-97 'cm'"),
        ("12 'cm' * 3 'cm'", "36 'cm2'"),
        ("10 'm/s' * 10 's'", "100 'm'"),
        ("12 'cm2' / 3 'cm'", "4 'cm'"),
        ("3 * 2 'cm'", "6 'cm'"),
        ("2 days * 2", "4 days"),
        ("(5.5 'mg').ceiling()", "6 'mg'"),
        ("52 'cm'.toQuantity('m')", "0.52 'm'"),
        ("1 'a'.toQuantity('d')", "365.25 'd'"),
        ("182.5 days.toQuantity('a')", "0.5 'a'"),
        ("7 days.toQuantity('week')", "1 week"),
        ("(1.5 'mg').value", "1.5"),
        ("'1.5 \\'mg\\''.toQuantity().unit", "mg"),
    ] {
        yields(expression, &[expected]);
    }
    for expression in ["12 days * 45 'm'", "1 'm' / 0 's'", "1 'm' + 1 's'", "45.toQuantity('m')"] {
        yields(expression, &[]);
    }
}

#[test]
fn a_time_of_day_is_not_moved_by_days() {
    yields("@T23:30:00 + 1 hour", &["00:30:00"]);
    let failed = results("@T23:30:00 + 1 day", Some("Patient"), PATIENT).expect_err("no time");
    assert!(failed.contains("does not apply"), "{failed}");
}

#[test]
fn now_is_the_time_of_the_change_and_without_one_an_error() {
    let path = |expression| Path::compile(expression, Some("Patient")).expect("valid");
    let document = document(PATIENT.as_bytes());
    let root = document.root();
    let instant = DateTime::from_timestamp_millis(1_700_000_000_123);
    let on = |expression, environment: Environment<'_>| {
        let mut items = Vec::new();
        path(expression).evaluate(environment, Item::resource(root), &mut items)?;
        Ok(items.iter().filter_map(Item::text).map(String::from).collect::<Vec<_>>())
    };
    let known = Environment::of(root).at(instant);
    assert_eq!(on("now()", known), Ok(vec!["2023-11-14T22:13:20.123Z".to_owned()]));
    assert_eq!(on("today()", known), Ok(vec!["2023-11-14".to_owned()]));
    assert_eq!(on("timeOfDay()", known), Ok(vec!["22:13:20.123".to_owned()]));
    assert_eq!(on("now() = now()", known), Ok(vec!["true".to_owned()]));
    for expression in ["now()", "birthDate < today()", "timeOfDay()"] {
        let error = on(expression, Environment::of(root)).expect_err(expression);
        assert!(matches!(error, EvaluationError::NoInstant { .. }), "{expression}: {error}");
    }
}

#[test]
fn boundaries_enclose_what_is_known() {
    observed("effective.ofType(dateTime).lowBoundary()", &["2024-02-29T00:00:00.000+14:00"]);
    observed("effective.ofType(dateTime).highBoundary()", &["2024-02-29T23:59:59.999-12:00"]);
    observed("value.ofType(Quantity).value.lowBoundary()", &["1.49500000"]);
    yields("birthDate.lowBoundary()", &["1974-03-01"]);
    yields("birthDate.highBoundary()", &["1974-03-31"]);
    yields("birthDate.highBoundary(17)", &[]);
    yields("@T12:34:00.highBoundary()", &["12:34:00.999"]);
    yields("@2024.lowBoundary(5)", &[]);
    let failed = results("name.family.first().lowBoundary()", Some("Patient"), PATIENT);
    assert!(failed.expect_err("no bounds").contains("`lowBoundary` does not apply"));
}

#[test]
fn items_are_sorted_by_keys_and_partial_dates_do_no_harm() {
    yields("('c' | 'a' | 'b').sort()", &["a", "b", "c"]);
    yields("(3 | 1 | 2).sort($this desc)", &["3", "2", "1"]);
    yields("name.sort(use desc).family", &["Ash", "Birch"]);
    yields("name.sort(given.first(), family asc).family", &["Birch", "Ash"]);
    let dates: Vec<String> = (0..200)
        .map(|number| match number % 3 {
            0 => format!("@20{:02}", number % 50),
            1 => format!("@20{:02}-{:02}", number % 50, number % 12 + 1),
            _ => format!("@20{:02}-{:02}-01", number % 50, number % 12 + 1),
        })
        .collect();
    let expression = format!(
        "({}).sort().count()",
        dates
            .chunks(40)
            .map(|part| part.join(".combine(") + &")".repeat(part.len() - 1))
            .next()
            .unwrap_or_default()
    );
    yields(&expression, &["40"]);
    let failed = results("(1 | 'a').sort()", Some("Patient"), PATIENT).expect_err("no order");
    assert!(failed.contains("`sort`"), "{failed}");
}

#[test]
fn an_unknown_modifier_fails_the_document() {
    observed("checkModifiers('u:known').status", &["final"]);
    let failed = results("checkModifiers('u:other')", Some("Observation"), OBSERVATION);
    assert!(failed.expect_err("a modifier").contains("was not told of"));
}

#[test]
fn functions_of_the_trial_use_specification() {
    yields("name.given[1].getValue()", &[]);
    yields("birthDate.getValue()", &["1974-03"]);
    yields("coalesce(name.suffix, name.prefix, name.family).first()", &["Ash"]);
    yields("name.repeatAll(given).count()", &["3"]);
    yields("'a.b.c'.lastIndexOf('.')", &["3"]);
    yields("name.trace('names', given).count()", &["2"]);
    yields("conformsTo('http://hl7.org/fhir/StructureDefinition/DomainResource')", &["true"]);
    yields("birthDate.precision()", &["6"]);
    yields("2.power(10)", &["1024"]);
    yields("2.power(-1)", &["0.5"]);
    yields("2.power(100)", &[]);
    yields("(2 / 3)", &["0.6666666666666666666666666667"]);
}

#[test]
fn the_types_of_computed_values_are_known_where_they_can_be() {
    for (expression, expected) in [
        ("now()", Some("DateTime")),
        ("effective.ofType(dateTime) + 1 day", Some("DateTime")),
        ("value.ofType(Quantity) * 2", Some("Quantity")),
        ("value.ofType(integer) + 1", Some("Integer")),
        ("value.ofType(integer) / 2", Some("Decimal")),
        ("value.ofType(Quantity).value.lowBoundary()", Some("Decimal")),
        ("(1 'mg').value", Some("Decimal")),
        ("code.text.encode('hex')", Some("String")),
        ("component.sort(code.text)", Some("Observation.component")),
        ("type().name", Some("String")),
        ("value.ofType(integer).power(2)", None),
        ("subject.resolve()", Some("Resource")),
    ] {
        let path = Path::compile(expression, Some("Observation")).expect(expression);
        assert_eq!(path.result_type(), expected, "{expression}");
    }
}

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

#[test]
fn a_path_is_shared_by_threads() {
    let path = Path::compile("name.family", Some("Patient")).expect("valid");
    let shared = path.clone();
    let families = std::thread::spawn(move || {
        let document = document(PATIENT.as_bytes());
        let mut items = Vec::new();
        let root = document.root();
        shared
            .evaluate(Environment::of(root), Item::resource(root), &mut items)
            .map(|()| items.len())
    });
    assert_eq!(families.join().expect("no panic"), Ok(2));
    assert_eq!(path.expression(), "name.family");
}

#[test]
fn debug_output_of_an_item_shows_no_value() {
    let document = document(PATIENT.as_bytes());
    assert_eq!(format!("{:?}", Item::resource(document.root())), "Item(Patient)");
    assert_eq!(format!("{:?}", Item::String("Ash".into())), "Item(String)");
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
        expression in nearly_expression(),
        json in any_json(),
        context in prop::option::of(prop::sample::select(vec!["Patient", "HumanName", "Observation", "Quantity"])),
    ) {
        if let Ok(path) = Path::compile(&expression, context) {
            let document = document(json.to_string().as_bytes());
            let mut items = vec![Item::Integer(7)];
            let root = document.root();
            let outcome = path.evaluate(Environment::of(root), Item::resource(root), &mut items);
            prop_assert!(matches!(items.first(), Some(Item::Integer(7))));
            prop_assert!(outcome.is_ok() || items.len() == 1);
        }
    }
}
