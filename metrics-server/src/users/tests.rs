//! Files of users, sessions and headers of proxies, and all ways to forge one.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use hyper::header::HeaderName;
use serde_json::json;
use tokio::task::JoinSet;

use super::list::parse;
use super::session::{found, opened_session, signed};
use super::*;
use crate::access::Role;
use crate::attempts::Attempts;

/// In Unix milliseconds.
const NOW: i64 = 1_800_000_000_000;

/// The hash of `password`, at a cost that tests can afford.
const HASH: &str =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

#[test]
fn a_line_is_a_user() {
    let text = format!(
        "# users\n\nada owner {HASH}\n  ben\tviewer {HASH} {{\"key\": \"a\", \"metrics\": [\"plays\"]}}\n"
    );
    let users = parse(&text).unwrap();
    let me = |name: &str| {
        let grant = users[name].grant();
        (grant.user().map(str::to_owned), grant.is_all(), grant.within().to_json())
    };
    let narrow = json!({ "key": "a", "metrics": ["plays"] });
    assert_eq!(me("ada"), (Some("ada".to_owned()), true, serde_json::Map::new()));
    assert_eq!(me("ben"), (Some("ben".to_owned()), false, narrow.as_object().unwrap().clone()));
}

#[test]
fn a_line_that_is_no_user_is_named() {
    for (line, expected) in [
        ("ada", "must have NAME ROLE HASH"),
        ("ada owner", "must have NAME ROLE HASH"),
        ("ada admin HASH", "must have the role"),
        ("ada owner secret", "must have a hash"),
        ("a:b owner HASH", "without a colon"),
        ("ada owner HASH a", "must have NAME ROLE HASH"),
        ("ada owner HASH []", "must have NAME ROLE HASH"),
        ("ada owner HASH {\"keys\": \"a\"}", "`keys`, which is none of"),
        ("ada owner HASH {\"key\": null}", "is invalid: `key`"),
        ("ada owner HASH {\"key\": \"a\", \"key\": \"b\"}", "no member twice"),
        ("ada owner HASH {\"filters\": [[\"is\", \"hour_of_day\", [\"1\"]]]}", "is invalid"),
        ("root owner HASH", "has the name of an earlier line"),
        ("Root viewer HASH", "has the name of an earlier line"),
    ] {
        let text = format!("root owner {HASH}\n{}", line.replace("HASH", HASH));
        let err = parse(&text).unwrap_err().to_string();
        assert!(err.starts_with("line 2 ") && err.contains(expected), "{line}: {err}");
    }
}

#[test]
fn a_session_is_that_of_its_user_until_it_ends() {
    let (secret, other) = ([7; 32], [8; 32]);
    let text = signed(&secret, "ada", "proof", NOW);
    let session = opened_session(&secret, &text, NOW).unwrap();
    let until = NOW + 12 * 3_600_000;
    assert_eq!((&*session.user, &*session.proof, session.until_ms), ("ada", "proof", until));
    assert!(opened_session(&secret, &text, until - 1).is_some());
    assert_eq!(opened_session(&secret, &text, until), None);
    assert_eq!(opened_session(&other, &text, NOW), None);
    for forged in ["", "a.b.c", &text[1..], &format!("{text}A")] {
        assert_eq!(opened_session(&secret, forged, NOW), None, "{forged}");
    }
}

#[test]
fn a_cookie_is_found_if_it_is_the_only_one() {
    let find = |lines: &[&str]| {
        let lines = lines.iter().map(|line| (hyper::header::COOKIE, line.parse().unwrap()));
        found(&HeaderMap::from_iter(lines))
    };
    assert_eq!(find(&["a=b; metrics_session=c.d.e; f=g"]), Some("c.d.e".to_owned()));
    assert_eq!(find(&["metrics_session=c"]), Some("c".to_owned()));
    assert_eq!(find(&["metrics_session=c; metrics_session=d"]), None);
    assert_eq!(find(&["metrics_session="]), None);
    assert_eq!(find(&["xmetrics_session=c"]), None);
    assert_eq!(find(&[]), None);
}

#[test]
fn a_cookie_is_for_the_page_alone() {
    let secure = cookie("a", "/x", true);
    assert_eq!(
        secure,
        "metrics_session=a; Path=/x/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure"
    );
    assert!(!cookie("a", "", false).contains("Secure"));
    assert!(expired_cookie("").starts_with("metrics_session=; Path=/; Max-Age=0;"));
}

