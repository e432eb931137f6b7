//! The page at `/`: one sentence of state with the command to run next, then the topology with its
//! rates, the lag, and the dead letters by cause.
//!
//! In: a [`State`]. Out: HTML that needs no script, no other request and no colour to be read; every
//! text is escaped by the template. It comes again by itself every few seconds.

use maud::{DOCTYPE, Markup, html};

use super::metrics::RecordOutcome;
use super::state::{Condition, DescribedStage, PartitionState, State};
use crate::error::{Cause, counted};

/// Partitions that are listed one by one; of more only those furthest behind.
const LISTED: usize = 20;

/// Where a cause is explained.
const CAUSES: &str = "docs/causes.md";

/// What the page may load: nothing but its own style.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--paper:#fcfcfd;--rule:#d9d9e0;--quiet:#60646c;--good:#18794e;--busy:#0d74ce;--look:#ab6400;--bad:#ce2c31}
@media (prefers-color-scheme:dark){:root{--ink:#edeef0;--paper:#111113;--rule:#363a3f;--quiet:#b0b4ba;--good:#3dd68c;--busy:#70b8ff;--look:#ffca16;--bad:#ff9592}}
body{margin:2rem auto;padding:0 1rem;max-width:76rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);overflow-wrap:anywhere}
h1{font-size:1rem;font-weight:600;margin:0}h2{font-size:1rem;margin:2rem 0 .5rem}
.quiet{color:var(--quiet)}
.state{margin:1rem 0;padding:1rem;border:1px solid var(--rule);border-left:.4rem solid var(--mark)}
.state p{margin:0;font-size:1.25rem}.state p+p{margin-top:.75rem;font-size:1rem}
.up_to_date{--mark:var(--good)}.catching_up,.starting{--mark:var(--busy)}.refused{--mark:var(--look)}.waiting,.paused{--mark:var(--bad)}
code{font:.9em ui-monospace,monospace}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:600;color:var(--quiet)}th[scope=col],.whole,.n{overflow-wrap:normal}th[scope=row]{width:12rem}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
ol{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.5rem 1.6rem}
ol li{border:1px solid var(--rule);padding:.4rem .7rem;position:relative}ol.aside li{max-width:28rem}
ol li:not(:last-child)::after{content:'\\2192';position:absolute;right:-1.3rem;top:.4rem;color:var(--quiet)}
@media (max-width:30rem){body{margin:1rem auto}th[scope=row]{width:8.5rem}ol{grid-template-columns:1fr;gap:1.8rem}ol li:not(:last-child)::after{content:'\\2193';right:50%;top:auto;bottom:-1.7rem}}
ol b{display:block}.wrong{color:var(--bad)}";

/// The page.
pub(super) fn page(state: &State, every_seconds: u64) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(every_seconds);
                title { (word(state.condition)) " · " (state.topology.name) " · rowcast" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "rowcast " (state.version) " · " (state.topology.name) }
                    p .quiet {
                        "Up for " (time(state.uptime_seconds)) ". Counts are of this instance since its start, rates of the last minute."
                    }
                }
                main {
                    (sentence(state))
                    @if let Some(notice) = state.readiness.notice { p .quiet { "Note: " (notice) "." } }
                    h2 { "Topology" }
                    (topology(state))
                    h2 #lag { "Lag" }
                    (lag(state))
                    h2 #dead-letters { "Dead letters" }
                    (dead_letters(state))
                    h2 { "Records" }
                    (records(state))
                    h2 #checks { "Checks" }
                    (checks(state))
                }
                footer .quiet {
                    p {
                        "The same as JSON: " code { "/api/v1/state" } ". Metrics: " code { "/metrics" }
                        ". Configuration " code { (short(&state.topology.config_hash)) } "."
                    }
                }
            }
        }
    }
}

fn sentence(state: &State) -> Markup {
    html! {
        div class={ "state " (class(state.condition)) } {
            p { (state.sentence) }
            @if let Some(next) = &state.next { p { "Next: " code { (next) } } }
            @else { p .quiet { "Nothing to do." } }
        }
    }
}

fn topology(state: &State) -> Markup {
    let side = |stage: &&DescribedStage| matches!(stage.name, "dead-letter" | "retry");
    html! {
        ol {
            @for stage in state.topology.stages.iter().filter(|stage| !side(stage)) {
                (drawn(state, stage))
            }
        }
        @let aside: Vec<_> = state.topology.stages.iter().filter(side).collect();
        @if !aside.is_empty() {
            p .quiet { "What is refused goes to:" }
            ol .aside { @for stage in aside { (drawn(state, stage)) } }
        }
    }
}

fn drawn(state: &State, described: &DescribedStage) -> Markup {
    let at_work = state.stages.iter().find(|at_work| at_work.stage == described.name);
    html! {
        li {
            b { (described.name) }
            @for (name, value) in &described.settings { div .quiet { (name) ": " (value) } }
            @if let Some(at_work) = at_work {
                div {
                    (rate(at_work.records_per_second))
                    @if let Some(busy) = at_work.busy { ", busy " (format!("{:.0}\u{a0}%", busy * 100.0)) }
                }
            }
            @if described.name == "source" { div { (rate(state.records.received_per_second)) } }
        }
    }
}

