//! The dashboard and the alert rules in `docs/monitoring` use statistics that a server has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use metrics_core::recorder::Spool;
use metrics_server::Settings;
use metrics_server_testing::TestServer;
use serde_json::Value;
use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlLoader};

fn read(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring").join(name);
    fs::read_to_string(&file).unwrap_or_else(|err| panic!("{}: {err}", file.display()))
}

/// A sample that an expression selects: its name, and the labels that it must have with one value.
#[derive(Debug, Eq, PartialEq)]
struct Selected {
    name: String,
    labels: Vec<String>,
}

/// The samples that an expression of `PromQL` selects.
fn selected(expression: &str) -> Vec<Selected> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let word: String = rest[start..].chars().take_while(|c| is_name(*c)).collect();
        rest = &rest[start + word.len()..];
        if !word.starts_with("metrics_") && !word.starts_with("process_") {
            continue;
        }
        let labels = rest.strip_prefix('{').and_then(|labels| Some(labels.split_once('}')?.0));
        let labels = labels.unwrap_or_default().split(',').map(str::trim);
        // The scrape adds the job and the instance. Regular expressions may match anything.
        let labels = labels.filter(|it| it.contains("=\"") && !it.starts_with("job"));
        found.push(Selected { name: word, labels: labels.map(str::to_owned).collect() });
    }
    found
}

/// Fails if an expression selects a sample that the server does not have.
#[track_caller]
fn check(expression: &str, samples: &BTreeSet<String>) {
    let all = selected(expression);
    assert!(!all.is_empty(), "{expression} selects nothing");
    for Selected { name, labels } in all {
        let is_there = samples.iter().any(|sample| {
            let (found, rest) = sample.split_once('{').unwrap_or((sample, ""));
            found == name && labels.iter().all(|label| rest.contains(&**label))
        });
        assert!(is_there, "the server has no {name} with {labels:?}: {expression}");
    }
}

/// The names of all samples, with their labels.
async fn samples() -> BTreeSet<String> {
    let directory = TempDir::new().unwrap();
    let spool = Spool::new(directory.path(), "metrics");
    let server = TestServer::with(Settings::default().spool(spool)).await;
    let answer = server.http("GET", "/metrics").send().await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// The texts of all members with this name.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members_) => {
            found.extend(members_.get(name).and_then(Value::as_str));
            members_.values().for_each(|value| members(value, name, found));
        }
        Value::Array(values) => values.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

#[test]
fn samples_of_an_expression_are_found() {
    let expression =
        r#"sum by (le) (rate(metrics_a_bucket{job=~"$job",use="x"}[5m])) / process_b > 1"#;
    let found = selected(expression);
    let expected = |name: &str, labels: &[&str]| Selected {
        name: name.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    };
    assert_eq!(found, [expected("metrics_a_bucket", &["use=\"x\""]), expected("process_b", &[])]);
}

#[tokio::test]
async fn the_dashboard_shows_samples_of_a_server() {
    let board: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let mut expressions = Vec::new();
    members(&board, "expr", &mut expressions);
    members(&board["templating"], "definition", &mut expressions);
    assert!(20 < expressions.len(), "{expressions:?}");
    let samples = samples().await;
    expressions.iter().for_each(|expression| check(expression, &samples));
    // Grafana finds panels by their ids.
    let ids: Vec<_> = board["panels"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    let distinct: BTreeSet<_> = ids.iter().map(|id| id.as_u64().unwrap()).collect();
    assert_eq!(distinct.len(), ids.len());
}

#[tokio::test]
async fn alert_rules_watch_samples_of_a_server() {
    let rules = YamlLoader::load_from_str(&read("alerts.yaml")).unwrap();
    let groups = rules[0]["groups"].as_vec().unwrap();
    let rules: Vec<&Yaml> = groups.iter().flat_map(|it| it["rules"].as_vec().unwrap()).collect();
    assert!(10 < rules.len());
    let samples = samples().await;
    let mut names = BTreeSet::new();
    for rule in rules {
        check(rule["expr"].as_str().unwrap(), &samples);
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].as_str().is_some(), "{name} has no {text}");
        }
    }
}
