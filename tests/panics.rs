//! What a fault in rowcast says.

use std::process::Command;

use rowcast::telemetry::logs;

/// Set for the child that is to panic.
const PANIC: &str = "ROWCAST_TEST_PANIC";

#[test]
fn a_panic_tells_its_place_and_never_its_message() {
    if std::env::var_os(PANIC).is_some() {
        logs::hide_panic_messages();
        let name = String::from("Zoë");
        let _ = &name[..3];
    }
    let tests = std::env::current_exe().unwrap();
    let child = ["--exact", "panics::a_panic_tells_its_place_and_never_its_message", "--nocapture"];
    let output = Command::new(tests).args(child).env(PANIC, "1").output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("a fault at tests/panics.rs:"), "{said}");
    assert!(!said.contains("Zo"), "{said}");
}
