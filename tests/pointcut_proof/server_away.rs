//! The FHIR server goes away and comes back. `ROWCAST_POINTCUT_AWAY` says for how many seconds.

use std::time::Duration;

use super::ground::on_all;
use super::histories::{Scale, Writer};

fn away() -> Duration {
    Duration::from_secs(Scale::of_environment().away)
}

#[test]
fn a_server_that_was_away_is_caught_up_with() {
    on_all("catch_up: 1s", |ground| {
        let run = ground.run();
        let mut writer = Writer::new(&ground.server, 21);
        writer.steps(60);
        // what was written just before is told by nobody
        ground.server.go_away();
        std::thread::sleep(away());
        ground.server.come_back();
        ground.equals_the_server(&run);
        writer.steps(60);
        ground.equals_the_server(&run);
    });
}

#[test]
fn what_a_server_did_while_nobody_could_reach_it_is_caught_up_with() {
    on_all("catch_up: 1s", |ground| {
        let run = ground.run();
        let mut writer = Writer::new(&ground.server, 22);
        writer.steps(30);
        ground.server.go_away();
        writer.steps_over(60, away());
        ground.server.come_back();
        ground.equals_the_server(&run);
    });
}

#[test]
fn a_run_that_begins_while_the_server_is_away_follows_it_later() {
    on_all("catch_up: 1s", |ground| {
        Writer::new(&ground.server, 23).steps(40);
        ground.server.go_away();
        let run = ground.pipeline.start(&["run"]);
        std::thread::sleep(Duration::from_secs(2));
        ground.server.come_back();
        ground.wait_until_subscribed();
        Writer::new(&ground.server, 24).steps(40);
        ground.equals_the_server(&run);
    });
}

#[test]
fn subscriptions_that_vanished_are_made_again() {
    on_all("catch_up: 1s", |ground| {
        let run = ground.run();
        ground.server.delete_subscriptions();
        ground.wait_until_subscribed();
        Writer::new(&ground.server, 25).steps(30);
        ground.equals_the_server(&run);
    });
}
