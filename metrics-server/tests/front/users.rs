//! Users of a file at a server: Basic authentication, the form, sessions, roles, and users that a proxy names.

use std::fs;
use std::path::Path;

use metrics_server::{Credentials, Role, Settings, Tokens, UserHeaders, Users, hash_password};
use metrics_server_testing::{Answer, Database, Http, Process, Server, TestServer, binary};
use serde_json::{Value, json};

use super::tokens::{SECRET, guarded, record, token};

/// `NAME:password`, as a client sends it.
fn basic(name: &str) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:password")))
}

fn write(file: &Path, lines: &[(&str, &str, Value)]) {
    let hash = hash_password("password").unwrap();
    let lines = lines.iter().map(|(name, role, within)| format!("{name} {role} {hash} {within}\n"));
    fs::write(file, lines.collect::<String>()).unwrap();
}

fn settings(file: &Path) -> Settings {
    let tokens = Tokens::new(SECRET).unwrap();
    let users = Users::open(file).unwrap().sessions(&tokens);
    let users = users.operator(Credentials::new("root", "password").unwrap());
    Settings::default().tokens(tokens).users(users)
}

/// A server with users, and a play of each of two videos.
async fn shared() -> (TestServer, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    write(
        &file,
        &[
            ("ada", "owner", json!({})),
            ("eve", "editor", json!({})),
            ("vic", "viewer", json!({})),
            (
                "one",
                "viewer",
                json!({ "identifier": "one", "metrics": ["plays", "view_time", "unique_view_time"] }),
            ),
        ],
    );
    let server = Database::new().await.serve(settings(&file)).await;
    for (video, seconds) in [("one", 1.0), ("two", 2.0)] {
        let event = json!({ "key": server.key, "session_id": video, "embed_id": video });
        record(&server, &event, seconds).await;
    }
    (server, directory)
}

async fn get(server: &Server, path: &str, header: (&str, &str)) -> Answer {
    server.http("GET", path).header(header.0, header.1).send().await
}

fn seconds(answer: &Answer) -> f64 {
    let views = answer.json()["views"].as_array().unwrap().clone();
    views.iter().map(|it| it["total_view_time"].as_f64().unwrap()).sum()
}

fn form(http: Http, user: &str, password: &str) -> Http {
    let kind = "application/x-www-form-urlencoded";
    http.header("content-type", kind).body(format!("user={user}&password={password}"))
}

