//! Settings of keys from JSON and back.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn settings(members: &Value) -> Result<KeySettings, InvalidKeySettings> {
    KeySettings::from_json(members.as_object().unwrap())
}

#[track_caller]
fn check(hosts: &Value, page: Option<&str>, origin: Option<&str>, expected: bool) {
    let settings = settings(&json!({ "hosts": hosts })).unwrap();
    let page = page.map(|page| Source::parse(page).expect(page));
    assert_eq!(settings.allows(page.as_ref(), origin), expected, "{hosts} {page:?} {origin:?}");
}

#[test]
fn a_key_without_hosts_is_for_all_sites() {
    for origin in [None, Some("null"), Some("https://evil.example")] {
        assert!(KeySettings::default().allows(None, origin));
    }
}

#[test]
fn page_and_origin_must_both_match() {
    let hosts = json!(["example.com"]);
    let (own, other) = ("https://example.com/watch", "https://evil.example/");
    for (page, origin, expected) in [
        (Some(own), Some("https://example.com"), true),
        (Some(own), None, true),
        (None, Some("https://example.com:8443"), true),
        (Some(own), Some("https://evil.example"), false),
        (Some(other), Some("https://example.com"), false),
        (Some(other), None, false),
        (None, Some("https://evil.example"), false),
        // A frame without an origin of its own may be on any site.
        (Some(own), Some("null"), false),
        (None, None, false),
    ] {
        check(&hosts, page, origin, expected);
    }
}

#[test]
fn clients_without_a_page_need_none() {
    let hosts = json!(["example.com", "none"]);
    check(&hosts, None, None, true);
    check(&hosts, None, Some("null"), true);
    check(&hosts, None, Some("file://"), true);
    check(&hosts, Some("https://example.com/"), None, true);
    check(&hosts, Some("https://evil.example/"), None, false);
}

#[test]
fn a_star_is_for_all_subdomains() {
    let hosts = json!(["*.example.com"]);
    for (page, expected) in [
        ("https://www.example.com/", true),
        ("https://a.b.example.com:8080/", true),
        ("https://WWW.Example.com./", true),
        ("https://example.com/", false),
        ("https://badexample.com/", false),
        ("https://www.example.com.evil.example/", false),
    ] {
        check(&hosts, Some(page), None, expected);
    }
}

#[test]
fn hosts_are_as_the_url_parser_has_them() {
    check(&json!(["B\u{fc}cher.example"]), Some("https://xn--bcher-kva.example/"), None, true);
    check(&json!(["[::1]"]), Some("http://[0:0::1]:3000/"), None, true);
    check(&json!(["127.0.0.1"]), Some("http://127.1/"), None, true);
    check(
        &json!(["localhost"]),
        Some("capacitor://LOCALHOST/"),
        Some("capacitor://localhost"),
        true,
    );
}

#[test]
fn settings_that_cannot_be_are_named() {
    let refused = |members: Value| settings(&members).unwrap_err().to_string();
    for host in [
        "",
        "*",
        "*.",
        "https://example.com",
        "example.com:80",
        "a/b",
        "a b",
        "*.*.com",
        "*.127.0.0.1",
        "a..b",
    ] {
        let refused = refused(json!({ "hosts": [host] }));
        assert!(
            refused.starts_with(&format!("`hosts` has {host:?}: it must be a host name")),
            "{refused}"
        );
    }
    for page in ["", "reset/*", "/reset", "/re*", "/a?*", "/a/*#", "/ /*"] {
        let refused = refused(json!({ "pages": [page] }));
        assert!(
            refused.starts_with(&format!("`pages` has {page:?}: it must be a path")),
            "{refused}"
        );
    }
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for name in [json!(7), json!(long), json!("a\nb")] {
        assert!(refused(json!({ "name": name })).contains("at most 100 bytes"));
    }
    let many = vec!["example.com"; PATTERNS_MAX + 1];
    assert!(refused(json!({ "hosts": many })).contains("at most 100 texts"));
    assert!(refused(json!({ "host": "a" })).contains("one of name, hosts, pages, limits"));
    assert!(refused(json!({ "limits": { "joins": 5 } })).contains("joins=NUMBER/second"));
}

