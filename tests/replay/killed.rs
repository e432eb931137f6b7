//! A replay that is killed again and again: nothing is lost, nothing is there twice. `make
//! replay-proof` is the long form.

use std::time::Duration;

use serde_json::json;

use super::ground::{Ground, mended, two_cities};
use super::replay;
use crate::support::pipeline::{RULES, SOON, deleted, patient};

/// Letters, and kills.
struct Scale {
    letters: usize,
    kills: usize,
}

impl Scale {
    fn of_environment() -> Self {
        let number = |name: &str, usual| {
            std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
        };
        Self {
            letters: number("ROWCAST_REPLAY_LETTERS", 300),
            kills: number("ROWCAST_REPLAY_KILLS", 3),
        }
    }

    /// So that all kills come while there are letters left: one takes a second on average, with the
    /// time to start.
    fn rate(&self) -> String {
        (self.letters / (self.kills + 2)).max(10).to_string()
    }
}

/// Patients refused by rules and by the database; newer versions and deletes of a part of them.
fn lines(letters: usize) -> (Vec<String>, Vec<String>) {
    let (mut refused, mut later) = (Vec::new(), Vec::new());
    for n in 0..letters {
        let id = format!("p{n:05}");
        let mut members = two_cities();
        if n % 2 == 1 {
            members = json!({ "gender": "of no kind that fits", "address": [{ "city": "A" }] });
        }
        refused.push(patient(&id, 1, &members));
        match n % 10 {
            3 | 4 => later.push(patient(&id, 2, &json!({ "gender": "other" }))),
            7 => later.push(deleted(&id, 2)),
            8 => later.push(json!({ "key": format!("Patient/{id}"), "value": null }).to_string()),
            _ => {}
        }
    }
    (refused, later)
}

const SETTINGS: &str = "dead_letter: { max_ratio: 1 }\nbatch: { rows: 100 }";

/// The tables of a run without the fault.
fn faultless((refused, later): &(Vec<String>, Vec<String>)) -> Option<Vec<Vec<Vec<String>>>> {
    let ground = Ground::servers(&mended(), SETTINGS)?;
    ground.pipeline.create_tables();
    ground.pipeline.produce(refused);
    ground.pipeline.produce(later);
    ground.pipeline.run_until_idle();
    assert_eq!(ground.letters().len(), 0);
    Some(ground.data())
}

/// A topic with as many letters, their causes mended.
fn provoke(scale: &Scale, (refused, later): &(Vec<String>, Vec<String>)) -> Option<Ground> {
    let ground = Ground::servers(RULES, SETTINGS)?;
    let pipeline = &ground.pipeline;
    pipeline.create_tables();
    pipeline.execute("ALTER TABLE patient ADD CONSTRAINT short CHECK (length(gender) < 10)");
    pipeline.produce(refused);
    pipeline.run_until_idle();
    // in a batch of their own: an old version is not tried beside a newer one
    pipeline.produce(later);
    pipeline.run_until_idle();
    assert_eq!(pipeline.letters().len(), scale.letters);
    pipeline.write_rules(&mended());
    pipeline.execute("ALTER TABLE patient DROP CONSTRAINT short");
    Some(ground)
}

/// Replays, killed at random moments, until nothing is left; how often it was killed at work.
fn replay_and_kill(ground: &Ground, scale: &Scale, way: &[&str]) -> usize {
    let rate = scale.rate();
    let arguments = [&["dead-letters", "replay", "--rate", &rate], way].concat();
    let mut killed = 0;
    for _ in 0..scale.kills {
        let mut replaying = ground.pipeline.start(&arguments);
        std::thread::sleep(Duration::from_millis(fastrand::u64(200..2500)));
        if replaying.ended().is_none() {
            replaying.kill();
            killed += 1;
        }
    }
    let arguments = [&["dead-letters", "replay", "--output", "json"], way].concat();
    let output = ground.pipeline.command(&arguments);
    // 4: a kill came after the last letter
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{said}");
    println!(
        "{} letters, killed {killed} times, the rest: {}",
        scale.letters,
        String::from_utf8_lossy(&output.stdout).trim()
    );
    killed
}

fn nothing_is_left(ground: &Ground, scale: &Scale, way: &[&str]) {
    let (rows, letters) = (ground.rows(), ground.letters().len());
    replay(&ground.pipeline, way, 4);
    assert_eq!(ground.rows(), rows, "again changes nothing");
    assert_eq!(letters, scale.letters, "none was refused again");
    let mut settled = 0;
    for status in ["replayed", "stale", "filtered"] {
        let (code, told) = {
            let arguments =
                ["dead-letters", "replay", "--dry-run", "--output", "json", "--status", status];
            let output = ground.pipeline.command(&arguments);
            let told: serde_json::Value =
                serde_json::from_slice(&output.stdout).unwrap_or_default();
            (output.status.code(), told)
        };
        assert!(matches!(code, Some(0 | 4)), "{status}: {told}");
        settled += told["letters"].as_u64().unwrap_or(0);
    }
    assert_eq!(usize::try_from(settled).ok(), Some(scale.letters), "all are settled");
}

#[test]
fn a_replay_killed_at_random_moments_loses_nothing_and_writes_nothing_twice() {
    let scale = Scale::of_environment();
    let lines = lines(scale.letters);
    let Some(ground) = provoke(&scale, &lines) else { return };
    let expected = faultless(&lines).expect("the services are there");
    let killed = replay_and_kill(&ground, &scale, &[]);
    assert!(killed > 0, "it was killed at work");
    assert_eq!(ground.data(), expected);
    nothing_is_left(&ground, &scale, &[]);
}

#[test]
fn letters_given_back_by_a_replay_that_is_killed_are_each_settled_by_the_pipeline() {
    let scale = Scale::of_environment();
    let lines = lines(scale.letters);
    let Some(ground) = provoke(&scale, &lines) else { return };
    let expected = faultless(&lines).expect("the services are there");
    let mut run = ground.pipeline.start(&["run"]);
    let killed = replay_and_kill(&ground, &scale, &["--to-topic"]);
    assert!(killed > 0, "it was killed at work");
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    ground.pipeline.run_until_idle();
    assert_eq!(ground.data(), expected);
    nothing_is_left(&ground, &scale, &["--to-topic"]);
}
