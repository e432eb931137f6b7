//! What is refused when it is compiled, where, and which types are known then.

use rowcast::transform::fhirpath::Path;

use super::{refused, results, yields};

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
        ("%resourse", "did you mean `%resource`"),
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
