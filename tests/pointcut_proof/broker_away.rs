//! Kafka is stopped, killed and frozen under the hooks.

use std::time::Duration;

use super::ground::Ground;
use super::histories::{Scale, Writer};
use crate::fhir_server::Settings;
use crate::support::Instance;

type Fault = (&'static str, fn(&Instance), fn(&Instance));

/// The last one in the long form only.
const FAULTS: [Fault; 3] = [
    ("killed", Instance::kill, Instance::start_again),
    ("frozen", Instance::freeze, Instance::thaw),
    ("stopped", Instance::stop, Instance::start_again),
];

#[test]
fn what_came_while_the_broker_was_away_is_in_the_tables_later() {
    let Some(ground) = Ground::own_broker(Settings::default(), "catch_up: 1s") else { return };
    let run = ground.run();
    let broker = ground.broker.as_ref().expect("one of its own");
    let mut writer = Writer::new(&ground.server, 41);
    let faults = if Scale::of_environment().is_long() { &FAULTS[..] } else { &FAULTS[..2] };
    for (name, away, back) in faults {
        println!("the broker is {name}");
        writer.steps(30);
        let accepted = ground.server.hooks().accepted;
        away(broker);
        writer.steps_over(60, Duration::from_secs(4));
        back(broker);
        ground.equals_the_server(&run);
        writer.steps(30);
        ground.equals_the_server(&run);
        assert!(ground.server.hooks().accepted > accepted, "hooks are accepted again");
    }
}