/// The cookie of a session of a user.
async fn signed_in(server: &Server, user: &str) -> String {
    let answer = form(server.http("POST", "/sign-in"), user, "password").send().await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("./")), "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap();
    for attribute in ["; Path=/;", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_it_is_for() {
    let (server, _directory) = shared().await;
    let requests = [
        ("GET", "/api/v1/plays", None),
        ("GET", "/api/v1/keys", None),
        ("PATCH", "/api/v1/keys/none", Some(json!({ "name": "None" }))),
        ("POST", "/api/v1/tokens", Some(json!({}))),
        ("DELETE", "/api/v1/tokens/none", None),
        ("POST", "/api/v1/erase", Some(json!({ "identifier": "none" }))),
        ("GET", "/metrics", None),
    ];
    for (user, expected) in [
        ("root", [200, 200, 404, 201, 200, 200, 200]),
        ("ada", [200, 200, 404, 201, 200, 200, 200]),
        ("eve", [200, 200, 404, 201, 200, 403, 403]),
        ("vic", [200, 403, 403, 403, 403, 403, 403]),
        ("one", [200, 403, 403, 403, 403, 403, 403]),
        ("nobody", [401; 7]),
    ] {
        let mut statuses = Vec::new();
        for (method, path, body) in &requests {
            let http = server.http(method, path).header("authorization", &basic(user));
            let http = body.iter().fold(http, |http, body| http.json(body));
            statuses.push(http.send().await.status);
        }
        assert_eq!(statuses, expected, "{user}");
    }
    let one = basic("one");
    let one = ("authorization", &*one);
    assert_eq!(seconds(&get(&server, "/api/v1/plays", one).await), 1.0);
    assert_eq!(get(&server, "/api/v1/watching", one).await.status, 403);
    let me = get(&server, "/api/v1/me", one).await.json();
    assert_eq!(
        me,
        json!({ "user": "one", "role": "viewer", "scope": null, "may": ["page", "reports", "live"],
            "keys": null, "within": { "identifier": ["one"], "metrics": ["plays", "view_time", "unique_view_time"] },
            "expires_at": null, "sign_out": false })
    );
    let page = String::from_utf8(get(&server, "/", one).await.body).unwrap();
    assert!(
        page.contains("&quot;within&quot;:&#123;&quot;identifier&quot;:[&quot;one&quot;]"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_the_form_and_ends() {
    let (server, _directory) = shared().await;
    let page = server.http("GET", "/").send().await;
    assert_eq!((page.status, page.header("location")), (303, Some("sign-in")));
    let shown = server.http("GET", "/sign-in").send().await;
    assert_eq!(shown.status, 200);
    assert!(shown.header("content-security-policy").unwrap().contains("form-action 'self'"));
    let cookie = signed_in(&server, "one").await;
    let session = ("cookie", &*cookie);
    assert_eq!(get(&server, "/", session).await.status, 200);
    assert_eq!(seconds(&get(&server, "/api/v1/plays", session).await), 1.0);
    let me = get(&server, "/api/v1/me", session).await.json();
    assert_eq!((&me["user"], &me["sign_out"]), (&json!("one"), &json!(true)));
    let root = signed_in(&server, "root").await;
    assert_eq!(seconds(&get(&server, "/api/v1/plays", ("cookie", &root)).await), 3.0);
    // Another instance accepts it, and so does this one after a restart.
    let out = server.http("POST", "/sign-out").header("cookie", &cookie).send().await;
    assert_eq!((out.status, out.header("location")), (303, Some("sign-in")));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    for forged in ["metrics_session=a.b.c", &format!("{cookie}A"), &format!("{cookie}; {root}")] {
        assert_eq!(get(&server, "/api/v1/plays", ("cookie", forged)).await.status, 401, "{forged}");
    }
    for (user, password) in [("one", "wrong"), ("nobody", "password"), ("", ""), ("root", "")] {
        let answer = form(server.http("POST", "/sign-in"), user, password).send().await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None), "{user}");
        assert!(String::from_utf8_lossy(&answer.body).contains("is wrong"), "{user}");
    }
}

/// Names that differ in case only are one user, who has the narrowing of the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_write_the_name_in_another_case() {
    let (server, _directory) = shared().await;
    let cookie = signed_in(&server, "ONE").await;
    for header in [("cookie", cookie), ("authorization", basic("One"))] {
        let header = (header.0, &*header.1);
        let me = get(&server, "/api/v1/me", header).await.json();
        assert_eq!((&me["user"], &me["role"]), (&json!("one"), &json!("viewer")));
        assert_eq!(seconds(&get(&server, "/api/v1/plays", header).await), 1.0);
    }
}

/// The browser has the proof, from which nobody can find the password or its hash.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_discloses_no_hash() {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
    let (server, _directory) = shared().await;
    for user in ["ada", "root"] {
        let cookie = signed_in(&server, user).await;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(cookie.split('.').nth(1).unwrap()).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let proof = payload["proof"].as_str().unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(proof).unwrap().len(), 16, "{payload}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_ends_a_session() {
    let (server, directory) = shared().await;
    let file = directory.path().join("users");
    let cookie = signed_in(&server, "vic").await;
    let another = server.database.serve(settings(&file)).await;
    assert_eq!(get(&another, "/api/v1/plays", ("cookie", &cookie)).await.status, 200);
    // A new hash of the same password is another password.
    write(&file, &[("vic", "viewer", json!({}))]);
    let restarted = server.database.serve(settings(&file)).await;
    assert_eq!(get(&restarted, "/api/v1/plays", ("cookie", &cookie)).await.status, 401);
    assert_eq!(
        get(&restarted, "/api/v1/plays", ("authorization", &basic("vic"))).await.status,
        200
    );
    assert_eq!(
        get(&restarted, "/api/v1/plays", ("authorization", &basic("eve"))).await.status,
        401
    );
}

/// A copy of a cookie has no rights after its user has signed out, at any instance.
#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_a_session_and_all_earlier_ones_of_the_user() {
    let (server, directory) = shared().await;
    let another = server.database.serve(settings(&directory.path().join("users"))).await;
    let (earlier, cookie) = (signed_in(&server, "vic").await, signed_in(&server, "VIC").await);
    let others = signed_in(&server, "root").await;
    let status = async |server: &Server, cookie: &str, path: &str| {
        get(server, path, ("cookie", cookie)).await.status
    };
    let sign_out = async |cookie: &str, from: &str| {
        let http = server.http("POST", "/sign-out").header("sec-fetch-site", from);
        http.header("cookie", cookie).send().await.status
    };
    // Neither pages of other sites nor forged cookies end a session.
    assert_eq!(sign_out(&cookie, "cross-site").await, 403);
    assert_eq!(sign_out(&format!("{cookie}A"), "same-origin").await, 303);
    assert_eq!(status(&another, &cookie, "/api/v1/plays").await, 200);
    assert_eq!(sign_out(&cookie, "same-origin").await, 303);
    let later = signed_in(&server, "vic").await;
    let restarted = server.database.serve(settings(&directory.path().join("users"))).await;
    for server in [&server, &another, &restarted] {
        for (cookie, expected) in [(&earlier, 401), (&cookie, 401), (&later, 200), (&others, 200)] {
            assert_eq!(status(server, cookie, "/api/v1/plays").await, expected);
        }
        assert_eq!(status(server, &cookie, "/api/v1/me").await, 401);
        // The page leads to the form.
        assert_eq!(status(server, &cookie, "/").await, 303);
    }
    // An editor ends no session by revoking tokens.
    let http = server.http("DELETE", "/api/v1/tokens/%0Asession%0Aroot");
    assert_eq!(http.header("authorization", &basic("eve")).send().await.status, 400);
    assert_eq!(status(&server, &others, "/api/v1/plays").await, 200);
}

