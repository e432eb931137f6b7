//! The log of a running process: how it is switched, the way of a change in it, and what it shows.

use serde_json::{Value, json};

use crate::support::http::{self, Answer};
use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, patient};
use crate::support::{Rowcast, wait_for};

const ASKED: &str = "info,rowcast::troubleshooting=debug";

/// What the troubleshooting log said so far.
fn told(run: &Rowcast) -> Vec<Value> {
    let messages = run.messages();
    let lines = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "rowcast::troubleshooting").collect()
}

/// The lines with this message.
fn lines<'a>(told: &'a [Value], message: &str) -> Vec<&'a Value> {
    told.iter().filter(|line| line["message"] == message).collect()
}

fn wait_for_letters(pipeline: &Pipeline, count: f64) {
    let settled =
        || pipeline.metric("rowcast_records_settled_total", &[("outcome", "dead_lettered")]);
    wait_for("letters", SOON, || settled().filter(|letters| *letters >= count));
}

fn two_cities(id: &str) -> String {
    patient(id, 1, &json!({ "address": [{ "city": "A" }, { "city": "B" }] }))
}

#[test]
fn the_way_of_a_change_is_told_stage_by_stage_while_it_is_asked_for() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    pipeline.produce(&[patient("before", 1, &json!({}))]);
    pipeline.wait_for_patients(1);
    assert_eq!(told(&run), Vec::<Value>::new());

    let in_force = pipeline.expect(&["log", ASKED]);
    assert!(in_force.contains("rowcast::troubleshooting=debug"), "{in_force}");
    let names = json!({ "name": [{ "family": "Secret" }, { "family": "Secret" }] });
    pipeline.produce(&[
        patient("secret", 1, &json!({})),
        patient("secret", 2, &names),
        patient("before", 1, &json!({})),
        two_cities("secret-too"),
    ]);
    wait_for_letters(&pipeline, 1.0);
    // said a moment after it is counted
    wait_for("the commit", SOON, || (!lines(&told(&run), "committed").is_empty()).then_some(()));
    let said = told(&run);
    assert_eq!(lines(&said, "decoded").len(), 4);
    let transformed = lines(&said, "transformed");
    let newest = transformed.iter().find(|line| line["version"] == 2).expect("version 2");
    assert_eq!(newest["rows"], "patient 1, patient_name 2");
    assert_eq!(
        (&newest["resource_type"], &newest["operation"]),
        (&json!("Patient"), &json!("upsert"))
    );
    let outcome_of = |position: &Value| {
        let applied = lines(&said, "applied");
        let line = applied.into_iter().find(|line| line["position"] == *position);
        line.map(|line| line["outcome"].clone())
    };
    assert_eq!(outcome_of(&newest["position"]), Some(json!("written")));
    let outcomes: Vec<_> =
        lines(&said, "applied").iter().map(|line| line["outcome"].clone()).collect();
    assert!(
        outcomes.contains(&json!("folded")) && outcomes.contains(&json!("stale")),
        "{outcomes:?}"
    );
    let refused = lines(&said, "refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (&refused[0]["cause"], &refused[0]["column"]),
        (&json!("multiple_values"), &json!("city"))
    );
    assert_eq!(lines(&said, "dead letter")[0]["position"], refused[0]["position"]);
    let insert = lines(&said, "statement").into_iter().find(|line| {
        line["table"] == "patient" && line["sql"].as_str().is_some_and(|sql| sql.contains("INSERT"))
    });
    let insert = insert.expect("the statement that writes rows");
    assert!(insert["rows"].as_u64() > Some(0), "{insert}");
    assert!(lines(&said, "bound").is_empty() && lines(&said, "row").is_empty());
    assert!(!run.messages().to_lowercase().contains("secret"), "an id or a value was told");

    pipeline.expect(&["log", "info,rowcast::troubleshooting=off"]);
    let before = told(&run).len();
    pipeline.produce(&[two_cities("after")]);
    wait_for_letters(&pipeline, 2.0);
    assert_eq!(told(&run).len(), before);
}

