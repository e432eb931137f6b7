//! No command shows payload unless it is told to.

use serde_json::json;

use super::{CANARY, command, id_of, refused};

#[test]
fn without_being_told_to_no_command_prints_key_value_id_or_foreign_header() {
    let pipeline = refused();
    let date = id_of(&pipeline, "type_mismatch");
    let other = id_of(&pipeline, "missing_id");
    let good = pipeline.path("good.json");
    let value = json!({
        "resourceType": "Patient", "id": format!("{CANARY}-date"), "meta": { "versionId": "3" },
        "birthDate": "1970-01-31", "gender": CANARY,
    });
    std::fs::write(&good, value.to_string()).expect("it is written");
    let bad = pipeline.path("bad.json");
    std::fs::write(&bad, format!("{{\"{CANARY}\": {CANARY}")).expect("it is written");
    let strange = pipeline.path("strange.json");
    let value = json!({ "resourceType": CANARY, "id": CANARY, "meta": { "versionId": CANARY } });
    std::fs::write(&strange, value.to_string()).expect("it is written");
    let json = ["--output", "json"];
    let commands: [&[&str]; 10] = [
        &["summary"],
        &["list", "--all"],
        &["show", &date],
        &["show", &other],
        &["edit", &date, "--with", &bad],
        &["edit", &date, "--with", &strange],
        &["edit", &other, "--with", &bad, "--force"],
        &["edit", &date, "--with", &good],
        &["replay"],
        &["discard", "--all", "--reason", "done"],
    ];
    for arguments in commands {
        for output in [&[][..], &json] {
            let output = command(&pipeline, &[arguments, output].concat());
            is_clean(arguments, &output.stdout);
            is_clean(arguments, &output.stderr);
        }
    }
    let exported = command(&pipeline, &["export", "--all"]);
    assert!(exported.status.success());
    is_clean(&["export"], &exported.stdout);
}

fn is_clean(arguments: &[&str], printed: &[u8]) {
    let printed = String::from_utf8_lossy(printed);
    assert!(!printed.contains(CANARY), "{arguments:?}: {printed}");
    // nor in disguise
    assert!(!printed.contains("Y2FuYXJ5"), "{arguments:?}: {printed}");
}

#[test]
fn told_to_show_prints_key_value_and_foreign_headers() {
    let pipeline = refused();
    let id = id_of(&pipeline, "type_mismatch");
    for output in [&[][..], &["--output", "json"]] {
        let arguments = [&["show", &id, "--reveal-payload"], output].concat();
        let printed = super::expect(&pipeline, &arguments);
        for revealed in ["Patient/canary7f-date", "birthDate", "canary7f-header"] {
            assert!(printed.contains(revealed), "{revealed}: {printed}");
        }
    }
}
