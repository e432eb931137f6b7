//! References, quantities, dates, numbers and sorting on documents.

use chrono::DateTime;
use rowcast::transform::fhirpath::{Environment, EvaluationError, Item, Path};

use super::{PATIENT, document, results, yields};

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
               {"valueQuantity":{"value":2,"unit":"heaped spoons"}},
               {"valueQuantity":{"value":2,"unit":"days"}}]}"##;

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
    observed("'#p'.resolve().type().name", &["Patient"]);
    observed("('#p' | '#gone' | 'Patient/1').resolve().id", &["p"]);
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
fn a_quantity_that_is_a_bound_is_neither_more_nor_less_than_another() {
    let below = r#"{"resourceType":"Observation","valueQuantity":
        {"value":5.5,"comparator":"<","system":"http://unitsofmeasure.org","code":"mmol/L"}}"#;
    let on = |expression| results(expression, Some("Observation"), below);
    for expression in ["value > 5 'mmol/L'", "value = 5.5 'mmol/L'", "value.ofType(Quantity) * 2"] {
        assert_eq!(on(expression), Ok(vec![]), "{expression}");
    }
    assert_eq!(on("value.ofType(Quantity).value > 5"), Ok(vec!["true".to_owned()]));
    assert_eq!(on("value = value"), Ok(vec!["true".to_owned()]));
    assert_eq!(on("(value | value).count()"), Ok(vec!["1".to_owned()]));
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
    observed("effective + component[3].value", &["2024-03-02"]);
    observed("component[3].value = 2 days", &["true"]);
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
fn a_date_moved_beyond_the_calendar_is_empty() {
    yields("@9999-12-31 + 1 day", &[]);
    yields("@0001-01-01T00:00:00Z - 1 second", &[]);
    yields("@2024 - 9223372036854775 years", &[]);
    yields("@2024-01-01T00:00:00Z + (-9223372036854775.808 's')", &[]);
    yields("@2024 + 23 months", &["2025"]);
    yields("@2016 + 365 days", &["2017"]);
    yields("@2026-02 + 5 weeks", &["2026-03"]);
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
    let dates: Vec<String> = (0..999)
        .map(|number| match number % 3 {
            0 => format!("20{:02}", number % 50),
            1 => format!("20{:02}-{:02}", number % 50, number % 12 + 1),
            _ => format!("20{:02}-{:02}-01", number % 50, number % 12 + 1),
        })
        .map(|date| format!(r#"{{"period":{{"start":"{date}"}}}}"#))
        .collect();
    let patient = format!(r#"{{"resourceType":"Patient","identifier":[{}]}}"#, dates.join(","));
    let count = results("identifier.period.start.sort().count()", Some("Patient"), &patient);
    assert_eq!(count, Ok(vec!["999".to_owned()]));
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
