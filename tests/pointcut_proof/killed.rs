//! rowcast is killed at random moments and started again. `ROWCAST_POINTCUT_KILLS` says how often.

use std::time::Duration;

use chrono::TimeDelta;

use super::faults::all_at_once;
use super::ground::{Ground, on_all};
use super::histories::{Scale, Writer};
use crate::fhir_server::Settings;
use crate::support::pipeline::SOON;
use crate::support::wait_for;

#[test]
fn a_run_that_is_killed_again_and_again_leaves_nothing_out() {
    let scale = Scale::of_environment();
    for seed in scale.seeds() {
        on_all("catch_up: 1s", |ground| {
            let mut run = ground.run();
            ground.server.faults(all_at_once);
            let mut writer = Writer::new(&ground.server, seed);
            let mut chance = fastrand::Rng::with_seed(seed);
            for _ in 0..scale.kills {
                writer.steps_over(40, Duration::from_millis(chance.u64(100..1500)));
                run.kill();
                // with nobody to tell
                writer.steps(10);
                run = ground.pipeline.start(&["run"]);
            }
            writer.steps(20);
            ground.equals_the_server(&run);
        });
    }
}

#[test]
fn a_run_that_is_killed_during_its_first_catch_up_begins_again() {
    let scale = Scale::of_environment();
    let settings = Settings { largest_page: 5, ..Settings::default() };
    let ground = Ground::embedded(settings, "catch_up: 1s");
    Writer::new(&ground.server, 31).steps(200);
    // longer ago than what is read again anyhow
    ground.server.age(TimeDelta::minutes(30));
    ground.server.faults(|faults| {
        faults.lose = 1.0;
        faults.latency = Duration::from_millis(20);
    });
    let pages = || ground.server.asked().iter().filter(|it| it.contains("_history?")).count();
    for kill in 0..scale.kills {
        let before = pages();
        let mut run = ground.pipeline.start(&["run"]);
        wait_for("some pages", SOON, || (pages() > before + 4 + kill % 9).then_some(()));
        run.kill();
    }
    let run = ground.run();
    ground.equals_the_server(&run);
}

#[test]
fn asked_to_end_it_ends_well_and_goes_on_where_it_was() {
    on_all("catch_up: 1s", |ground| {
        let mut run = ground.run();
        let mut writer = Writer::new(&ground.server, 32);
        writer.steps_over(60, Duration::from_secs(1));
        run.terminate();
        let status = run.wait(SOON);
        assert!(status.success(), "it ended with {status}: {}", run.messages());
        writer.steps(60);
        let run = ground.run();
        ground.equals_the_server(&run);
    });
}

#[test]
fn a_run_that_begins_again_reads_what_is_new_and_not_everything() {
    on_all("catch_up: 1h", |ground| {
        let mut writer = Writer::new(&ground.server, 33);
        writer.steps(40);
        let run = ground.run();
        ground.equals_the_server(&run);
        drop(run);
        for _ in 0..2 {
            writer.steps(5);
            let asked = ground.server.asked().len();
            let run = ground.run();
            ground.equals_the_server(&run);
            let asked = &ground.server.asked()[asked..];
            let readings = asked.iter().filter(|asked| asked.contains("/_history?"));
            assert!(readings.clone().count() > 0, "it catches up: {asked:?}");
            assert!(readings.clone().all(|asked| asked.contains("_since=")), "{asked:?}");
        }
    });
}
