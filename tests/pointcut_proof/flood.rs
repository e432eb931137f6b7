//! More hooks than can be taken: they are told to come again, and memory stays bounded.

use super::ground::{Ground, TOKEN};
use super::hook;
use super::memory::Memory;
use super::pace::Load;
use crate::fhir_server::Settings;
use crate::support::pipeline::{Ready, SOON};
use crate::support::wait_for;

/// Body of a request, bytes.
const SIZE: usize = 1 << 20;

/// Most resident memory, MiB: a few times what the endpoint lets in.
const MOST_MEMORY: u64 = 200;

#[test]
fn memory_stays_bounded_while_hooks_pile_up_before_a_frozen_broker() {
    let Some(ground) = Ground::own_broker(Settings::default(), "catch_up: 1h, begin: now") else {
        return;
    };
    let run = ground.pipeline.start(&["pointcut", "run"]);
    ground.pipeline.wait_until_ready(Ready::Yes);
    let broker = ground.broker.as_ref().expect("one of its own");
    broker.freeze();
    let memory = Memory::watch(&run);
    let outcome = Load {
        port: ground.hooks,
        rate: 40,
        seconds: 30,
        connections: 400,
        authorization: format!("Bearer {TOKEN}"),
        request: |number| {
            let id = format!("large{number}");
            (hook::path(&id), hook::patient(&id, 1, SIZE))
        },
    }
    .send();
    let (_, most) = memory.most();
    println!("{} requests refused, resident {most} MiB at most", outcome.refused);
    assert_eq!(outcome.acknowledged.len(), 0, "nobody has their records");
    assert!(most < MOST_MEMORY, "{most} MiB");
    broker.thaw();
    let sender = hook::Sender::to(ground.hooks);
    wait_for("an acknowledgement", SOON, || {
        let small = hook::patient("small", 1, 10);
        (sender.send_now("PUT", &hook::path("small"), &small) == Some(200)).then_some(())
    });
}
