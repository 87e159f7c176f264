//! Settings of keys, pages and dimensions: what of a session is recorded.

use metrics_core::arrival::ArrivalPart;

use super::*;

#[test]
fn limits_and_pages_are_read() {
    let config = read(&[], &[]).unwrap();
    assert_eq!((config.limits, config.page_detail), (Limits::default(), PageDetail::Path));
    let environment = [
        ("METRICS_LIMITS", "joins=5/hour, joins_per_address=none,,videos=7"),
        ("METRICS_PAGES_PER_KEY", "9"),
        ("METRICS_PAGES", "host"),
    ];
    let config = read(&[], &environment).unwrap();
    let joins = config.limits.joins;
    assert_eq!((joins.per_key, joins.per_address), ("5/hour".parse().ok(), None));
    assert_eq!((config.limits.videos, config.limits.pages), (7, 9));
    assert_eq!(config.page_detail, PageDetail::Host);
    for (name, value, expected) in [
        (
            "METRICS_LIMITS",
            "joins=5",
            "METRICS_LIMITS: `limits` has \"joins=5\": it must be joins=NUMBER/second",
        ),
        (
            "METRICS_LIMITS",
            "plays=5/day",
            "METRICS_LIMITS: `limits` has \"plays\": it must be one of videos, pages",
        ),
        ("METRICS_PAGES_PER_KEY", "0", "METRICS_PAGES_PER_KEY is \"0\": it must be a number"),
        ("METRICS_PAGES", "all", "METRICS_PAGES is \"all\": it must be path, host or none"),
        (
            "METRICS_BOT_NETWORKS",
            "/no/such/file",
            "METRICS_BOT_NETWORKS is \"/no/such/file\", which cannot be read",
        ),
        (
            "METRICS_WEBHOOKS",
            "/no/such/file",
            "METRICS_WEBHOOKS is \"/no/such/file\", which cannot be used: the file cannot be read: ",
        ),
    ] {
        let refused = read(&[], &[(name, value)]).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn settings_of_keys_are_read() {
    let flags = [
        "keys",
        "create",
        "--name",
        "Shop",
        "--host",
        "a.example",
        "--host",
        "*.a.example",
        "--page-pattern",
        "/reset/*",
        "--limit",
        "joins=5/day",
        "my-key",
    ];
    let settings = serde_json::json!({ "name": "Shop", "hosts": ["a.example", "*.a.example"], "pages": ["/reset/*"],
        "limits": { "joins": "5/day" } });
    let key = ApiKey::new("my-key").unwrap();
    let members = settings.as_object().unwrap();
    let expected = metrics_core::key::KeySettings::from_json(members).unwrap();
    let created = KeysCommand::Create(Some(key.clone()), expected);
    assert_eq!(read(&flags, &[]).unwrap().command, Some(Command::Keys(created)));
    for (flags, members) in [
        (&["--name", "", "--host", ""][..], serde_json::json!({ "name": "", "hosts": [] })),
        (
            &["--limit", "joins=", "--limit", "videos=5"],
            serde_json::json!({ "limits": { "joins": null, "videos": "5" } }),
        ),
        (&["--limit", ""], serde_json::json!({ "limits": null })),
    ] {
        let change = [&["keys", "change", "my-key"], flags].concat();
        let members = members.as_object().unwrap().clone();
        let expected = metrics_core::key::SettingsChange::from_json(members).unwrap();
        let changed = KeysCommand::Change(key.clone(), expected);
        assert_eq!(read(&change, &[]).unwrap().command, Some(Command::Keys(changed)));
    }
    let restored = Command::Keys(KeysCommand::Restore(key));
    assert_eq!(read(&["keys", "restore", "my-key"], &[]).unwrap().command, Some(restored));
    for (flags, expected) in [
        (&["keys", "change", "my-key"][..], "a setting to change is missing"),
        (&["keys", "create", "--host", "https://a.example"], "`hosts` has"),
        (&["keys", "create", "--limit", "joins"], "`limits` has"),
    ] {
        let refused = read(flags, &[]).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn imports_keep_as_much_of_pages_as_servers() {
    let pages = [("METRICS_PAGES", "host")];
    for import in [&["import", "sessions", "-"][..], &["import", "mave", "postgres://a/b"]] {
        assert_eq!(read(import, &pages).unwrap().page_detail, PageDetail::Host);
    }
}

#[test]
fn dimensions_are_read() {
    let parts = |value| read(&[], &[("METRICS_DIMENSIONS", value)]).unwrap().arrival_parts;
    assert_eq!(read(&[], &[]).unwrap().arrival_parts, ArrivalPart::ALL);
    assert_eq!(parts("none"), []);
    assert_eq!(parts("country, referrer"), [ArrivalPart::Country, ArrivalPart::Referrer]);
    let import = read(&["import", "sessions", "-"], &[("METRICS_DIMENSIONS", "country")]);
    assert_eq!(import.unwrap().arrival_parts, [ArrivalPart::Country]);
}