#[track_caller]
fn check_proxy(
    address: &str,
    lines: &[(&'static str, &str)],
    expected: Option<(&str, Option<Role>)>,
) {
    let name = |text: &'static str| HeaderName::from_static(text);
    let roles = [("admins", Role::Owner), ("staff", Role::Viewer)];
    let roles = roles.map(|(group, role)| (group.to_owned(), role));
    let proxies = "10.0.0.0/8\n127.0.0.1".parse().unwrap();
    let headers = UserHeaders::new(name("remote-user"), proxies);
    let headers = headers.groups(name("remote-groups"), roles);
    let lines =
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    let sent: HeaderMap = lines.collect();
    let found = headers.user(CallerAddress(address.parse().unwrap()), &sent);
    assert_eq!(found, expected.map(|(name, role)| (name.to_owned(), role)));
}

#[test]
fn only_a_trusted_proxy_names_users() {
    let user = ("remote-user", "ada");
    check_proxy("10.1.2.3", &[user], Some(("ada", None)));
    check_proxy("::ffff:10.1.2.3", &[user], Some(("ada", None)));
    check_proxy("11.1.2.3", &[user], None);
    check_proxy("::1", &[user], None);
    check_proxy("10.1.2.3", &[], None);
    check_proxy("10.1.2.3", &[("remote-user", " ")], None);
    check_proxy("10.1.2.3", &[user, ("remote-user", "root")], None);
    let groups = |groups| ("remote-groups", groups);
    check_proxy("10.1.2.3", &[user, groups("staff, admins")], Some(("ada", Some(Role::Owner))));
    check_proxy("10.1.2.3", &[user, groups("staff")], Some(("ada", Some(Role::Viewer))));
    check_proxy("10.1.2.3", &[user, groups("administrators")], Some(("ada", None)));
    check_proxy("10.1.2.3", &[user, groups("staff"), groups("admins")], None);
    check_proxy("11.1.2.3", &[user, groups("admins")], None);
}

#[tokio::test]
async fn a_password_is_checked_again_after_it_was_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    std::fs::write(&file, format!("ada viewer {HASH}\n")).unwrap();
    let users = Users::open(&file).unwrap();
    let users = users.operator(Credentials::new("root", "toor").unwrap());
    let caller = Caller::default();
    let is_right = async |given: &str| users.grant(&caller, given.as_bytes()).await.is_ok();
    // Twice: the second time, the right one is remembered.
    for _ in 0..2 {
        assert!(is_right("ada:password").await && is_right("root:toor").await);
        for wrong in
            ["ada:Password", "ada:", "ada", "", "ben:password", "root:password", "ada:toor"]
        {
            assert!(!is_right(wrong).await, "{wrong}");
        }
        assert!(!is_right(&format!("ada:{}", "a".repeat(2_000))).await);
    }
    assert_eq!(format!("{users:?}"), "Users(..)");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_file_counts_and_a_damaged_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let write = |text: String| std::fs::write(&file, text).unwrap();
    write(format!("ada viewer {HASH}\n"));
    let users = Users::open(&file).unwrap();
    let names = async || {
        tokio::time::advance(Duration::from_secs(2)).await;
        let list = users.list().await;
        let mut names: Vec<_> = list.users.keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names().await, ["ada"]);
    let proof_of = |name: &str| users.proof(&users.inner.list.last(), name);
    let proof = proof_of("ada");
    write(format!("ada viewer {HASH}\nben viewer {HASH}\n"));
    assert_eq!(names().await, ["ada", "ben"]);
    assert_eq!(proof_of("ada"), proof);
    write("nonsense".to_owned());
    assert_eq!(names().await, ["ada", "ben"]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(names().await, ["ada", "ben"]);
    write(format!("ben viewer {HASH} {{\"key\": \"a\"}}\n"));
    assert_eq!(names().await, ["ben"]);
    assert_eq!(proof_of("ada"), None);
    let other = hash_password("password").unwrap();
    write(format!("ada viewer {other}\n"));
    assert_eq!(names().await, ["ada"]);
    assert_ne!(proof_of("ada"), proof);
}

#[tokio::test]
async fn a_token_has_no_more_rights_than_its_user_has_now() {
    let keys = |names: &[&str]| {
        let keys = names.iter().map(|name| metrics_core::ApiKey::new(name).unwrap());
        Confinement::of_keys(keys.collect())
    };
    let filter = r#"{"filters": ["is", "device", ["mobile"]], "metrics": ["plays"]}"#;
    let text = format!(
        "ada owner {HASH}\neve editor {HASH} {{\"key\": \"a\"}}\nvic viewer {HASH}\nfay editor {HASH} {filter}\n"
    );
    let users = of_file(&text).operator(Credentials::new("root", "toor").unwrap());
    let all = Confinement::default;
    for (name, within, expected) in [
        ("ada", all(), Some(all())),
        ("ADA", keys(&["b"]), Some(keys(&["b"]))),
        ("root", keys(&["b"]), Some(keys(&["b"]))),
        ("Root", all(), None),
        ("vic", all(), None),
        ("nobody", all(), None),
        ("eve", all(), Some(keys(&["a"]))),
        ("eve", keys(&["a"]), Some(keys(&["a"]))),
        ("eve", keys(&["a", "b"]), None),
        ("eve", keys(&["b"]), None),
    ] {
        assert_eq!(users.within_rights_of(name, within).await, expected, "{name}");
    }
    // A token that repeats the limits of its user is no larger for it.
    let once = users.within_rights_of("fay", all()).await.unwrap();
    assert!(!once.is_all());
    assert_eq!(users.within_rights_of("fay", once.clone()).await, Some(once));
}

#[test]
fn a_user_who_signed_out_has_one_record() {
    assert_eq!(session::record_of("Ada"), session::record_of("aDA"));
    assert_ne!(session::record_of("ada"), session::record_of("ben"));
    // No key and no id of a token begins so.
    assert!(session::record_of("ada").starts_with('\n'));
}

/// Users of a file with this text.
fn of_file(text: &str) -> Users {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    std::fs::write(&file, text).unwrap();
    Users::open(&file).unwrap()
}

fn at_address() -> Caller {
    Arc::new(Attempts::default()).of(Some(CallerAddress([203, 0, 113, 7].into())))
}

#[tokio::test]
async fn a_name_in_another_case_is_the_same_user() {
    let users = of_file(&format!("Kim viewer {HASH} {{\"key\": \"a\"}}\n"));
    let name: HeaderName = "remote-user".parse().unwrap();
    let groups: HeaderName = "remote-groups".parse().unwrap();
    let headers = UserHeaders::new(name.clone(), "10.0.0.0/8".parse().unwrap());
    let users = users.headers(headers.groups(groups, [("*".to_owned(), Role::Owner)]));
    let caller = at_address();
    for text in ["Kim", "kim", "KIM"] {
        let given = format!("{text}:password");
        let basic = users.grant(&caller, given.as_bytes()).await.unwrap();
        let request = http::Request::builder().header(&name, text);
        let request = request.extension(CallerAddress([10, 0, 0, 1].into()));
        let (head, ()) = request.body(()).unwrap().into_parts();
        let of_proxy = users.of_proxy(&head).await.unwrap();
        let session = users.sign_in(&caller, text, "password", NOW).await.unwrap();
        let cookie = format!("metrics_session={session}").parse().unwrap();
        let headers = HeaderMap::from_iter([(hyper::header::COOKIE, cookie)]);
        let of_session = users.of_session(&headers, NOW).await.unwrap();
        for grant in [basic, of_proxy, of_session] {
            assert_eq!((grant.user(), grant.is_all()), (Some("Kim"), false), "{text}");
        }
    }
}

#[tokio::test]
async fn a_proof_discloses_neither_the_hash_nor_the_password() {
    let make = || {
        let users = of_file(&format!("ada viewer {HASH}\n"));
        users.operator(Credentials::new("root", "toor").unwrap())
    };
    let (users, others) = (make(), make());
    let digest = BASE64_STANDARD_NO_PAD.encode(Sha256::digest("root:toor"));
    for name in ["ada", "root"] {
        let [proof, other] = [&users, &others].map(|users| {
            let list = users.inner.list.last();
            users.proof(&list, name).unwrap()
        });
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(&proof).unwrap().len(), 16);
        // The proof depends on the secret of sessions.
        assert_ne!(proof, other);
        assert!(!HASH.contains(&proof) && !digest.contains(&proof));
    }
}

/// The guesses of an address that are checked before the first is refused.
const GUESSES: usize = 20;

#[tokio::test]
async fn concurrent_sign_ins_never_exceed_the_limit() {
    let users = of_file(&format!("ada viewer {HASH}\n"));
    let caller = at_address();
    let mut guesses = JoinSet::new();
    for number in 0..150 {
        let (users, caller) = (users.clone(), caller.clone());
        guesses.spawn(async move {
            let given = format!("ada:guess{number}");
            users.grant(&caller, given.as_bytes()).await.map(drop)
        });
    }
    let mut checked = 0;
    while let Some(guess) = guesses.join_next().await {
        match guess.unwrap() {
            Err(Error::Unauthorized) => checked += 1,
            Err(Error::TooManyAttempts(err)) => {
                assert!(err.retry_after <= Duration::from_secs(15), "{err:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(checked, GUESSES);
}

#[tokio::test]
async fn guesses_of_callers_that_disconnect_count() {
    let (users, caller) = (Users::none(), at_address());
    let mut checked = 0;
    for number in 0..2 * GUESSES {
        let given = format!("ada:guess{number}");
        let mut guess = pin!(users.grant(&caller, given.as_bytes()));
        match guess.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending | Poll::Ready(Err(Error::Unauthorized)) => checked += 1,
            Poll::Ready(result) => {
                assert!(matches!(result, Err(Error::TooManyAttempts(_))), "{number}");
            }
        }
    }
    assert_eq!(checked, GUESSES);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_waits_in_vain_is_no_guess() {
    let (users, caller) = (Users::none(), at_address());
    let hashing = &users.inner.hashing;
    let _permits = (hashing.permit().await.unwrap(), hashing.permit().await.unwrap());
    for number in 0..2 * GUESSES {
        let given = format!("ada:guess{number}");
        let result = users.grant(&caller, given.as_bytes()).await;
        assert!(matches!(result, Err(Error::Busy)), "{number}");
    }
}