#[test]
fn settings_are_replaced_one_by_one() {
    let all = json!({
        "name": "Shop", "hosts": ["a.example", "*.a.example", "none"], "pages": ["/u/*/watch", "/reset/*"],
        "limits": { "videos": "5", "joins": "7/day" },
    });
    let full = settings(&all).unwrap();
    assert_eq!(Value::Object(full.to_json()), all);
    assert_eq!(KeySettings::decode(full.encode().as_deref()), full);
    let changed =
        full.with_json(json!({ "name": null, "pages": [] }).as_object().unwrap()).unwrap();
    assert_eq!(
        Value::Object(changed.to_json()),
        json!({ "hosts": all["hosts"], "limits": all["limits"] })
    );
    let limits = changed.limits(&Limits::default());
    assert_eq!((limits.videos, limits.joins.per_key), (5, "7/day".parse().ok()));
    assert_eq!(KeySettings::default().encode(), None);
    assert_eq!(KeySettings::decode(None), KeySettings::default());
}

#[test]
fn limits_are_replaced_one_by_one() {
    let full = settings(&json!({ "limits": { "videos": 5, "joins": "7/day", "events": "none" } }));
    let change = |settings: &KeySettings, limits: Value| {
        let members = json!({ "limits": limits });
        settings.changed(&SettingsChange::from_json(members.as_object().unwrap().clone()).unwrap())
    };
    let changed = change(&full.unwrap(), json!({ "videos": 6, "joins": null, "new_pages": null }));
    assert_eq!(
        Value::Object(changed.to_json()),
        json!({ "limits": { "videos": "6", "events": "none" } })
    );
    assert_eq!(change(&changed, json!({})), changed);
    assert_eq!(change(&changed, Value::Null), KeySettings::default());
    let unknown = json!({ "limits": { "vidoes": null } });
    let unknown = SettingsChange::from_json(unknown.as_object().unwrap().clone());
    assert!(unknown.unwrap_err().to_string().contains("one of videos, pages"));
}

/// Readable members apply, and a change of one member never loses the unreadable ones.
#[test]
fn settings_of_later_versions_and_damaged_ones_are_kept() {
    let decode = |stored: &Value| KeySettings::decode(Some(&stored.to_string()));
    let later = json!({ "colour": 7, "name": "Shop", "hosts": ["a.example"], "limits": { "videos": "5", "replays": "9/week" } });
    let settings = decode(&later);
    assert_eq!((settings.name(), settings.is_readable()), (Some("Shop"), true));
    assert!(settings.allows(Source::parse("https://a.example/").as_ref(), None));
    assert!(!settings.allows(Source::parse("https://b.example/").as_ref(), None));
    assert_eq!(settings.limits(&Limits::default()).videos, 5);
    let renamed = json!({ "name": "Other" }).as_object().unwrap().clone();
    let renamed = settings.changed(&SettingsChange::from_json(renamed).unwrap());
    let stored: Value = serde_json::from_str(&renamed.encode().unwrap()).unwrap();
    let expected =
        json!({ "colour": 7, "name": "Other", "hosts": ["a.example"], "limits": later["limits"] });
    assert_eq!(stored, expected);

    // Unreadable hosts or page patterns allow no caller: anyone might send, or a page might be personal.
    let page = Source::parse("https://a.example/");
    for damaged in [json!({ "hosts": 1 }), json!({ "pages": ["reset"] }), json!(7), json!("{")] {
        let settings = decode(&damaged);
        assert!(!settings.is_readable() && !settings.allows(page.as_ref(), None), "{damaged}");
        assert_eq!(KeySettings::decode(settings.encode().as_deref()), settings);
        let reset = json!({ "hosts": null, "pages": null }).as_object().unwrap().clone();
        let reset = settings.changed(&SettingsChange::from_json(reset).unwrap());
        assert_eq!(reset, KeySettings::default());
    }
    for harmless in
        [json!({ "name": 7 }), json!({ "limits": 7 }), json!({ "limits": { "joins": [] } })]
    {
        assert!(decode(&harmless).allows(page.as_ref(), None), "{harmless}");
    }
}

