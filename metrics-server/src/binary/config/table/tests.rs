//! The table of settings agrees with `--help`, with defaults elsewhere, and with the documentation.

use std::path::Path;

use metrics_core::store::TimescaleOptions;

use super::super::Command;
use super::super::memory::MEMORY_MIN;
use super::super::tests::{check_refused, read};
use super::*;

/// The files that may have the table of settings for operators.
const DOCUMENTS: [&str; 2] = ["../docs/operate.md", "../README.md"];

fn help_of(arguments: &[&str]) -> String {
    read(&[arguments, &["--help"]].concat(), &[]).unwrap_err().to_string()
}

#[test]
fn the_help_of_a_command_describes_its_settings() {
    let of_server = help_of(&[]);
    for about in SETTINGS {
        let name = if about.flag.is_empty() { about.variable } else { about.flag };
        let begins = |text: &str| {
            let rest = |line: &str| {
                line.strip_prefix("  ").and_then(|line| line.strip_prefix(name)).map(str::to_owned)
            };
            text.lines()
                .filter_map(rest)
                .any(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
        };
        assert!(begins(&of_server), "{name} is not in {of_server}");
        let words = about.help.split(' ').take(3).collect::<Vec<_>>().join(" ");
        assert!(of_server.contains(&words), "{words} is not in {of_server}");
        for command in [&["keys", "list"][..], &["delete"], &["import", "mave"], &["health"]] {
            let help = help_of(command);
            assert_eq!(begins(&help), about.is_of(command[0]), "{name}: {help}");
        }
    }
    assert!(of_server.contains("\nUsage: metrics-server [OPTIONS] [COMMAND]\n"), "{of_server}");
    assert!(
        help_of(&["keys", "revoke"])
            .contains("\nUsage: metrics-server keys revoke [OPTIONS] <KEY>\n")
    );
    assert!(of_server.lines().all(|line| line.chars().count() <= 100), "{of_server}");
}

#[test]
fn defaults_in_words_are_those_of_the_code() {
    let limits = Limits::default();
    assert_eq!(read(&[], &[]).unwrap().limits, limits);
    assert_eq!(VIDEOS_PER_KEY.about.default.text(), limits.videos.to_string());
    assert_eq!(PAGES_PER_KEY.about.default.text(), limits.pages.to_string());
    assert_eq!(MEMORY_MIN, 96 << 20);
    let connections = TimescaleOptions::default().connections;
    assert_eq!(DATABASE_CONNECTIONS.about.default.text(), connections.to_string());
    assert_eq!(TimescaleOptions::CONNECTIONS_MIN, 5);
}

/// The names of each setting in that table, a flag, a variable, or both, and the default.
fn documented() -> Vec<(String, String, String)> {
    let read =
        |path| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok();
    let texts: Vec<String> = DOCUMENTS.into_iter().filter_map(read).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    let of_settings = lines
        .skip_while(|line| !line.starts_with("| `--listen` |"))
        .take_while(|line| line.starts_with('|'));
    let mut settings = Vec::new();
    for line in of_settings {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [_, flag, variables, default, ..] = &cells[..] else { panic!("{line}") };
        for variable in variables.split(", ") {
            settings.push((flag.clone(), variable.to_owned(), default.clone()));
        }
    }
    settings
}

#[test]
fn operators_read_of_every_setting_and_its_default() {
    let mut documented = documented();
    for (_, _, default) in &mut documented {
        // Rate limits have a table of their own.
        if default.starts_with("see ") {
            LIMITS.about.default.text().clone_into(default);
        }
    }
    let described = SETTINGS.iter().map(|about| {
        let names = (about.flag.to_owned(), about.variable.to_owned());
        (names.0, names.1, about.default.text().to_owned())
    });
    let mut described: Vec<_> = described.collect();
    described.sort();
    documented.sort();
    assert_eq!(documented, described, "the table of {DOCUMENTS:?} and that of table.rs differ");
}

#[test]
fn a_flag_of_another_command_is_refused_and_its_variable_ignored() {
    for (arguments, expected) in [
        (
            &["health", "--retention", "1 year"][..],
            "`health` does not take --retention, which is for the server and `delete`",
        ),
        (
            &["--page", "off", "keys", "list"],
            "`keys list` does not take --page, which is for the server",
        ),
        (
            &["keys", "list", "--listen=[::1]:80"],
            "`keys list` does not take --listen, which is for the server and `health`",
        ),
    ] {
        check_refused(arguments, &[], expected);
    }
    let others =
        [("METRICS_LISTEN", "nowhere"), ("METRICS_BOTS", "perhaps"), ("METRICS_LIMITS", "x")];
    let config = read(&["keys", "list"], &others).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
    assert!(read(&["health"], &others[..1]).is_err());
    // Before and behind the command.
    for arguments in [
        &["--retention", "2 years", "delete", "--dry-run"][..],
        &["delete", "--dry-run", "--retention", "2 years"],
        &["--retention", "1 year", "delete", "--retention", "2 years", "--dry-run"],
    ] {
        let config = read(arguments, &[("METRICS_RETENTION", "3 years")]).unwrap();
        assert_eq!(config.retention, Some("2 years".parse().unwrap()), "{arguments:?}");
    }
    // A flag of its own.
    let erase = read(&["erase", "--page", "https://a.example/reset/", "--dry-run"], &[]).unwrap();
    assert!(matches!(erase.command, Some(Command::Erase { dry_run: true, .. })));
}

#[test]
fn settings_of_access_are_read_or_refused() {
    let secret = ("METRICS_TOKEN_SECRET", "a secret of thirty-two bytes or more");
    let proxy = [
        ("METRICS_USER_HEADER", "remote-user"),
        ("METRICS_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8"),
    ];
    let groups =
        [("METRICS_GROUPS_HEADER", "remote-groups"), ("METRICS_GROUP_ROLES", "a=owner, *=viewer")];
    assert!(read(&[], &[secret]).unwrap().settings.tokens.is_some());
    let all = [&proxy[..], &groups, &[secret]].concat();
    assert!(read(&[], &all).unwrap().settings.users.is_some());
    assert!(read(&[], &[proxy[0], proxy[1], ("METRICS_GROUP_ROLES", "*=editor")]).is_ok());
    // A server with users may listen everywhere.
    let everywhere = [proxy[0], proxy[1], ("METRICS_LISTEN", "0.0.0.0:3000")];
    assert!(read(&[], &everywhere).is_ok());
    let missing = "/nowhere/at/all";
    for (environment, expected) in [
        (vec![("METRICS_TOKEN_SECRET", "short")], "METRICS_TOKEN_SECRET must be a secret"),
        (vec![("METRICS_TOKEN_SECRET_FILE", missing)], "which cannot be read"),
        (vec![secret, ("METRICS_TOKEN_SECRET_FILE", "Cargo.toml")], "exclude each other"),
        (vec![("METRICS_USERS", missing)], "which cannot be read"),
        (vec![("METRICS_USERS", "Cargo.toml")], "which is no file of users: line 1"),
        (vec![proxy[0]], "must both be set"),
        (vec![proxy[1]], "must both be set"),
        (vec![groups[0]], "must both be set"),
        (vec![proxy[0], proxy[1], groups[1]], "needs METRICS_GROUPS_HEADER"),
        (vec![("METRICS_GROUP_ROLES", "a=root")], "it must be pairs"),
        (vec![("METRICS_TRUSTED_PROXIES", "localhost")], "it must be networks"),
        (vec![proxy[0], proxy[1], ("METRICS_AUTH_ENABLED", "false")], "unset one of them"),
    ] {
        let refused = read(&[], &environment).unwrap_err().to_string();
        assert!(refused.contains(expected), "{environment:?}: {refused}");
    }
}
