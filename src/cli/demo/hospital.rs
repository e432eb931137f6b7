//! A small hospital, made up: the same records for the same seed, on every machine.
//!
//! Patients come and go, encounters run through their states, observations arrive. Some records
//! come twice, some late, some resources are deleted, and a few records are poisonous, each in
//! its own way. Names and values are invented here; nothing is real.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::broker::OutgoingRecord;
use crate::model::Header;

const FAMILY: [&str; 12] = [
    "Okafor",
    "Lindqvist",
    "Marchetti",
    "Nowak",
    "Tanaka",
    "Duarte",
    "Haddad",
    "Keller",
    "Moreau",
    "Silva",
    "Ivanova",
    "Byrne",
];
const GIVEN: [&str; 12] = [
    "Amara", "Bjorn", "Chiara", "Darek", "Emi", "Filipa", "Ghassan", "Hanna", "Ines", "Jonas",
    "Katya", "Liam",
];
const CITY: [(&str, &str); 5] = [
    ("Harbourview", "10115"),
    ("Eastfield", "20095"),
    ("Millbrook", "80331"),
    ("Stonebridge", "50667"),
    ("Lakeside", "60311"),
];
const STATUS: [&str; 4] = ["planned", "arrived", "in-progress", "finished"];
/// LOINC code, display, unit, least, most.
const LAB: [(&str, &str, &str, f64, f64); 5] = [
    ("8867-4", "Heart rate", "/min", 52.0, 118.0),
    ("8310-5", "Body temperature", "Cel", 36.1, 39.4),
    ("2339-0", "Glucose", "mg/dL", 65.0, 210.0),
    ("718-7", "Hemoglobin", "g/dL", 9.5, 17.2),
    ("29463-7", "Body weight", "kg", 44.0, 131.0),
];

/// How large the hospital is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hospital {
    /// Seed of everything.
    pub seed: u64,
    /// Patients; encounters and observations follow from them.
    pub patients: usize,
}

impl Hospital {
    /// All records in the order in which they arrive.
    pub(crate) fn records(self, topic: &str) -> Vec<OutgoingRecord> {
        let mut ward =
            Ward { rng: Rng::with_seed(self.seed), topic: topic.into(), records: vec![] };
        for number in 0..self.patients {
            ward.patient(number);
        }
        let mut records = ward.records;
        // late and early arrivals: each record may trade places with one not far away
        for place in 0..records.len() {
            let other = (place + ward.rng.usize(0..40)).min(records.len() - 1);
            if ward.rng.u8(0..5) == 0 {
                records.swap(place, other);
            }
        }
        for (place, poison) in poisons(topic).into_iter().enumerate() {
            let at = (place + 1) * records.len() / 9;
            records.insert(at, poison);
        }
        records
    }
}

struct Ward {
    rng: Rng,
    topic: Arc<str>,
    records: Vec<OutgoingRecord>,
}

impl Ward {
    fn patient(&mut self, number: usize) {
        let id = format!("p{number:04}");
        let family = self.pick(&FAMILY);
        let given = self.pick(&GIVEN);
        let born = format!(
            "{}-{:02}-{:02}",
            self.rng.u16(1931..2024),
            self.rng.u8(1..13),
            self.rng.u8(1..29)
        );
        let versions = self.rng.i64(1..4);
        for version in 1..=versions {
            let (city, postal_code) = self.pick(&CITY);
            let mut names = vec![
                json!({"use": "official", "family": family, "given": [given, self.pick(&GIVEN)]}),
            ];
            if version > 1 {
                names.push(json!({"use": "nickname", "given": [given]}));
            }
            let mut patient = self.resource("Patient", &id, version);
            merge(
                &mut patient,
                json!({
                    "active": true,
                    "name": names,
                    "identifier": [
                        {"system": "urn:example:mrn", "value": format!("MRN{number:06}")},
                        {"system": "urn:example:insurance", "value": format!("INS{:08}", number * 7919)},
                    ],
                    "gender": if number.is_multiple_of(2) { "female" } else { "male" },
                    "birthDate": born,
                    "address": [{"use": "home", "line": [format!("{} Chapel Street", number + 1)], "city": city, "postalCode": postal_code, "country": "DE"}],
                    "telecom": [{"system": "phone", "value": format!("+49 30 55{number:05}"), "use": "home"}],
                }),
            );
            self.upsert(&patient);
        }
        for visit in 0..self.rng.usize(1..4) {
            self.encounter(&id, visit);
        }
        match number % 20 {
            3 => self.delete("Patient", &id, versions + 1),
            9 => {
                self.delete("Patient", &id, versions + 1);
                let mut patient = self.resource("Patient", &id, versions + 2);
                merge(
                    &mut patient,
                    json!({"active": false, "name": [{"family": family, "given": [given]}], "birthDate": born}),
                );
                self.upsert(&patient);
            }
            _ => {}
        }
    }

    fn encounter(&mut self, patient: &str, visit: usize) {
        let id = format!("{patient}-e{visit}");
        let day = self.rng.u8(1..29);
        let month = self.rng.u8(1..13);
        let last = self.rng.usize(1..=STATUS.len());
        for (version, status) in (1_i64..).zip(STATUS.iter().take(last)) {
            let mut encounter = self.resource("Encounter", &id, version);
            merge(
                &mut encounter,
                json!({
                    "status": status,
                    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
                    "type": [{"coding": [{"system": "http://snomed.info/sct", "code": "185349003", "display": "Encounter for check up"}]}],
                    "subject": {"reference": format!("Patient/{patient}")},
                    "period": {"start": format!("2026-{month:02}-{day:02}T08:15:00+02:00")},
                }),
            );
            self.upsert(&encounter);
        }
        for number in 0..self.rng.usize(2..6) {
            self.observation(patient, &id, number, (month, day));
        }
    }

