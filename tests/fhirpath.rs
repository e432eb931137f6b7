//! Expressions on documents: what they yield, what is refused, what bounds them.

mod bounds;
mod official;
mod refusals;
mod values;

use rowcast::model::{Document, DocumentLimits};
use rowcast::transform::fhirpath::{Environment, Item, Path};

pub(crate) use self::official::exceptions;

fn document(text: &[u8]) -> Document {
    Document::parse(text, DocumentLimits::default()).expect("a valid document")
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
