//! Whatever is made of the cases: no panic, and no change of another resource than the document's.

use fastrand::Rng;
use proptest::prelude::*;
use rowcast::model::{Operation, Record};
use rowcast::source::{DecodeSettings, Decoder};
use serde_json::Value;
use sonic_rs::JsonValueTrait as _;

use super::{cases, columns};

/// The JSON values of all cases, those inside of texts too.
fn samples() -> Vec<(Record, Value)> {
    let parsed = |record: Record| {
        let value = serde_json::from_slice(record.value.as_deref()?).ok()?;
        Some((record, value))
    };
    cases::all().into_iter().filter_map(|case| parsed(case.record)).collect()
}

/// Changes one node somewhere below.
fn mutate(value: &mut Value, others: &[(Record, Value)], rng: &mut Rng) {
    let deeper = rng.u8(..10) < 8;
    match value {
        Value::Object(members) if deeper && !members.is_empty() => {
            let name = rng.choice(members.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
            match rng.u8(..10) {
                0 => drop(members.remove(&name)),
                1 => {
                    // a member of another record, where it does not belong
                    let other = rng.choice(others).map(|(_, other)| other);
                    for (name, value) in other.and_then(Value::as_object).into_iter().flatten() {
                        members.insert(name.clone(), value.clone());
                    }
                }
                _ => mutate(&mut members[&name], others, rng),
            }
        }
        Value::Array(elements) if deeper && !elements.is_empty() => {
            let at = rng.usize(..elements.len());
            match rng.u8(..5) {
                0 => drop(elements.remove(at)),
                1 => elements.push(elements[at].clone()),
                _ => mutate(&mut elements[at], others, rng),
            }
        }
        Value::String(text) if text.starts_with('{') && deeper => {
            if let Ok(mut inner) = serde_json::from_str(text) {
                mutate(&mut inner, others, rng);
                *text = inner.to_string();
            }
        }
        other => {
            let replacements = [
                Value::Null,
                Value::Bool(true),
                Value::from(7),
                Value::from("1"),
                Value::from("2"),
                Value::from("Patient"),
                Value::from("Group"),
                Value::from("Patient/2"),
                Value::from("Group/1/_history/9"),
                Value::from("DELETE"),
                Value::from("update"),
                Value::from("u"),
                Value::from("history"),
                Value::Array(Vec::new()),
                Value::Object(serde_json::Map::new()),
            ];
            *other = rng.choice(replacements).unwrap_or_default();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutated_records_never_change_another_resource_than_their_document(seed in any::<u64>()) {
        let samples = samples();
        let mut rng = Rng::with_seed(seed);
        let names = serde_json::json!(
            { "document": "resource", "type": "Patient", "id": "id", "version": "txid" }
        );
        let decoder = Decoder::new(DecodeSettings {
            debezium: columns(&names),
            ..DecodeSettings::default()
        });
        for (record, value) in &samples {
            let mut value = value.clone();
            for _ in 0..rng.usize(1..4) {
                mutate(&mut value, &samples, &mut rng);
            }
            let mut record = record.clone();
            record.value = Some(value.to_string().into());
            if rng.bool() {
                record.key = rng.choice(&samples).and_then(|(other, _)| other.key.clone());
            }
            let key = record.key.clone();
            let mut of_another = Vec::new();
            decoder.decode_each(&record, |change| {
                let Ok(change) = change else { return };
                let Operation::Upsert { document, .. } = &change.operation else { return };
                let key = key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
                let named = format!("{}/{}", change.resource.resource_type, change.resource.id);
                let same_id = match document.root().get("id") {
                    Some(id) => id.as_str() == Some(&*change.resource.id),
                    None => true,
                };
                let same_type =
                    document.text("resourceType") == Some(&*change.resource.resource_type);
                let same_key = key
                    .filter(|key| key.starts_with("Patient/") || key.starts_with("Group/"))
                    .is_none_or(|key| key == named);
                if !(same_id && same_type && same_key) {
                    of_another.push(named);
                }
            });
            prop_assert!(of_another.is_empty(), "{of_another:?} by {value}");
        }
    }
}
