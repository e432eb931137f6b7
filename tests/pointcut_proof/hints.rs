//! Hooks that do not say what changed: the server is read before they are acknowledged.

use super::ground::{Ground, on_all};
use super::histories::{self, Writer};
use super::hook::{Sender, path};
use crate::fhir_server::Settings;
use crate::support::pipeline::SOON;

/// Nothing is told but by hand, and nothing is caught up with.
fn silent(ground: &Ground) {
    ground.server.faults(|faults| faults.lose = 1.0);
}

#[test]
fn requests_in_xml_are_hints() {
    on_all("catch_up: 1h", |ground| {
        let run = ground.run();
        ground.equals_the_server(&run);
        silent(ground);
        Writer::new(&ground.server, 51).steps(40);
        let sender = Sender::to(ground.hooks).of_xml();
        for (of_type, id) in ground.server.current().into_keys() {
            if matches!(of_type.as_str(), "Patient" | "Observation") {
                let xml = format!(
                    "<{of_type} xmlns=\"http://hl7.org/fhir\"><id value=\"{id}\"/></{of_type}>"
                );
                let status = sender.send_now("PUT", &format!("{of_type}/{of_type}/{id}"), &xml);
                assert_eq!(status, Some(200));
            }
        }
        ground.equals_the_server(&run);
    });
}

#[test]
fn an_empty_request_is_about_everything_of_its_type() {
    on_all("catch_up: 1h", |ground| {
        let run = ground.run();
        ground.equals_the_server(&run);
        silent(ground);
        Writer::new(&ground.server, 52).steps(60);
        let sender = Sender::to(ground.hooks);
        for of_type in ["Patient", "Observation"] {
            assert_eq!(sender.send_now("POST", of_type, ""), Some(200));
        }
        ground.equals_the_server(&run);
    });
}

#[test]
fn a_deletion_of_what_is_there_again_deletes_nothing() {
    let ground = Ground::embedded(Settings::default(), "catch_up: 1h");
    let run = ground.run();
    let put = |family| ground.server.put("Patient/a", &histories::patient("a", family, "male"));
    put("before");
    ground.equals_the_server(&run);
    silent(&ground);
    ground.server.delete("Patient/a");
    put("again");
    // it comes late
    assert_eq!(Sender::to(ground.hooks).send_now("DELETE", &path("a"), ""), Some(200));
    ground.equals_the_server(&run);
    assert_eq!(ground.versions(), [super::own(("Patient/a", 3))]);
}

#[test]
fn a_hint_is_not_acknowledged_while_the_server_is_away() {
    let ground = Ground::embedded(Settings::default(), "catch_up: 1h");
    let run = ground.run();
    ground.server.put("Patient/a", &histories::patient("a", "F", "male"));
    ground.equals_the_server(&run);
    silent(&ground);
    ground.server.delete("Patient/a");
    ground.server.go_away();
    let sender = Sender::to(ground.hooks);
    assert_eq!(sender.send_now("DELETE", &path("a"), ""), Some(503));
    assert_eq!(sender.send_now("POST", "Patient", ""), Some(503));
    ground.server.come_back();
    crate::support::wait_for("an acknowledgement", SOON, || {
        (sender.send_now("DELETE", &path("a"), "") == Some(200)).then_some(())
    });
    ground.equals_the_server(&run);
}

#[test]
fn from_now_on_means_without_what_was_there_before() {
    let ground = Ground::embedded(Settings::default(), "catch_up: 1s, begin: now");
    ground.server.put("Patient/old", &histories::patient("old", "F", "male"));
    // longer ago than what is read again, before the last change
    ground.server.age(chrono::TimeDelta::minutes(30));
    ground.server.put("Patient/last", &histories::patient("last", "F", "male"));
    let _run = ground.run();
    ground.server.put("Patient/new", &histories::patient("new", "F", "male"));
    let has = |id: &str| ground.versions().contains(&super::own((&format!("Patient/{id}"), 1)));
    crate::support::wait_for("the new one", SOON, || has("new").then_some(()));
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(!has("old"));
}

#[test]
fn after_uninstalling_the_server_has_none_of_its_subscriptions() {
    let ground = Ground::embedded(Settings::default(), "catch_up: 1h");
    let mut run = ground.run();
    run.terminate();
    run.wait(SOON);
    assert_eq!(ground.server.subscriptions(), 2);
    ground.pipeline.expect(&["pointcut", "uninstall"]);
    assert_eq!(ground.server.subscriptions(), 0);
}