#[test]
fn a_filter_for_a_time_comes_back_by_itself_and_a_restart_knows_nothing_of_it() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    let before = pipeline.expect(&["log"]);
    let during = pipeline.expect(&["log", "--for", "2s", "--output", "json", ASKED]);
    let during: Value = serde_json::from_str(&during).expect("JSON");
    assert_eq!(during["then"].as_str(), Some(before.trim()));
    assert_ne!(during["filter"], during["then"]);
    wait_for("the former filter", SOON, || (pipeline.expect(&["log"]) == before).then_some(()));
}

#[test]
fn nobody_changes_the_log_without_the_token_and_no_answer_repeats_what_was_sent() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let token = ["--set", "http.token=open-sesame-1001"];
    let _run = pipeline.start(&[&["run"], token.as_slice()].concat());
    pipeline.wait_until_ready(Ready::Yes);
    let ask = |method: &str, path: &str, token: Option<&str>, body: &str| -> Answer {
        http::request(pipeline.port(), method, path, token, body).expect("an answer")
    };
    let right = Some("open-sesame-1001");
    let before = ask("GET", "/log", right, "").body;
    for token in [None, Some("open-sesame-1002"), Some("")] {
        assert_eq!(ask("PUT", "/log", token, "trace").status, 401);
        assert_eq!(ask("GET", "/log", token, "").status, 401);
    }
    for (path, bad) in [
        ("/log", "canary"),
        ("/log", "rowcast=canary"),
        ("/log", ""),
        ("/log?for=canary", "debug"),
        ("/log?for=0s", "debug"),
        ("/log?for=25h", "debug"),
        ("/log?canary=1s", "debug"),
    ] {
        let answer = ask("PUT", path, right, bad);
        assert_eq!(answer.status, 400, "{path} {bad}");
        assert!(!answer.body.contains("canary"), "{}", answer.body);
    }
    assert_eq!(ask("GET", "/log", right, "").body, before);
    assert_eq!(ask("PUT", "/log", right, ASKED).status, 200);
    assert_ne!(ask("GET", "/log", right, "").body, before);
    assert_eq!(pipeline.command(&["log"]).status.code(), Some(1), "without the token");
    let told = pipeline.expect(&[&["log"], token.as_slice()].concat());
    assert!(told.contains("troubleshooting=debug"), "{told}");
}

#[test]
fn a_process_that_does_not_run_cannot_be_asked() {
    let pipeline = Pipeline::embedded(RULES, "");
    assert_eq!(pipeline.command(&["log"]).status.code(), Some(69));
}

#[test]
fn values_stand_in_the_log_only_at_trace_after_the_opt_in_which_is_warned_about() {
    const OPT_IN: &str = "log: { reveal_bind_values: true }";
    for (more, level, shown) in
        [("", "trace", false), (OPT_IN, "rowcast=debug", false), (OPT_IN, "rowcast=trace", true)]
    {
        let pipeline = Pipeline::embedded(RULES, more);
        pipeline.create_tables();
        pipeline.produce(&[patient("the-id", 1, &json!({ "gender": "the-gender" }))]);
        let run = ["run", "--until-idle", "1s"];
        let mut run = pipeline.start_with(&run, &[("RUST_LOG", level)]);
        assert!(run.wait(SOON).success(), "{}", run.messages());
        let said = run.messages();
        assert_eq!(said.contains("the-gender"), shown, "{more} {level}: {said}");
        assert_eq!(said.contains("the-id"), shown, "{more} {level}: {said}");
        assert_eq!(said.contains("PATIENT DATA MAY STAND IN THE LOG"), level != "trace", "{said}");
        let bound = told(&run).iter().any(|line| line["message"] == "bound");
        assert_eq!(bound, level != "rowcast=debug");
    }
}

/// All lines of the log, each of which is JSON.
fn all_lines(run: &Rowcast) -> Vec<Value> {
    let said = run.messages();
    let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    said.lines().map(line).collect()
}

/// Each record is a batch of its own, and the circuit stays closed.
const ONE_BY_ONE: &str = "batch: { rows: 1 }\ndead_letter: { max_ratio: 1 }";

