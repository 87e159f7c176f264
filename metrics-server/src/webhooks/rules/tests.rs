//! Rule files, good and bad.

use serde_json::{Value, json};

use super::*;

const SECRET: &str = "kept by both sides only";

/// A file with one rule, and the members that all rules need.
fn file(rule: &Value) -> String {
    let url = "https://example.com/hunter2";
    json!({"url": url, "secret": SECRET, "rules": [rule]}).to_string()
}

fn lines(text: &str) -> Vec<String> {
    Rules::read(text).unwrap().rules.iter().map(ToString::to_string).collect()
}

#[test]
fn rules_are_read_with_their_defaults() {
    let text = json!({
        "url": "https://example.com/webhooks",
        "secret": SECRET,
        "allow_http": ["Relay.internal"],
        "timezone": "Europe/Amsterdam",
        "rules": [
            {"name": "popular", "kind": "milestone"},
            {"name": "some", "kind": "milestone", "plays": [5, 50], "identifier": "intro"},
            {"name": "failing", "kind": "threshold", "metric": "failure_rate", "above": 0.05},
            {"name": "empty", "kind": "threshold", "metric": "peak_concurrent", "below": 10, "resolve": 20,
             "over": "1 hour", "filters": ["is", "device", ["mobile"]]},
            {"name": "quiet", "kind": "silence", "after": "30 minutes", "url": "http://[::1]:9/"},
            {"name": "week", "kind": "weekly", "weekday": "Friday", "at": "17:30", "format": "text",
             "url": "http://relay.internal:8025/mail", "timezone": "UTC", "top": 50},
        ],
    });
    assert_eq!(
        lines(&text.to_string()),
        [
            "popular: plays of a video reach a power of ten, to https://example.com",
            "some: plays of a video reach 5, 50, of the selected sessions, to https://example.com",
            "failing: failure_rate is above 0.05 over 10 minutes, until 0.04, to https://example.com",
            "empty: peak_concurrent is below 10 over 60 minutes, until 20, of the selected sessions, to \
             https://example.com",
            "quiet: nothing was played for 30 minutes, to http://[::1]:9",
            "week: summary every Fri at 17:30 (UTC), to http://relay.internal:8025 as text",
        ]
    );
    let rules = Rules::read(&text.to_string()).unwrap().rules;
    let least = |rule: &Rule| match rule.kind {
        Kind::Threshold(it) => it.sessions_min,
        _ => 0,
    };
    assert_eq!((least(&rules[2]), least(&rules[3])), (20, 0));
    let Kind::Weekly(week) = rules[5].kind else { panic!("{:?}", rules[5]) };
    assert_eq!((week.top, week.zone), (50, Tz::UTC));
    assert!(!format!("{rules:?}").contains(SECRET));
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let err = Rules::read(text).unwrap_err().to_string();
    assert_eq!(err, expected);
    assert!(!err.contains(SECRET) && !err.contains("hunter2"), "{err}");
}

/// Checks the error of a file whose rule has these members, and misses those that are `null`.
#[track_caller]
fn check_rule(members: &Value, expected: &str) {
    let mut rule = json!({"name": "a", "kind": "silence", "after": "1 hour"});
    for (name, value) in members.as_object().unwrap() {
        rule[name] = value.clone();
    }
    check_refused(&file(&rule), &format!("rule 1 (\"a\"): {expected}"));
}