#[test]
fn the_first_pattern_that_matches_counts() {
    let settings = settings(&json!({ "pages": ["/u/*/watch", "/u/*"] })).unwrap();
    for (page, expected) in [
        ("https://a.example/u/me/watch", "https://a.example/u/*/watch"),
        ("https://a.example/u/me/watch/", "https://a.example/u/*"),
        ("https://a.example:8080/u/", "https://a.example:8080/u/*"),
        ("https://a.example/u", "https://a.example/u"),
        ("https://a.example/U/me", "https://a.example/U/me"),
    ] {
        let reduced = settings.reduce(Source::parse(page).unwrap());
        assert_eq!(reduced.as_str(), expected);
        assert_eq!(Source::parse(expected), Some(reduced));
    }
}

/// Compares label by label, from the last to the first.
fn naive_host(pattern: &str, host: &str) -> bool {
    let labels = |text: &str| -> Vec<String> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        text.split('.').rev().map(str::to_owned).collect()
    };
    let (is_parent, pattern) = match pattern.strip_prefix("*.") {
        Some(parent) => (true, labels(parent)),
        None => (false, labels(pattern)),
    };
    let host = labels(host);
    let is_below = host.len() > pattern.len() && host[..pattern.len()] == pattern[..];
    if is_parent { is_below && !host[pattern.len()].is_empty() } else { host == pattern }
}

/// Tries every way to give a star a text.
fn naive_page(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        (b"*", _) => true,
        ([b'*', rest @ ..], path) => (0..=path.len())
            .take_while(|len| !path[..*len].contains(&b'/'))
            .any(|len| naive_page(rest, &path[len..])),
        ([one, rest @ ..], [other, path @ ..]) => one == other && naive_page(rest, path),
        ([], []) => true,
        _ => false,
    }
}

proptest! {
    #[test]
    fn hosts_match_as_label_by_label(
        pattern in "(\\*\\.)?[ab]{1,2}(\\.[ab]{1,2}){0,2}",
        host in "[abAB]{1,2}(\\.[abAB]{1,2}){0,3}\\.?",
    ) {
        let parsed = HostPattern::parse(&pattern).unwrap();
        prop_assert_eq!(parsed.matches(Some(&host)), naive_host(&pattern, &host));
        prop_assert_eq!(HostPattern::parse(&parsed.to_string()), Some(parsed));
    }

    #[test]
    fn pages_match_as_tried_one_by_one(
        pattern in "(/([ab]{0,2}|\\*)){0,3}/\\*(/([ab]{1,2}|\\*)){0,2}",
        path in "(/[ab]{0,2}){1,6}",
    ) {
        let parsed = PagePattern::parse(&pattern).unwrap();
        prop_assert_eq!(parsed.as_str(), &pattern);
        prop_assert_eq!(parsed.matches(&path), naive_page(pattern.as_bytes(), path.as_bytes()));
    }

    #[test]
    fn any_text_is_settings_or_refused(text in "\\PC{0,40}|[a*./:\\[\\]%?#-]{0,12}", host in "\\PC{0,20}") {
        if let Some(pattern) = HostPattern::parse(&text) {
            pattern.matches(Some(&host));
            prop_assert_eq!(HostPattern::parse(&pattern.to_string()), Some(pattern));
        }
        if let Some(pattern) = PagePattern::parse(&text) {
            pattern.matches(&host);
            prop_assert_eq!(PagePattern::parse(pattern.as_str()), Some(pattern));
        }
        let members = json!({ "name": text, "hosts": [text], "pages": [text], "limits": { text: host } });
        for (member, value) in members.as_object().unwrap() {
            if let Ok(settings) = settings(&json!({ member: value })) {
                prop_assert_eq!(KeySettings::decode(settings.encode().as_deref()), settings);
            }
        }
    }

    #[test]
    fn a_reduced_page_is_a_page(path in "(/[a-z%.\u{e4}*]{0,3}){0,5}", pattern in "(/[a-z.]{0,3}){0,2}/\\*(/[a-z]{0,3}){0,2}") {
        if let (Some(page), Some(pattern)) =
            (Source::parse(&format!("https://a.example{path}")), PagePattern::parse(&pattern))
        {
            let reduced = page.with_path(pattern.as_str());
            prop_assert_eq!(Source::parse(reduced.as_str()), Some(reduced.clone()));
            prop_assert_eq!(Source::stored(reduced.as_str()), Some(reduced));
        }
    }
}
