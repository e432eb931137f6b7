//! Synthetic documents, of the size and shape that servers send.

use std::str::FromStr as _;

use serde_json::{Number, Value, json};

/// A patient of 3 kB, as US Core servers send them.
pub(crate) fn patient() -> Value {
    let us_core = |name: &str| format!("http://hl7.org/fhir/us/core/StructureDefinition/{name}");
    let race = |system_code: &str, display: &str| {
        json!([
            {"url": "ombCategory", "valueCoding": {
                "system": "urn:oid:2.16.840.1.113883.6.238", "code": system_code, "display": display}},
            {"url": "text", "valueString": display}
        ])
    };
    let identifier = |code: &str, display: &str, system: &str, value: &str| {
        json!({
            "type": {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                            "code": code, "display": display}],
                "text": display
            },
            "system": system, "value": value
        })
    };
    json!({
        "resourceType": "Patient",
        "id": "0f0e0d0c-0b0a-4908-8706-050403020100",
        "meta": {
            "versionId": "3",
            "lastUpdated": "2024-05-01T10:00:00.123+02:00",
            "profile": [us_core("us-core-patient")]
        },
        "extension": [
            {"url": us_core("us-core-race"), "extension": race("2106-3", "White")},
            {"url": us_core("us-core-ethnicity"),
             "extension": race("2186-5", "Not Hispanic or Latino")},
            {"url": us_core("us-core-birthsex"), "valueCode": "F"}
        ],
        "identifier": [
            identifier("MR", "Medical Record Number", "http://hospital.example", "MRN-000001"),
            identifier("SS", "Social Security Number", "http://hl7.org/fhir/sid/us-ssn", "999-00-0000"),
            identifier("DL", "Driver's License", "urn:oid:2.16.840.1.113883.4.3.25", "S99900000")
        ],
        "active": true,
        "name": [
            {"use": "official", "family": "Synthetic", "given": ["Ann", "Bernadette"],
             "prefix": ["Dr."], "period": {"start": "1990-01-01"}},
            {"use": "maiden", "family": "Example", "given": ["Ann"], "prefix": ["Ms."]}
        ],
        "telecom": [
            {"system": "phone", "value": "555-0100", "use": "home", "rank": 1},
            {"system": "email", "value": "ann@example.org", "use": "work"}
        ],
        "gender": "female",
        "birthDate": "1974-12-25",
        "address": [{
            "extension": [{
                "url": "http://hl7.org/fhir/StructureDefinition/geolocation",
                "extension": [
                    {"url": "latitude", "valueDecimal": 42.361_145},
                    {"url": "longitude", "valueDecimal": -71.057_083}
                ]
            }],
            "use": "home", "type": "both", "line": ["1 Example Street", "Apt 2"],
            "city": "Boston", "state": "MA", "postalCode": "02108", "country": "US"
        }],
        "maritalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus",
                        "code": "M", "display": "Married"}],
            "text": "Married"
        },
        "multipleBirthBoolean": false,
        "contact": [{
            "relationship": [{"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/v2-0131",
                "code": "N", "display": "Next-of-Kin"}]}],
            "name": {"use": "official", "family": "Example", "given": ["Charles"]},
            "telecom": [{"system": "phone", "value": "555-0199", "use": "mobile"}]
        }],
        "communication": [{
            "language": {
                "coding": [{"system": "urn:ietf:bcp:47", "code": "en-US",
                            "display": "English (United States)"}],
                "text": "English"
            }
        }],
        "generalPractitioner": [{"reference": "Practitioner/p1", "display": "Dr. Example"}],
        "managingOrganization": {"reference": "Organization/o1", "display": "Example Hospital"}
    })
}

