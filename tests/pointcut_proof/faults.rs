//! What becomes of hooks and of answers, one after the other and all at once.

use std::time::Duration;

use super::ground::{Ground, on_all};
use super::histories::{Scale, Writer};
use crate::fhir_server::{
    Auth, Dialect, Faults, FhirServer, Paging, Refusing, Settings, quiet_port,
};

/// A third is lost, a third doubled, and none comes when it should.
pub(super) fn all_at_once(faults: &mut Faults) {
    faults.lose = 0.3;
    faults.double = 0.3;
    faults.delay = Duration::ZERO..Duration::from_millis(500);
    faults.backdated = Duration::from_millis(800);
}

fn history_with(more: &str, change: impl Fn(&mut Faults) + Copy) {
    on_all(more, |ground| {
        let run = ground.run();
        ground.server.faults(change);
        Writer::new(&ground.server, 11).steps(120);
        ground.equals_the_server(&run);
    });
}

#[test]
fn hooks_that_come_twice_and_in_any_order_change_nothing() {
    history_with("catch_up: 1h", |faults| {
        faults.double = 0.5;
        faults.delay = Duration::ZERO..Duration::from_millis(700);
    });
}

#[test]
fn servers_that_notify_of_topics_are_followed_too() {
    for dialect in [Dialect::R4B, Dialect::R5] {
        let settings = Settings { dialect, ..Settings::default() };
        let ground = Ground::embedded(settings, "catch_up: 1h");
        let run = ground.run();
        // by notifications alone: none may be lost
        ground.server.faults(|faults| {
            faults.double = 0.3;
            faults.delay = Duration::ZERO..Duration::from_millis(500);
        });
        Writer::new(&ground.server, 17).steps(80);
        ground.equals_the_server(&run);
        let hooks = ground.server.hooks();
        assert_eq!((hooks.lost, hooks.failed), (0, 0), "each is answered with a Bundle at once");
    }
}

#[test]
fn what_no_hook_told_is_caught_up_with() {
    on_all("catch_up: 1s", |ground| {
        let run = ground.run();
        ground.server.faults(|faults| faults.lose = 1.0);
        let mut writer = Writer::new(&ground.server, 10);
        // more than once
        for _ in 0..2 {
            writer.steps(60);
            ground.equals_the_server(&run);
        }
    });
}

#[test]
fn what_a_transaction_wrote_at_an_earlier_instant_is_not_passed_over() {
    on_all("catch_up: 1s", |ground| {
        let run = ground.run();
        ground.server.faults(|faults| {
            faults.lose = 1.0;
            faults.backdated = Duration::from_secs(2);
        });
        // each catch-up has seen later instants before the transactions are there
        let mut writer = Writer::new(&ground.server, 12);
        writer.steps_over(60, Duration::from_secs(5));
        ground.equals_the_server(&run);
    });
}

#[test]
fn pages_are_followed_whatever_their_links_are() {
    for paging in [Paging::Offset, Paging::Snapshot] {
        let settings = Settings { paging, largest_page: 7, ..Settings::default() };
        let ground = Ground::embedded(settings, "catch_up: 1s");
        let mut writer = Writer::new(&ground.server, 13);
        writer.steps(80);
        ground.server.faults(|faults| faults.lose = 1.0);
        let run = ground.run();
        // pages move while they are read
        writer.steps_over(80, Duration::from_secs(3));
        ground.equals_the_server(&run);
    }
}

#[test]
fn a_server_that_refuses_for_a_while_is_asked_again() {
    for (status, retry_after) in [(500, None), (503, Some(1)), (429, Some(1))] {
        let ground = Ground::embedded(Settings::default(), "catch_up: 1s");
        let run = ground.run();
        ground.server.faults(|faults| {
            all_at_once(faults);
            faults.refusing = Some(Refusing { status, retry_after, share: 0.7 });
        });
        let mut writer = Writer::new(&ground.server, 14);
        writer.steps_over(60, Duration::from_secs(2));
        ground.server.faults(|faults| faults.refusing = None);
        ground.equals_the_server(&run);
    }
}

#[test]
fn a_server_that_wants_to_know_who_asks_is_told() {
    let basic = Auth::Basic { user: "u".to_owned(), password: "secret".to_owned() };
    let bearer = Auth::Bearer { token: "a-bearer-token".to_owned() };
    for (auth, written) in [
        (basic, "auth: { basic: { user: u, password: secret } }"),
        (bearer, "auth: { bearer: a-bearer-token }"),
    ] {
        let settings = Settings { auth, ..Settings::default() };
        let ground = Ground::embedded(settings, &format!("catch_up: 1s, {written}"));
        let run = ground.run();
        Writer::new(&ground.server, 15).steps(30);
        ground.equals_the_server(&run);
    }
}

#[test]
fn a_token_that_is_not_good_any_more_is_replaced() {
    let (id, secret) = ("c".to_owned(), "secret".to_owned());
    let settings = Settings { auth: Auth::ClientCredentials { id, secret }, ..Settings::default() };
    let more = |server: &FhirServer| {
        let credentials =
            format!("token_url: '{}', client_id: c, client_secret: secret", server.token_url());
        format!("catch_up: 1s, auth: {{ client_credentials: {{ {credentials} }} }}")
    };
    let ground = Ground::embedded_with(settings, more, "");
    let run = ground.run();
    let mut writer = Writer::new(&ground.server, 16);
    for _ in 0..4 {
        writer.steps(20);
        ground.server.forget_tokens();
        ground.equals_the_server(&run);
    }
}

#[test]
fn a_second_instance_shares_the_hooks() {
    for seed in Scale::of_environment().seeds() {
        let Some(ground) = Ground::servers(Settings::default(), "catch_up: 1s") else { return };
        let run = ground.run();
        ground.server.faults(all_at_once);
        let second = ground.pipeline.start(&[
            "run",
            "--set",
            &format!("http.listen=127.0.0.1:{}", quiet_port()),
            "--set",
            &format!("source.pointcut.listen=127.0.0.1:{}", quiet_port()),
            "--set",
            &format!("source.pointcut.public_url=http://127.0.0.1:{}", ground.hooks),
        ]);
        Writer::new(&ground.server, seed).steps(100);
        ground.equals_the_server(&run);
        drop(second);
    }
}
