//! Dashboard and alerts against the metrics that there are. What promtool says of the rules is
//! told in `observed.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use rowcast::telemetry::metrics::Metrics;
use serde_json::Value;

/// Labels that the scrape adds, and the bucket's.
const OF_THE_SCRAPE: [&str; 3] = ["job", "instance", "le"];
/// What the law of conservation compares: the only totals that are not read as a rate.
const CONSERVED: [&str; 4] = [
    "rowcast_records_received_total",
    "rowcast_records_settled_total",
    "rowcast_records_released_total",
    "rowcast_records_in_flight",
];

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(name);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("dashboards/{name}: {error}"))
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("rowcast.json")).expect("rowcast.json is JSON")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The panels that show something; the others are headings.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels: Vec<_> =
        items(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row").collect();
    assert!(panels.len() > 10, "the dashboard was read");
    panels
}

/// Every rule of the alerts.
fn rules(alerts: &Value) -> Vec<&Value> {
    let rules: Vec<_> =
        items(&alerts["groups"]).iter().flat_map(|group| items(&group["rules"])).collect();
    assert!(rules.len() > 5, "the alerts were read");
    rules
}

/// Title and expression of everything that asks Prometheus.
fn expressions() -> Vec<(String, String)> {
    let (dashboard, alerts) = (dashboard(), yaml("alerts.yaml"));
    let mut asked = Vec::new();
    for panel in panels(&dashboard) {
        for target in items(&panel["targets"]) {
            asked.push((text(&panel["title"]).to_owned(), text(&target["expr"]).to_owned()));
        }
    }
    for rule in rules(&alerts) {
        asked.push((text(&rule["alert"]).to_owned(), text(&rule["expr"]).to_owned()));
    }
    assert!(asked.iter().all(|(_, expression)| !expression.is_empty()));
    asked
}

/// A metric as an expression names it.
struct Named<'a> {
    name: &'a str,
    /// Where in the expression.
    at: usize,
    kind: &'static str,
    labels: Vec<String>,
}

/// The metrics of an expression, or the name that no metric has.
fn metrics(expression: &str) -> Result<Vec<Named<'_>>, &str> {
    let families = Metrics::new().families();
    let word = Regex::new(r"\browcast_\w+").unwrap();
    word.find_iter(expression)
        .map(|found| {
            let name = found.as_str();
            let family = families.iter().find(|family| match family.kind {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix) == Some(&family.name)),
                _ => name == family.name,
            });
            let Some(family) = family else { return Err(name) };
            let (kind, labels) = (family.kind, family.labels.clone());
            Ok(Named { name, at: found.start(), kind, labels })
        })
        .collect()
}