#[test]
fn refused_records_make_few_lines_and_none_of_them_is_lost_from_the_count() {
    const LETTERS: u64 = 60;
    for (repeats, told) in [("3", 3), ("0", LETTERS)] {
        let pipeline = Pipeline::embedded(RULES, ONE_BY_ONE);
        pipeline.create_tables();
        let cities = (0..LETTERS).map(|id| two_cities(&format!("p{id}")));
        pipeline.produce(&cities.collect::<Vec<_>>());
        let repeats = format!("log.repeats={repeats}");
        let mut run = pipeline.start(&["run", "--until-idle", "1s", "--set", &repeats]);
        assert!(run.wait(SOON).success(), "{}", run.messages());
        let said = all_lines(&run);
        let letters = lines(&said, "dead letters");
        let count = |line: &&Value| line["letters"].as_u64().expect("a number");
        // a batch is a record, but for those that came while one was being written
        assert!(letters.len() as u64 <= told, "{said:?}");
        let left_out = lines(&said, "more lines like this were left out");
        let left_out: Vec<_> =
            left_out.iter().filter(|line| line["like"] == "dead letters").collect();
        if told == LETTERS {
            assert_eq!(letters.iter().map(count).sum::<u64>(), LETTERS);
            assert!(left_out.is_empty(), "{left_out:?}");
            continue;
        }
        assert_eq!(letters.len() as u64, told);
        let [summary] = left_out.as_slice() else { panic!("{said:?}") };
        assert_eq!(summary["left_out"], LETTERS - told);
        assert_eq!(
            (&summary["level"], &summary["of"], &summary["stage"], &summary["cause"]),
            (
                &json!("WARN"),
                &json!("rowcast::runtime::publish"),
                &json!("transform"),
                &json!("multiple_values")
            )
        );
    }
}

#[test]
fn what_was_asked_for_at_run_time_is_not_limited() {
    let pipeline = Pipeline::embedded(RULES, ONE_BY_ONE);
    pipeline.create_tables();
    let run = pipeline.start(&["run", "--set", "log.repeats=1"]);
    pipeline.wait_until_ready(Ready::Yes);
    pipeline.expect(&["log", ASKED]);
    let cities = (0..30).map(|id| two_cities(&format!("p{id}")));
    pipeline.produce(&cities.collect::<Vec<_>>());
    wait_for_letters(&pipeline, 30.0);
    let letters = || lines(&told(&run), "dead letter").len();
    wait_for("thirty letters", SOON, || (letters() == 30).then_some(()));
    assert_eq!(lines(&all_lines(&run), "dead letters").len(), 1);
}

#[test]
fn a_line_has_its_place_in_fields_of_its_own() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    pipeline.produce(&[two_cities("a")]);
    let mut run = pipeline.start(&["run", "--until-idle", "1s"]);
    assert!(run.wait(SOON).success(), "{}", run.messages());
    let said = all_lines(&run);
    for line in &said {
        for name in ["timestamp", "level", "target", "message"] {
            assert!(line[name].is_string(), "{line}");
        }
        assert!(line.get("partition").is_none_or(Value::is_i64), "{line}");
        assert!(
            line.as_object().is_some_and(|line| !line.values().any(Value::is_object)),
            "{line}"
        );
    }
    let letter = lines(&said, "dead letters")[0];
    let names = ["topic", "offset", "stage", "cause", "table", "column", "letters"];
    assert_eq!(
        names.map(|name| &letter[name]),
        [
            &json!("changes"),
            &json!(0),
            &json!("transform"),
            &json!("multiple_values"),
            &json!("patient"),
            &json!("city"),
            &json!(1)
        ]
    );
}

#[test]
fn why_a_run_ends_is_a_line_of_its_log() {
    let pipeline = Pipeline::embedded(RULES, "");
    // without tables
    let mut run = pipeline.start(&["run", "--set", "log.repeats=1"]);
    assert_eq!(run.wait(SOON).code(), Some(78));
    let said = all_lines(&run);
    let end: Vec<_> = said.iter().filter(|line| line["target"] == "rowcast::end").collect();
    assert!(end.len() > 1, "{said:?}");
    for line in end {
        assert_eq!((&line["level"], &line["exit_code"]), (&json!("ERROR"), &json!(78)));
    }

    // who asked for silence is told all the same
    let mut run = pipeline.start_with(&["run"], &[("RUST_LOG", "off")]);
    assert_eq!(run.wait(SOON).code(), Some(78));
    assert!(run.messages().contains("nothing was started"), "{}", run.messages());
}