/// A token is limited by the rights that its creator has at the moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_outlive_the_rights_of_its_creator() {
    let (server, directory) = shared().await;
    let create = async |user: &str, members: Value| {
        let http = server.http("POST", "/api/v1/tokens").header("authorization", &basic(user));
        let created = http.json(&members).send().await;
        assert_eq!(created.status, 201, "{created:?}");
        format!("Bearer {}", created.json()["token"].as_str().unwrap())
    };
    let wide = create("eve", json!({})).await;
    let of_key = create("eve", json!({ "key": server.key, "scope": "read write" })).await;
    let of_root = create("root", json!({})).await;
    let me = get(&server, "/api/v1/me", ("authorization", &wide)).await.json();
    assert_eq!((&me["user"], &me["role"]), (&json!("eve"), &Value::Null));
    // A token of the operator of a server without users, or of a program with the secret, names no creator.
    let without_users = server.database.serve(guarded()).await;
    let unnamed = format!("Bearer {}", token(&without_users, &json!({})).await);
    let file = directory.path().join("users");
    let line = |role: &'static str, within: Value| vec![("eve", role, within)];
    for (lines, expected) in [
        (line("editor", json!({})), [Some(3.0), Some(3.0)]),
        (line("owner", json!({ "identifier": "one" })), [Some(1.0), Some(1.0)]),
        (line("editor", json!({ "key": server.key })), [Some(3.0), Some(3.0)]),
        (line("editor", json!({ "key": "another" })), [Some(0.0), None]),
        (line("viewer", json!({})), [None, None]),
        (vec![("ada", "owner", json!({}))], [None, None]),
    ] {
        write(&file, &lines);
        let server = server.database.serve(settings(&file)).await;
        for (token, expected) in [&wide, &of_key].into_iter().zip(expected) {
            let answer = get(&server, "/api/v1/plays", ("authorization", token)).await;
            match expected {
                Some(expected) => assert_eq!(seconds(&answer), expected, "{lines:?}"),
                None => {
                    assert_eq!(answer.status, 401, "{lines:?}");
                    assert!(
                        answer.error().contains("the user who created the token"),
                        "{answer:?}"
                    );
                }
            }
        }
        // A narrowed user records nothing by an old token either.
        let event = json!({ "events": [{ "name": "play", "session_id": "a", "embed_id": "b", "video_time": 0 }] });
        let batch = server.http("POST", "/v1/events").header("authorization", &of_key).json(&event);
        let records = expected == [Some(3.0); 2];
        assert_eq!(batch.send().await.status == 200, records, "{lines:?}");
        for token in [&of_root, &unnamed] {
            let answer = get(&server, "/api/v1/plays", ("authorization", token)).await;
            assert_eq!(seconds(&answer), 3.0, "{lines:?}");
        }
    }
    // Without users, nobody is known to have the rights.
    let answer = get(&without_users, "/api/v1/plays", ("authorization", &of_root)).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_trusts_its_machine_warns_at_the_start() {
    for (proxies, warns) in [("10.0.0.0/8,127.0.0.1", true), ("10.0.0.0/8", false)] {
        let database = Database::new().await;
        let mut command = binary();
        command.env("DATABASE_URL", database.url()).env("METRICS_USER_HEADER", "remote-user");
        command.env("METRICS_TRUSTED_PROXIES", proxies);
        let log = Process::run(command).await.terminate().await;
        let warning = "METRICS_TRUSTED_PROXIES has an address of this machine";
        assert_eq!(log.contains(warning), warns, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_neither_sign_in_nor_use_a_session() {
    let (server, _directory) = shared().await;
    let cookie = signed_in(&server, "ada").await;
    for from in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "same-site"),
    ] {
        let (name, value) = from;
        let http = server.http("POST", "/sign-in").header(name, value);
        let answer = form(http, "ada", "password").send().await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{value}");
        let out = server.http("POST", "/sign-out").header(name, value).send().await;
        assert_eq!(out.status, 403, "{value}");
        let http =
            server.http("POST", "/api/v1/keys").header(name, value).header("cookie", &cookie);
        assert_eq!(http.json(&json!({})).send().await.status, 403, "{value}");
    }
    // A form of the server's own page changes nothing either.
    let http = server.http("POST", "/api/v1/keys").header("cookie", &cookie);
    let http = http.header("sec-fetch-site", "same-origin");
    assert_eq!(form(http, "a", "b").send().await.status, 415);
    // A browser whose session ended is not asked for a password.
    let ended = get(&server, "/api/v1/plays", ("sec-fetch-site", "same-origin")).await;
    assert_eq!(ended.header("www-authenticate"), Some("Session realm=\"metrics\""));
    // Behind HTTPS the cookie is for HTTPS.
    let http = server.http("POST", "/sign-in").header("x-forwarded-proto", "https");
    let answer = form(http, "ada", "password").send().await;
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_users_has_no_form() {
    let server = TestServer::new().await;
    assert_eq!(server.http("GET", "/sign-in").send().await.status, 404);
    assert_eq!(form(server.http("POST", "/sign-in"), "a", "b").send().await.status, 404);
    assert_eq!(server.http("POST", "/sign-out").send().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_in_the_form_are_limited() {
    let (server, _directory) = shared().await;
    let mut statuses = Vec::new();
    for number in 0..22 {
        let http = server.http("POST", "/sign-in");
        statuses.push(form(http, "ada", &format!("guess{number}")).send().await.status);
    }
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses.last(), Some(&429));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_names_users_and_no_other_client_does() {
    let header = |name: &'static str| name.parse().unwrap();
    let serve = async |proxies: &str, directory: &tempfile::TempDir| {
        let file = directory.path().join("users");
        write(&file, &[("one", "viewer", json!({ "identifier": "one" }))]);
        let roles = [("admins", Role::Owner), ("staff", Role::Viewer)];
        let headers = UserHeaders::new(header("remote-user"), proxies.parse().unwrap())
            .groups(header("remote-groups"), roles.map(|(group, role)| (group.to_owned(), role)));
        let users = Users::open(&file).unwrap().headers(headers);
        Database::new().await.serve(Settings::default().users(users)).await
    };
    let directory = tempfile::tempdir().unwrap();
    let me = async |server: &Server, user: &str, groups: &str| {
        let http = server.http("GET", "/api/v1/me").header("remote-user", user);
        let answer = http.header("remote-groups", groups).send().await;
        (answer.status == 200).then(|| answer.json())
    };
    let server = serve("127.0.0.1", &directory).await;
    let role = |me: Option<Value>| me.map(|me| me["role"].as_str().unwrap().to_owned());
    assert_eq!(role(me(&server, "ada", "admins").await).as_deref(), Some("owner"));
    assert_eq!(role(me(&server, "ada", "staff").await).as_deref(), Some("viewer"));
    assert_eq!(me(&server, "ada", "others").await, None);
    for name in ["one", "One", "ONE"] {
        let one = me(&server, name, "admins").await.unwrap();
        assert_eq!(
            (&one["user"], &one["role"], &one["within"]),
            (&json!("one"), &json!("viewer"), &json!({ "identifier": ["one"] }))
        );
    }
    let other = serve("10.0.0.0/8", &directory).await;
    assert_eq!(me(&other, "ada", "admins").await, None);
}