/// A blood pressure: an observation whose values are in its components.
pub(crate) fn observation() -> Value {
    let component = |code: &str, display: &str, value: u32| {
        json!({
            "code": {
                "coding": [{"system": "http://loinc.org", "code": code, "display": display}],
                "text": display
            },
            "valueQuantity": {"value": value, "unit": "mm[Hg]",
                              "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
        })
    };
    json!({
        "resourceType": "Observation",
        "id": "1f0e0d0c-0b0a-4908-8706-050403020100",
        "meta": {
            "versionId": "1",
            "lastUpdated": "2024-05-01T10:00:00.123+02:00",
            "profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-blood-pressure"]
        },
        "status": "final",
        "category": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "vital-signs", "display": "Vital signs"}]}],
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "85354-9",
                        "display": "Blood pressure panel with all children optional"}],
            "text": "Blood pressure"
        },
        "subject": {"reference": "Patient/0f0e0d0c-0b0a-4908-8706-050403020100"},
        "encounter": {"reference": "Encounter/2f0e0d0c-0b0a-4908-8706-050403020100"},
        "effectiveDateTime": "2024-05-01T09:58:00+02:00",
        "issued": "2024-05-01T09:58:00.000+02:00",
        "component": [
            component("8462-4", "Diastolic blood pressure", 84),
            component("8480-6", "Systolic blood pressure", 121)
        ]
    })
}

/// A settled claim of about so many bytes: what each item was billed and what of it is paid. More
/// bytes are more items.
pub(crate) fn explanation_of_benefit(bytes: usize) -> Value {
    let without_items = claim(&[]).to_string().len();
    let one_item = item(100).to_string().len() + 1;
    let items = (bytes.saturating_sub(without_items) + one_item / 2) / one_item;
    claim(&(1..=items).map(item).collect::<Vec<_>>())
}

fn claim(items: &[Value]) -> Value {
    json!({
        "resourceType": "ExplanationOfBenefit",
        "id": "3f0e0d0c-0b0a-4908-8706-050403020100",
        "meta": {"versionId": "1", "lastUpdated": "2024-05-01T10:00:00.123+02:00"},
        "status": "active",
        "type": codeable(
            "http://terminology.hl7.org/CodeSystem/claim-type", "institutional", "Institutional"),
        "use": "claim",
        "patient": {"reference": "Patient/0f0e0d0c-0b0a-4908-8706-050403020100"},
        "billablePeriod": {"start": "2024-03-01", "end": "2024-04-12"},
        "created": "2024-04-13T08:15:00+02:00",
        "insurer": {"reference": "Organization/o2", "display": "Example Insurance"},
        "provider": {"reference": "Organization/o1", "display": "Example Hospital"},
        "outcome": "complete",
        "insurance": [{"focal": true, "coverage": {"reference": "Coverage/c1"}}],
        "item": items,
        "total": [
            {"category": category("submitted"), "amount": money(1_234_567)},
            {"category": category("benefit"), "amount": money(987_650)}
        ],
        "payment": {"amount": money(987_650), "date": "2024-04-20"}
    })
}

fn item(number: usize) -> Value {
    let adjudication =
        |code: &str, cents: usize| json!({"category": category(code), "amount": money(cents)});
    json!({
        "sequence": number,
        "careTeamSequence": [1],
        "diagnosisSequence": [1, 2],
        "productOrService": codeable("http://www.ama-assn.org/go/cpt", "99213", "Office visit"),
        "servicedPeriod": {"start": "2024-03-01T09:00:00+01:00", "end": "2024-03-01T09:30:00+01:00"},
        "quantity": {"value": 1.5},
        "net": money(12_345 + number),
        "adjudication": [
            adjudication("submitted", 12_345 + number),
            adjudication("eligible", 11_000 + number),
            adjudication("benefit", 9_900 + number)
        ]
    })
}

fn category(code: &str) -> Value {
    codeable("http://terminology.hl7.org/CodeSystem/adjudication", code, code)
}

fn codeable(system: &str, code: &str, display: &str) -> Value {
    json!({"coding": [{"system": system, "code": code, "display": display}], "text": display})
}

fn money(cents: usize) -> Value {
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    json!({"value": Number::from_str(&amount).expect("a number"), "currency": "EUR"})
}
