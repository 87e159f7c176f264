//! Keys are created, changed, revoked and restored.

use serde_json::{Value, json};

use super::draft::{later, start};
use super::{join_all, older};
use crate::key::{ApiKey, KeySettings, SettingsChange};
use crate::query::Selection;
use crate::store::{KeyChange, KeyRecord, Outcome, RevokedToken, Rewrite, Store};

/// A new store has no keys and no sessions.
pub async fn an_empty_store_has_nothing(store: &dyn Store) {
    assert_eq!(store.keys().await.expect("listed"), []);
    assert_eq!(store.count_sessions().await.expect("counted"), 0);
    assert_eq!(older::watching(store, &Selection::default(), start()).await.expect("counted"), 0);
    assert_eq!(store.load(&[]).await.expect("loaded"), []);
    assert_eq!(store.add_videos(&[]).await.expect("added"), []);
    assert_eq!(store.quiet(later(1), 10).await.expect("listed"), []);
    assert_eq!(store.finalize(later(1), 10).await.expect("finalized"), 0);
    assert_eq!(store.rewrite(Rewrite::default()).await.expect("stored"), Outcome::Written);
    assert_eq!(store.commit(Vec::new().into()).await.expect("stored"), []);
    store.check().await.expect("it can be read and written");
}

/// A key is listed with the time of its creation, to the millisecond.
pub async fn a_created_key_is_listed(store: &dyn Store) {
    let key = ApiKey::new("HDsj3NfKQTNwn5Ix9g+/fQ==").expect("a key");
    assert!(store.create_key(&key, start()).await.expect("stored"));
    let record = KeyRecord::new(key, start());
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// A key is created once, and keeps its time of creation.
pub async fn a_key_that_exists_is_not_created_again(store: &dyn Store) {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, start()).await.expect("stored"));
    assert!(!store.create_key(&key, later(1)).await.expect("stored"));
    let record = KeyRecord::new(key, start());
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// Keys are ordered by their times, not by the order of the calls.
pub async fn keys_are_listed_oldest_first(store: &dyn Store) {
    let keys = ["c", "a", "b"].map(|text| ApiKey::new(text).expect("a key"));
    for (key, age_ms) in keys.iter().zip([20, 30, 10]) {
        assert!(store.create_key(key, later(age_ms)).await.expect("stored"));
    }
    let listed: Vec<_> =
        store.keys().await.expect("listed").into_iter().map(|record| record.key).collect();
    assert_eq!(listed, [2, 0, 1].map(|index: usize| keys[index].clone()));
}

/// Keys are compared byte by byte.
pub async fn keys_that_differ_in_case_are_two(store: &dyn Store) {
    for text in ["key", "KEY"] {
        let key = ApiKey::new(text).expect("a key");
        assert!(store.create_key(&key, start()).await.expect("stored"));
    }
    assert!(store.revoke_key(&ApiKey::new("key").expect("a key"), start()).await.expect("stored"));
    let valid: Vec<_> = store.keys().await.expect("listed");
    let valid: Vec<_> = valid.iter().filter(|record| record.disabled_at.is_none()).collect();
    assert_eq!(valid.len(), 1);
    assert_eq!(valid[0].key.as_str(), "KEY");
}

