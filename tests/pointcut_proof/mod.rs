//! POINTCUT, through the binary, against a FHIR server that speaks as HAPI was captured: whatever
//! becomes of hooks, server, broker and process, the tables equal what the server has in the end,
//! deletions included. Random histories; embedded broker and SQLite always, Kafka and PostgreSQL where
//! they are. `make pointcut-proof` is the long form.

mod acknowledged;
mod broker_away;
mod endpoint;
mod faults;
mod flood;
mod ground;
mod hints;
mod histories;
mod hook;
mod killed;
mod load;
mod memory;
mod pace;
mod server_away;

use ground::on_all;
use histories::{Scale, Writer};

#[test]
fn what_a_server_does_is_in_the_tables_by_its_hooks_alone() {
    on_all("catch_up: 1h", |ground| {
        let run = ground.run();
        let server = &ground.server;
        let patient = |family: &str| histories::patient("one", family, "female");
        server.put("Patient/one", &patient("created"));
        ground.equals_the_server(&run);
        server.put("Patient/one", &patient("updated"));
        ground.equals_the_server(&run);
        server.delete("Patient/one");
        ground.equals_the_server(&run);
        server.put("Patient/one", &patient("undeleted"));
        ground.equals_the_server(&run);
        server.transaction(&histories::transaction_of(&["two", "three"], "one"));
        ground.equals_the_server(&run);
        assert_eq!(ground.versions(), [("Patient/three", 1), ("Patient/two", 1)].map(own));
    });
}

#[test]
fn what_was_there_before_is_in_the_tables_too() {
    on_all("catch_up: 1h", |ground| {
        let mut writer = Writer::new(&ground.server, 1);
        writer.steps(60);
        let run = ground.run();
        ground.equals_the_server(&run);
    });
}

#[test]
fn random_histories_are_in_the_tables_though_hooks_are_lost_doubled_and_reordered() {
    for seed in Scale::of_environment().seeds() {
        on_all("catch_up: 1s", |ground| {
            let run = ground.run();
            ground.server.faults(faults::all_at_once);
            Writer::new(&ground.server, seed).steps(150);
            ground.equals_the_server(&run);
            let hooks = ground.server.hooks();
            assert!(hooks.lost > 0 && hooks.doubled > 0, "{hooks:?}");
        });
    }
}

fn own((path, version): (&str, u64)) -> (String, u64) {
    (path.to_owned(), version)
}
