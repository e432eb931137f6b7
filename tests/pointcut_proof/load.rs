//! The hook endpoint under load: nothing that was acknowledged is lost, and memory is bounded. In
//! short here; `make hook-load RATE=2000 SECONDS=60` is the long form, with the release binary.

use std::collections::BTreeSet;
use std::time::Duration;

use super::acknowledged::topic;
use super::ground::{Ground, TOKEN};
use super::hook;
use super::memory::Memory;
use super::pace::Load;
use crate::fhir_server::Settings;
use crate::support::pipeline::Ready;

/// Resources that the load is about: each is put again and again.
const RESOURCES: u64 = 5000;

/// A document of a usual size, bytes.
const SIZE: usize = 2500;

/// Most resident memory of the process, MiB: buffers of Kafka's client and of the endpoint, and what
/// the pipeline holds.
const MOST_MEMORY: u64 = 512;

#[test]
fn hooks_at_a_rate_are_all_acknowledged_and_all_in_the_topic() {
    let number = |name: &str, usual: u32| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (rate, seconds) = (number("ROWCAST_HOOK_RATE", 100), number("ROWCAST_HOOK_SECONDS", 2));
    // alone: what is measured is the way into the topic
    let more = "catch_up: 1h, begin: now";
    under_load(&Ground::embedded(Settings::default(), more), "embedded", rate, seconds);
    if let Some(ground) = Ground::servers(Settings::default(), more) {
        under_load(&ground, "Kafka", rate, seconds);
    }
}

fn under_load(ground: &Ground, broker: &str, rate: u32, seconds: u32) {
    let run = ground.pipeline.start(&["pointcut", "run"]);
    ground.pipeline.wait_until_ready(Ready::Yes);
    let memory = Memory::watch(&run);
    let outcome = Load {
        port: ground.hooks,
        rate,
        seconds,
        connections: 64,
        authorization: format!("Bearer {TOKEN}"),
        request,
    }
    .send();
    let memory = memory.most();
    println!(
        "{broker}: {} acknowledged, {} refused in {:.1?}; answered within {:.1?} (half), {:.1?} (90 %), \
         {:.1?} (99 %), {:.1?} (99.9 %), {:.1?} (all); resident {} MiB after a quarter of the time, \
         {} MiB at most",
        outcome.acknowledged.len(),
        outcome.refused,
        outcome.took,
        outcome.within(500),
        outcome.within(900),
        outcome.within(990),
        outcome.within(999),
        outcome.within(1000),
        memory.0,
        memory.1,
    );
    drop(run);
    assert_eq!(outcome.refused, 0, "requests were refused");
    assert_eq!(outcome.acknowledged.len() as u64, u64::from(rate) * u64::from(seconds));
    assert!(outcome.took < Duration::from_secs(u64::from(seconds) + 3), "it did not keep up");
    assert!(memory.1 < MOST_MEMORY, "{} MiB", memory.1);
    let there = topic(ground);
    let lost = |number: &&u64| !there.contains(&told(**number));
    let lost: BTreeSet<_> = outcome.acknowledged.iter().filter(lost).collect();
    assert!(lost.is_empty(), "acknowledged and not in the topic: {} requests", lost.len());
}

fn told(number: u64) -> (String, u64) {
    (format!("Patient/load{}", number % RESOURCES), number / RESOURCES + 1)
}

fn request(number: u64) -> (String, String) {
    let (path, version) = told(number);
    let id = path.trim_start_matches("Patient/");
    (hook::path(id), hook::patient(id, version, SIZE))
}