#[test]
fn files_that_are_no_rules_are_refused() {
    check_refused("", "the rules must be JSON: line 1, column 0");
    check_refused("{\n  \"rules\": [}", "the rules must be JSON: line 2, column 13");
    check_refused("[]", "the rules must be an object with the member `rules`");
    check_refused("{}", "`rules` must be an array of rules");
    check_refused(r#"{"rules": []}"#, "`rules` must have 1 to 50 rules");
    check_refused(&"[".repeat(70), "the rules must be at most 64 levels deep");
    check_refused(&" ".repeat((1 << 20) + 1), "the rules have more than 1 MiB");
    check_refused(r#"{"rules": [1]}"#, "rule 1: must be an object");
    check_refused(r#"{"allow_http": "a", "rules": []}"#, "`allow_http` must be an array of texts");
    check_refused(r#"{"ca_file": 1, "rules": []}"#, "`ca_file` must be a text");
    check_refused(
        r#"{"urls": "a", "rules": []}"#,
        "`urls` is not a member here: use `allow_http`, `url`, `secret`, `timezone`, `ca_file`, `rules`",
    );
    let rule = json!({"name": "a", "kind": "silence", "after": "1 hour"});
    let twice = json!({"url": "https://a/", "secret": SECRET, "rules": [rule, rule]});
    check_refused(
        &twice.to_string(),
        "rule 2 (\"a\"): `name` is that of an earlier rule: choose another one",
    );
}

#[test]
fn members_of_every_rule_are_checked() {
    let rule = json!({"kind": "silence"});
    check_refused(
        &file(&rule),
        "rule 1: `name` is missing: it must be a text that no other rule has",
    );
    check_rule(
        &json!({"name": "a", "kind": null}),
        "`kind` is missing: it must be milestone, threshold, silence or weekly",
    );
    check_rule(
        &json!({"kind": "x"}),
        "`kind` is \"x\": it must be milestone, threshold, silence or weekly",
    );
    check_rule(&json!({"format": "xml"}), "`format` must be \"json\" or \"text\"");
    check_rule(
        &json!({"secret": "short"}),
        "`secret` must have 16 to 256 bytes, or be `whsec_` and base64 of so many: openssl rand -hex 32 makes one",
    );
    check_rule(&json!({"secret": 1}), "`secret` must be a text");
    check_rule(
        &json!({"url": "example.com/hunter2"}),
        "`url` must be a URL like https://example.com/webhooks",
    );
    check_rule(
        &json!({"url": "http://example.com/hunter2"}),
        "`url` must begin with https://, or list \"example.com\" in `allow_http`: plain HTTP shows deliveries to the network",
    );
    check_rule(
        &json!({"timezone": "Mars"}),
        "`timezone` must be an IANA name like \"Europe/Amsterdam\"",
    );
    check_rule(
        &json!({"filters": 1}),
        "filters: \"1\" is invalid, expected an array: an operator, a name and values",
    );
    check_rule(
        &json!({"query": {"keys": "a"}}),
        "`query` must have no other members than `video`, `session` and `key`",
    );
    check_rule(
        &json!({"above": 1}),
        "`above` is not a member here: use `name`, `url`, `secret`, `format`, `identifier`, `query`, `filters`, \
         `timezone`, `minimum_watch_seconds`, `kind`, `after`",
    );
    let nowhere = json!({"rules": [{"name": "a", "kind": "silence", "after": "1 hour"}]});
    check_refused(
        &nowhere.to_string(),
        "rule 1 (\"a\"): `url` is missing: it must be the URL of a receiver, here or beside `rules`",
    );
    for name in ["", "a\nb", "a\u{202e}b", "\u{2066}a", "a\u{2028}b"] {
        let rule = json!({"name": name, "kind": "silence", "after": "1 hour"});
        let expected = format!(
            "rule 1 ({name:?}): `name` must have 1 to 100 characters, and none that ends a line, controls a terminal or \
             changes the direction of text"
        );
        assert!(expected.is_ascii());
        check_refused(&file(&rule), &expected);
    }
}

#[test]
fn members_of_each_kind_are_checked() {
    check_rule(
        &json!({"after": null}),
        "`after` is missing: it must be a time like \"30 minutes\"",
    );
    check_rule(&json!({"after": 30}), "`after` must be a text");
    check_rule(&json!({"identifier": null}), "`identifier` must not be null: leave it out");
    check_rule(
        &json!({"query": {"key": null}}),
        "`query` must not have null as `key`: leave it out",
    );
    for after in ["30 seconds", "soon", "0 minutes", "5 weeks", "1 month"] {
        check_rule(
            &json!({"after": after}),
            &format!(
                "`after` is {after:?}: it must be whole minutes like \"10 minutes\", at most 40320"
            ),
        );
    }
    let milestone = |plays: Value| json!({"kind": "milestone", "after": null, "plays": plays});
    for plays in [json!("all"), json!([]), json!([0]), json!([5, 5]), json!([1.5]), json!(7)] {
        check_rule(
            &milestone(plays),
            "`plays` must be \"powers of ten\" or 1 to 100 whole numbers, ascending",
        );
    }
    let threshold = |members: Value| {
        let mut rule = json!({"kind": "threshold", "after": null, "metric": "failure_rate"});
        rule.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        rule
    };
    check_rule(&threshold(json!({})), "one of `above` and `below` must be a number");
    check_rule(
        &threshold(json!({"above": 1, "below": 2})),
        "one of `above` and `below` must be a number",
    );
    check_rule(&threshold(json!({"above": "1"})), "`above` must be a number, 0 or more");
    check_rule(&threshold(json!({"above": -1})), "`above` must be a number, 0 or more");
    check_rule(&threshold(json!({"above": 1, "resolve": 2})), "`resolve` must be at most `above`");
    check_rule(&threshold(json!({"below": 2, "resolve": 1})), "`resolve` must be at least `below`");
    check_rule(
        &threshold(json!({"metric": null})),
        "`metric` is missing: it must be a metric like failure_rate",
    );
    check_rule(
        &threshold(json!({"above": 1, "minimum_sessions": 1.5})),
        "`minimum_sessions` must be a whole number from 0 to 1000000000",
    );
    check_rule(
        &threshold(json!({"above": 1, "over": "2 days"})),
        "`over` is \"2 days\": it must be whole minutes like \"10 minutes\", at most 1440",
    );
    let wrong = Rules::read(&file(
        &json!({"name": "a", "kind": "threshold", "metric": "failures_rate", "above": 1}),
    ));
    let wrong = wrong.unwrap_err().to_string();
    assert!(
        wrong.starts_with("rule 1 (\"a\"): `metric`: ") && wrong.contains("\"failure_rate\""),
        "{wrong}"
    );
    let weekly = |name: &str, value: Value| json!({"kind": "weekly", "after": null, name: value});
    check_rule(
        &weekly("weekday", json!("Caturday")),
        "`weekday` is \"Caturday\": it must be a day like \"monday\"",
    );
    check_rule(
        &weekly("at", json!("8 am")),
        "`at` is \"8 am\": it must be a time of day like \"08:00\"",
    );
    check_rule(&weekly("top", json!(51)), "`top` must be a whole number from 1 to 50");
}