    fn observation(
        &mut self,
        patient: &str,
        encounter: &str,
        number: usize,
        (month, day): (u8, u8),
    ) {
        let id = format!("{encounter}-o{number}");
        let versions = self.rng.i64(1..3);
        for version in 1..=versions {
            let (code, display, unit, least, most) = self.pick(&LAB);
            let mut observation = self.resource("Observation", &id, version);
            merge(
                &mut observation,
                json!({
                    "status": if version == 1 { "preliminary" } else { "final" },
                    "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
                    "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}], "text": display},
                    "subject": {"reference": format!("Patient/{patient}")},
                    "encounter": {"reference": format!("Encounter/{encounter}")},
                    "effectiveDateTime": format!("2026-{month:02}-{day:02}T{:02}:{:02}:00.000+02:00", 8 + number, self.rng.u8(0..60)),
                }),
            );
            if number == 0 {
                let systolic = self.rng.u16(98..171);
                let diastolic = self.rng.u16(55..105);
                merge(
                    &mut observation,
                    json!({"component": [
                        component("8480-6", "Systolic blood pressure", systolic),
                        component("8462-4", "Diastolic blood pressure", diastolic),
                    ]}),
                );
            } else {
                let value = (least + self.rng.f64() * (most - least)) * 10.0;
                merge(
                    &mut observation,
                    json!({"valueQuantity": {"value": value.round() / 10.0, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}}),
                );
            }
            self.upsert(&observation);
        }
        if self.rng.u8(0..30) == 0 {
            self.delete("Observation", &id, versions + 1);
        }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(0..from.len())]
    }

    fn resource(&mut self, resource_type: &str, id: &str, version: i64) -> Value {
        let minute = self.rng.u8(0..60);
        json!({
            "resourceType": resource_type,
            "id": id,
            "meta": {"versionId": version.to_string(), "lastUpdated": format!("2026-11-{:02}T10:{minute:02}:00.000Z", version.clamp(1, 28))},
        })
    }

    fn upsert(&mut self, resource: &Value) {
        let (Some(resource_type), Some(id)) =
            (resource["resourceType"].as_str(), resource["id"].as_str())
        else {
            return;
        };
        let record = OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: Some(Bytes::from(format!("{resource_type}/{id}"))),
            value: Some(Bytes::from(resource.to_string())),
            headers: Vec::new(),
        };
        if self.rng.u8(0..12) == 0 {
            self.records.push(record.clone());
        }
        self.records.push(record);
    }

    fn delete(&mut self, resource_type: &str, id: &str, version: i64) {
        self.records.push(OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: Some(Bytes::from(format!("{resource_type}/{id}"))),
            value: None,
            headers: vec![Header::text("rowcast.version", version.to_string())],
        });
    }
}

fn component(code: &str, display: &str, value: u16) -> Value {
    json!({
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}]},
        "valueQuantity": {"value": value, "unit": "mm[Hg]", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"},
    })
}

fn merge(resource: &mut Value, members: Value) {
    if let (Value::Object(resource), Value::Object(members)) = (resource, members) {
        resource.extend(members);
    }
}

/// One record of each kind that can never become rows.
fn poisons(topic: &str) -> Vec<OutgoingRecord> {
    let record = |key: &str, value: Vec<u8>| OutgoingRecord {
        topic: topic.into(),
        partition: None,
        key: Some(Bytes::from(key.to_owned())),
        value: Some(Bytes::from(value)),
        headers: Vec::new(),
    };
    let patient = |id: &str, members: Value| {
        let mut patient = json!({"resourceType": "Patient", "id": id, "meta": {"versionId": "1", "lastUpdated": "2026-11-01T10:00:00.000Z"}});
        merge(&mut patient, members);
        patient.to_string().into_bytes()
    };
    vec![
        record("Patient/cut-off", br#"{"resourceType":"Patient","id":"cut-off","meta":{"#.to_vec()),
        record("Patient/latin-1", b"{\"resourceType\":\"Patient\",\"id\":\"latin-1\",\"name\":[{\"family\":\"M\xfcller\"}]}".to_vec()),
        record("Patient/unversioned", br#"{"resourceType":"Patient","id":"unversioned"}"#.to_vec()),
        record("Invoice/unknown", br#"{"resourceType":"Receipt","id":"unknown","meta":{"versionId":"1"}}"#.to_vec()),
        record("Patient/no-date", patient("no-date", json!({"birthDate": "last spring"}))),
        record("Patient/also-no-date", patient("also-no-date", json!({"birthDate": "1974-13-45"}))),
        record("Patient/nested", [b"{\"resourceType\":\"Patient\",\"a\":".to_vec(), vec![b'['; 5000]].concat()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_hospital() {
        let hospital = Hospital { seed: 7, patients: 30 };
        let values = |hospital: Hospital| -> Vec<_> {
            hospital.records("t").into_iter().map(|record| (record.key, record.value)).collect()
        };
        assert_eq!(values(hospital), values(hospital));
        assert!(values(hospital).len() > 300);
    }
}
