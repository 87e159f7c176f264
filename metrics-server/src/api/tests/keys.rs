//! Keys: listed, imported, revoked.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::fixture::{Fixture, KEY, answer, ms};
use crate::access::Grant;
use crate::api::keys;

#[tokio::test]
async fn keys_are_listed_imported_and_revoked() {
    let fixture = Fixture::new("2023-05-02T00:00:00Z").await;
    let metrics = &fixture.metrics;
    let conflict =
        keys::create(metrics, &Grant::all(), json!({ "key": KEY }).to_string().as_bytes()).await;
    let expected = json!({ "error": "`key` exists already", "code": "key_exists" });
    assert_eq!(answer(conflict, 409).await, expected);

    fixture.now_ms.store(ms("2023-05-02T00:00:01Z"), Ordering::Relaxed);
    let imported = keys::create(metrics, &Grant::all(), br#"{"key":"100%25/a+b="}"#).await;
    assert_eq!(answer(imported, 201).await, json!({ "key": "100%25/a+b=" }));
    let similar = keys::create(metrics, &Grant::all(), br#"{"key":"100%/a+b="}"#).await;
    assert_eq!(answer(similar, 201).await, json!({ "key": "100%/a+b=" }));
    // As it stands, although it is also an encoding of the other.
    let revoked = keys::revoke(metrics, &Grant::all(), "100%25/a+b=").await;
    assert_eq!(answer(revoked, 200).await, json!({ "message": "Key revoked" }));
    fixture.now_ms.store(ms("2023-05-03T00:00:00Z"), Ordering::Relaxed);
    // The same key, encoded: it keeps its first time.
    let revoked = keys::revoke(metrics, &Grant::all(), "100%2525%2Fa%2Bb%3D").await;
    assert_eq!(answer(revoked, 200).await, json!({ "message": "Key revoked" }));
    insta::assert_json_snapshot!(fixture.keys().await, @r#"
    {
      "keys": [
        {
          "created_at": "2023-05-02T00:00:00.000000Z",
          "disabled_at": null,
          "key": "HDsj3NfKQTNwn5Ix9g+cfQ==",
          "settings": {}
        },
        {
          "created_at": "2023-05-02T00:00:01.000000Z",
          "disabled_at": "2023-05-02T00:00:01.000000Z",
          "key": "100%25/a+b=",
          "settings": {}
        },
        {
          "created_at": "2023-05-02T00:00:01.000000Z",
          "disabled_at": null,
          "key": "100%/a+b=",
          "settings": {}
        }
      ]
    }
    "#);
    let unknown = keys::revoke(metrics, &Grant::all(), "unknown").await;
    let expected = json!({ "error": "Could not revoke key", "code": "unknown_key" });
    assert_eq!(answer(unknown, 404).await, expected);
}