/// The functions whose parentheses are open at a place of an expression.
fn functions_around(expression: &str, at: usize) -> Vec<&str> {
    let mut open = Vec::new();
    for (place, character) in expression[..at].char_indices() {
        match character {
            '(' => open.push(expression[..place].rsplit(|c: char| !c.is_alphabetic()).next()),
            ')' => drop(open.pop()),
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

#[test]
fn every_metric_of_a_panel_or_an_alert_exists() {
    for (title, expression) in expressions() {
        if let Err(unknown) = metrics(&expression) {
            panic!("{title}: there is no {unknown}");
        }
    }
}

#[test]
fn every_label_is_one_of_its_metrics() {
    let listed = Regex::new(r"\b(?:by|on|group_left)\s*\(([^)]*)\)").unwrap();
    let matched = Regex::new(r"(\w+)\s*(?:=~|!~|!=|=)\s*\x22").unwrap();
    for (title, expression) in expressions() {
        let mut known: BTreeSet<String> = OF_THE_SCRAPE.map(str::to_owned).into();
        known.extend(metrics(&expression).unwrap_or_default().into_iter().flat_map(|m| m.labels));
        let by = listed.captures_iter(&expression).flat_map(|list| {
            let (_, [labels]) = list.extract();
            labels.split(',').map(str::trim).filter(|label| !label.is_empty()).collect::<Vec<_>>()
        });
        let with = matched.captures_iter(&expression).map(|label| label.extract::<1>().1[0]);
        for label in by.chain(with) {
            assert!(known.contains(label), "{title}: no metric of it has the label {label}");
        }
    }
}

#[test]
fn counters_are_read_as_rates_but_for_the_conservation_of_records() {
    let mut counters = 0;
    for (title, expression) in expressions() {
        if CONSERVED.iter().all(|name| expression.contains(name)) {
            continue;
        }
        for named in metrics(&expression).unwrap_or_default() {
            if named.kind != "gauge" {
                counters += 1;
                let around = functions_around(&expression, named.at);
                assert!(
                    around.iter().any(|function| ["rate", "increase"].contains(function)),
                    "{title}: {} only ever grows; show its rate",
                    named.name
                );
            }
        }
    }
    assert!(counters > 10, "counters were found");
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = text(&panel["title"]);
        assert!(!title.is_empty(), "a panel without title: {}", panel["id"]);
        assert!(!text(&panel["description"]).is_empty(), "{title}: no description");
        assert!(!text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "{title}: no unit");
        assert!(!items(&panel["targets"]).is_empty(), "{title}: asks nothing");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is taken");
    }
}

#[test]
fn every_panel_keeps_to_the_chosen_job_instance_and_interval() {
    let selector = Regex::new(r"\b(?:rowcast_\w+|up)\b(\{[^}]*\})?").unwrap();
    let range = Regex::new(r"\[([^\]:]*)").unwrap();
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        for target in items(&panel["targets"]) {
            let (title, expression) = (text(&panel["title"]), text(&target["expr"]));
            for found in selector.captures_iter(expression) {
                let labels = found.get(1).map_or("", |labels| labels.as_str());
                for wanted in [r#"job=~"$job""#, r#"instance=~"$instance""#] {
                    assert!(labels.contains(wanted), "{title}: {} without {wanted}", &found[0]);
                }
            }
            for found in range.captures_iter(expression) {
                assert_eq!(&found[1], "$__rate_interval", "{title}");
            }
        }
    }
}

#[test]
fn the_dashboards_address_and_variables_are_fixed() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "rowcast");
    let variables = items(&dashboard["templating"]["list"]);
    let names: Vec<_> = variables.iter().map(|variable| text(&variable["name"])).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    for variable in &variables[1..] {
        assert_eq!(variable["refresh"], 2, "read anew when the time range changes");
        assert_eq!(variable["datasource"]["uid"], "${datasource}");
    }
}

#[test]
fn every_alert_says_how_urgent_it_is_what_happened_and_what_to_do() {
    let alerts = yaml("alerts.yaml");
    for rule in rules(&alerts) {
        let name = text(&rule["alert"]);
        let severity = text(&rule["labels"]["severity"]);
        assert!(["warning", "critical"].contains(&severity), "{name}: severity {severity}");
        for annotation in ["summary", "description"] {
            assert!(!text(&rule["annotations"][annotation]).is_empty(), "{name}: no {annotation}");
        }
    }
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_no_section_is_of_none() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md");
    let runbook = fs::read_to_string(path).expect("the runbook");
    let sections: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = yaml("alerts.yaml");
    for rule in rules(&alerts) {
        let name = text(&rule["alert"]);
        let address = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(text(&rule["annotations"]["runbook_url"]), address, "{name}");
    }
    let names: BTreeSet<_> = rules(&alerts).iter().map(|rule| text(&rule["alert"])).collect();
    assert_eq!(sections, names);
}

#[test]
fn every_alert_is_seen_to_fire_in_its_tests() {
    let (alerts, tests) = (yaml("alerts.yaml"), yaml("alerts.test.yaml"));
    let mut fires = BTreeSet::new();
    for test in items(&tests["tests"]) {
        for case in test["alert_rule_test"].as_array().into_iter().flatten() {
            if !items(&case["exp_alerts"]).is_empty() {
                fires.insert(text(&case["alertname"]));
            }
        }
        for case in test["promql_expr_test"].as_array().into_iter().flatten() {
            for sample in items(&case["exp_samples"]) {
                let name = text(&sample["labels"]).split(r#"alertname=""#).nth(1);
                fires.extend(name.and_then(|rest| rest.split('"').next()));
            }
        }
    }
    let alerts: BTreeSet<_> = rules(&alerts).iter().map(|rule| text(&rule["alert"])).collect();
    assert_eq!(fires, alerts);
}

#[test]
fn the_readme_has_a_line_for_every_panel_and_every_alert() {
    let readme = read("README.md");
    let told: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .filter(|name| !["panel", "alert"].contains(name))
        .collect();
    let (dashboard, alerts) = (dashboard(), yaml("alerts.yaml"));
    let titles = panels(&dashboard).into_iter().map(|panel| text(&panel["title"]));
    let names = rules(&alerts).into_iter().map(|rule| text(&rule["alert"]));
    assert_eq!(told, titles.chain(names).collect::<BTreeSet<_>>());
}