/// Revoking a key a second time changes nothing.
pub async fn a_revoked_key_keeps_its_first_time(store: &dyn Store) {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, start()).await.expect("stored"));
    assert!(store.revoke_key(&key, later(1)).await.expect("stored"));
    assert!(store.revoke_key(&key, later(2)).await.expect("stored"));
    let record = KeyRecord { disabled_at: Some(later(1)), ..KeyRecord::new(key, start()) };
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// A revoked key exists, and stays revoked.
pub async fn a_revoked_key_is_not_created_again(store: &dyn Store) {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, start()).await.expect("stored"));
    assert!(store.revoke_key(&key, later(1)).await.expect("stored"));
    assert!(!store.create_key(&key, later(2)).await.expect("stored"));
    let record = KeyRecord { disabled_at: Some(later(1)), ..KeyRecord::new(key, start()) };
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// A key is added with all fields of its record, and only once.
pub async fn a_key_is_added_with_its_settings(store: &dyn Store) {
    let record = KeyRecord {
        disabled_at: Some(later(1)),
        settings: settings(),
        ..KeyRecord::new(ApiKey::generate(), start())
    };
    assert!(store.add_key(&record).await.expect("stored"));
    let again = KeyRecord::new(record.key.clone(), later(2));
    assert!(!store.add_key(&again).await.expect("stored"));
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// A change replaces the settings it names, of one key only, even if that key is revoked.
pub async fn settings_of_a_key_are_replaced(store: &dyn Store) {
    let record = KeyRecord::new(ApiKey::generate(), start());
    let other = KeyRecord { settings: settings(), ..KeyRecord::new(ApiKey::generate(), later(1)) };
    assert!(store.add_key(&record).await.expect("stored"));
    assert!(store.add_key(&other).await.expect("stored"));
    let all = Value::Object(settings().to_json());
    let none = json!({ "name": null, "hosts": null, "pages": null, "limits": null });
    let one = json!({ "name": "Other", "limits": { "joins": null } });
    let mut rest = all.clone();
    rest["name"] = "Other".into();
    rest["limits"] = json!({ "pages": "500" });
    for (change, expected, disabled_at) in [
        (&all, &all, None),
        (&one, &rest, Some(later(2))),
        (&none, &json!({}), Some(later(2))),
        (&all, &all, Some(later(2))),
    ] {
        if let Some(at) = disabled_at {
            assert!(store.revoke_key(&record.key, at).await.expect("stored"));
        }
        assert!(store.change_key(&record.key, &changing(change)).await.expect("stored"));
        let settings = KeySettings::from_json(expected.as_object().expect("an object"));
        let settings = settings.expect("settings");
        let changed = KeyRecord { settings, disabled_at, ..record.clone() };
        assert_eq!(store.keys().await.expect("listed"), [changed, other.clone()]);
    }
}

/// Concurrent changes of one key are all applied.
pub async fn changes_of_a_key_at_once_are_all_made(store: &dyn Store) {
    let record = KeyRecord::new(ApiKey::generate(), start());
    assert!(store.add_key(&record).await.expect("stored"));
    let changes = [
        json!({ "name": "Shop" }),
        json!({ "hosts": ["a.example"] }),
        json!({ "limits": { "joins": "1/day" } }),
        json!({ "limits": { "events": "2/day" } }),
        json!({ "limits": { "videos": "3" } }),
    ];
    join_all(changes.iter().map(|change| async {
        assert!(store.change_key(&record.key, &changing(change)).await.expect("stored"));
    }))
    .await;
    let settings = &store.keys().await.expect("listed")[0].settings;
    let expected = json!({
        "name": "Shop", "hosts": ["a.example"],
        "limits": { "joins": "1/day", "events": "2/day", "videos": "3" },
    });
    assert_eq!(Value::Object(settings.to_json()), expected);
}

fn changing(members: &Value) -> KeyChange {
    let members = members.as_object().expect("an object").clone();
    KeyChange::Settings(SettingsChange::from_json(members).expect("settings"))
}

/// A revoked key can be restored, and revoked again.
pub async fn a_restored_key_is_valid(store: &dyn Store) {
    let record = KeyRecord { settings: settings(), ..KeyRecord::new(ApiKey::generate(), start()) };
    assert!(store.add_key(&record).await.expect("stored"));
    for at in [later(1), later(2)] {
        assert!(store.change_key(&record.key, &KeyChange::Revoke(at)).await.expect("stored"));
        let revoked = KeyRecord { disabled_at: Some(at), ..record.clone() };
        assert_eq!(store.keys().await.expect("listed"), [revoked]);
        for _ in 0..2 {
            assert!(store.change_key(&record.key, &KeyChange::Restore).await.expect("stored"));
            assert_eq!(store.keys().await.expect("listed"), std::slice::from_ref(&record));
        }
    }
}

/// A change of an unknown key fails, and does not create the key.
pub async fn an_unknown_key_is_not_changed(store: &dyn Store) {
    let record = KeyRecord::new(ApiKey::generate(), start());
    assert!(store.add_key(&record).await.expect("stored"));
    let named = changing(&json!({ "name": "Shop" }));
    for change in [KeyChange::Restore, named, KeyChange::Revoke(start())] {
        assert!(!store.change_key(&ApiKey::generate(), &change).await.expect("stored"));
    }
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

fn settings() -> KeySettings {
    let members = json!({
        "name": "Shop \u{1f37f}", "hosts": ["example.com", "*.example.com", "none"], "pages": ["/u/*/watch"],
        "limits": { "pages": "500", "joins": "7/day" },
    });
    KeySettings::from_json(members.as_object().expect("an object")).expect("settings")
}

/// Revoking an unknown key fails, and does not create the key.
pub async fn an_unknown_key_is_not_revoked(store: &dyn Store) {
    let other = ApiKey::generate();
    assert!(store.create_key(&other, start()).await.expect("stored"));
    assert!(!store.revoke_key(&ApiKey::generate(), start()).await.expect("stored"));
    let record = KeyRecord::new(other, start());
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// A revoked token is listed until it would have expired, once, with the later of two times.
pub async fn revoked_tokens_are_kept_until_they_expire(store: &dyn Store) {
    let token = |id: &str, until_ms| RevokedToken { id: id.to_owned(), until: later(until_ms) };
    let ids = async |only: Option<&str>| store.revoked_tokens(only).await.expect("listed");
    assert_eq!(ids(None).await, []);
    for revoked in [token("b", 10), token("a", 30), token("b", 20), token("b", 15)] {
        store.revoke_token(&revoked, start()).await.expect("revoked");
    }
    assert_eq!(ids(None).await, [token("a", 30), token("b", 20)]);
    assert_eq!(ids(Some("b")).await, [token("b", 20)]);
    assert_eq!(ids(Some("B")).await, []);
    store.revoke_token(&token("c", 40), later(21)).await.expect("revoked");
    assert_eq!(ids(None).await, [token("a", 30), token("c", 40)]);
}