fn lag(state: &State) -> Markup {
    let mut furthest: Vec<&PartitionState> = state.partitions.iter().collect();
    furthest.sort_by(|left, right| {
        right.lag.cmp(&left.lag).then(right.lag_seconds.total_cmp(&left.lag_seconds))
    });
    let more = furthest.len().saturating_sub(LISTED);
    furthest.truncate(LISTED);
    html! {
        p {
            @if furthest.is_empty() { "Not measured yet" }
            @else {
                (counted(state.lag, "record")) " behind in "
                (counted(state.partitions.len(), "partition"))
                @if state.lag_seconds >= 1.0 { ", the oldest for " (time(state.lag_seconds)) }
            }
            @if let Some(latency) = &state.latency {
                "; from topic to row: half within " (bound(latency.median_within))
                ", 99 % within " (bound(latency.p99_within))
            }
            "."
        }
        @if !furthest.is_empty() {
            table aria-labelledby="lag" {
                thead {
                    tr {
                        th scope="col" { "topic" }
                        th scope="col" .n { "partition" }
                        th scope="col" .n { "committed" }
                        th scope="col" .n { "lag" }
                        th scope="col" .n { "waits for" }
                    }
                }
                tbody {
                    @for partition in furthest {
                        tr {
                            td { (partition.topic) }
                            td .n { (partition.partition) }
                            td .n { @match partition.committed { Some(offset) => (offset), None => "-" } }
                            td .n { (partition.lag) }
                            td .n { (time(partition.lag_seconds)) }
                        }
                    }
                }
            }
        }
        @if more > 0 { p .quiet { (more) " partitions more, less behind." } }
    }
}

fn dead_letters(state: &State) -> Markup {
    html! {
        @if state.dead_letters.is_empty() { p { "None since the start." } }
        @else {
            table aria-labelledby="dead-letters" {
                thead {
                    tr {
                        th scope="col" { "stage" }
                        th scope="col" { "cause, and what it means" }
                        th scope="col" .n { "letters" }
                    }
                }
                tbody {
                    @for count in &state.dead_letters {
                        tr {
                            td .whole { (count.stage) }
                            td {
                                code { (count.cause) }
                                div { (marked(meaning(&count.cause))) span .quiet { " " (CAUSES) "#" (count.cause) } }
                            }
                            td .n { (count.letters) }
                        }
                    }
                }
            }
        }
        @if state.retry_waiting > 0 {
            p { (state.retry_waiting) (plural(state.retry_waiting, " waits", " wait")) " for a retry." }
        }
    }
}

fn records(state: &State) -> Markup {
    html! {
        p {
            (state.records.received) " received = "
            @for outcome in RecordOutcome::ALL.iter().rev().map(|outcome| outcome.as_str()) {
                (state.records.settled.get(outcome).copied().unwrap_or_default()) " "
                (outcome.replace('_', "-")) " + "
            }
            (state.records.released) " released + " (state.records.in_flight) " in flight. "
            span .quiet {
                "Connections to the database: " (state.connections.busy) " busy, " (state.connections.idle)
                " idle, of " (state.connections.max) "; "
                (state.connections.waiting) (plural(state.connections.waiting, " batch waits", " batches wait")) " for one."
            }
        }
    }
}

fn checks(state: &State) -> Markup {
    html! {
        table aria-labelledby="checks" {
            tbody {
                @for (check, found) in &state.readiness.checks {
                    tr {
                        th scope="row" { (check.as_str().replace('_', " ")) }
                        @if found.ok { td { "good" } } @else { td .wrong { "waits: " (found.message) } }
                    }
                }
            }
        }
    }
}

/// A text whose code stands between backticks.
fn marked(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

const fn plural(count: u64, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

/// What a cause means, by its name.
fn meaning(cause: &str) -> &'static str {
    Cause::ALL.iter().find(|known| known.as_str() == cause).map_or("", |known| known.meaning())
}

const fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Starting => "Starting",
        Condition::Waiting => "Waiting",
        Condition::Paused => "Paused",
        Condition::CatchingUp => "Catching up",
        Condition::Refused => "Refusals",
        Condition::UpToDate => "Good",
    }
}

const fn class(condition: Condition) -> &'static str {
    match condition {
        Condition::Starting => "starting",
        Condition::Waiting => "waiting",
        Condition::Paused => "paused",
        Condition::CatchingUp => "catching_up",
        Condition::Refused => "refused",
        Condition::UpToDate => "up_to_date",
    }
}

fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| "rate not known yet".to_owned(), |rate| format!("{rate:.1} a second"))
}

fn bound(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "more than 10 min".to_owned(), |seconds| format!("{seconds} s"))
}

fn time(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds.floor()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
