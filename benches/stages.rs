//! What one record costs in the pure stages, on one core.
//!
//! The documents are synthetic, of the size and shape that US Core servers send. Parsing the same
//! bytes to a plain JSON tree is measured in the same run: it tells a fast machine from fast code.
//! Database and broker are not measured here.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use rowcast::model::{Document, DocumentLimits, Offset, Record, TopicPartition};
use rowcast::source::{DecodeSettings, Decoder};
use rowcast::transform::{RuleSet, Transformer};
use serde_json::{Value, json};

const PATIENT_RULES: &str = include_str!("../topology/rules/patient.json");
const OBSERVATION_RULES: &str = include_str!("../topology/rules/observation.json");

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    stages(&mut criterion, "patient", &patient(), PATIENT_RULES);
    stages(&mut criterion, "observation", &observation(), OBSERVATION_RULES);
    criterion.final_summary();
}

fn stages(criterion: &mut Criterion, name: &str, document: &Value, rules: &str) {
    let bytes = Bytes::from(document.to_string());
    let record = Record {
        source: TopicPartition::new("changes", 0),
        offset: Offset(0),
        timestamp: None,
        key: None,
        value: Some(bytes.clone()),
        headers: Vec::new(),
    };
    let decoder = Decoder::new(DecodeSettings::default());
    let rules = RuleSet::load(&[(format!("rules/{name}.json"), rules.to_owned())])
        .expect("the rules of the repository are good");
    let changes = decoder.decode(&record).expect("the document is a resource");
    let rows: usize = changes
        .iter()
        .flat_map(|change| rules.transform(change).expect("the document fits its rules"))
        .flat_map(|resource| resource.row_sets.expect("the document matches"))
        .map(|set| set.rows.len())
        .sum();
    println!("{name}: {} bytes become {rows} rows", bytes.len());

    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse: serde_json::Value", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Value>(black_box(&bytes)).expect("JSON"));
    });
    group.bench_function("parse: Document", |bencher| {
        let limits = DocumentLimits::default();
        bencher.iter(|| Document::parse(black_box(&bytes), limits).expect("JSON"));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decoder.decode(black_box(&record)).expect("a change"));
    });
    group.bench_function("transform", |bencher| {
        bencher.iter(|| rules.transform(black_box(&changes[0])).expect("rows"));
    });
    group.bench_function("decode and transform", |bencher| {
        bencher.iter(|| {
            let changes = decoder.decode(black_box(&record)).expect("a change");
            rules.transform(&changes[0]).expect("rows")
        });
    });
    group.finish();
}

/// A patient of 2.7 kB with rows for the patient and for each of its child tables.
fn patient() -> Value {
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
fn observation() -> Value {
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
