//! Keys: created, listed, imported and revoked.

use metrics_server_testing::TestServer;
use serde_json::{Value, json};

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let server = TestServer::new().await;
    let mut made = vec![server.key.clone()];
    for body in ["", "{}"] {
        let answer = server
            .http("POST", "/api/v1/keys")
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let json = answer.json();
        let key = json["key"].as_str().unwrap();
        assert_eq!((key.len(), &key[22..]), (24, "=="), "{key}");
        made.push(key.to_owned());
    }
    let listed = server.http("GET", "/api/v1/keys").send().await.json();
    let listed = listed["keys"].as_array().unwrap();
    let keys: Vec<_> = listed.iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(keys, made);
    for key in listed {
        assert!(key["created_at"].is_string(), "{key}");
        assert_eq!((&key["disabled_at"], &key["settings"]), (&Value::Null, &json!({})));
    }
}

#[tokio::test]
async fn a_key_can_be_imported_once() {
    let server = TestServer::new().await;
    let import =
        server.http("POST", "/api/v1/keys").json(&json!({ "key": "HDsj3NfKQTNwn5Ix9g+cfQ==" }));
    let answer = import.clone().send().await;
    assert_eq!((answer.status, answer.json()), (201, json!({ "key": "HDsj3NfKQTNwn5Ix9g+cfQ==" })));
    let again = import.send().await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(!again.error().is_empty());
    for bad in [
        "nonsense",
        "[]",
        "[null]",
        r#"["mykey"]"#,
        r#"{"key":""}"#,
        r#"{"key":7}"#,
        r#"{"key":"a b"}"#,
        r#"{"key":"\u00e9"}"#,
    ] {
        let answer = server
            .http("POST", "/api/v1/keys")
            .header("content-type", "application/json")
            .body(bad)
            .send()
            .await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    assert_eq!(server.metrics.keys().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_is_revoked_raw_or_encoded() {
    let server = TestServer::new().await;
    let key = "ab+/cd//e/+==";
    for id in [
        "ab+/cd//e/+==",
        "ab%2B%2Fcd%2F%2Fe%2F%2B%3D%3D",
        "ab%2b%2fcd%2f%2fe%2f%2b%3d%3d",
        "ab+%2Fcd//e%2F%2B==",
    ] {
        let server = TestServer::new().await;
        let import = server.http("POST", "/api/v1/keys").json(&json!({ "key": key }));
        assert_eq!(import.send().await.status, 201);
        let answer = server.http("DELETE", &format!("/api/v1/keys/{id}")).send().await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({ "message": "Key revoked" })),
            "{id}"
        );
        let listed = server.http("GET", "/api/v1/keys").send().await.json();
        assert_eq!(listed["keys"][0]["disabled_at"], Value::Null);
        assert_eq!(listed["keys"][1]["key"], key);
        assert!(listed["keys"][1]["disabled_at"].is_string(), "{listed}");
    }
    for unknown in ["unknown", "ab", "%00", "%ff", "a/b/c"] {
        let answer = server.http("DELETE", &format!("/api/v1/keys/{unknown}")).send().await;
        assert_eq!(answer.status, 404, "{unknown}: {answer:?}");
        let expected = json!({ "error": "Could not revoke key", "code": "unknown_key" });
        assert_eq!(answer.json(), expected);
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_twice_keeps_its_first_time() {
    let server = TestServer::new().await;
    let path = format!("/api/v1/keys/{}", server.key);
    let revoke = server.http("DELETE", &path);
    assert_eq!(revoke.clone().send().await.status, 200);
    let first = server.http("GET", "/api/v1/keys").send().await.json();
    assert_eq!(revoke.send().await.status, 200);
    assert_eq!(server.http("GET", "/api/v1/keys").send().await.json(), first);
}
