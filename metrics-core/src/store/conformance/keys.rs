//! Keys come, and are revoked.

use super::draft::{later, start};
use super::older;
use crate::key::ApiKey;
use crate::query::Selection;
use crate::store::{KeyRecord, Outcome, Rewrite, Store};

/// Nothing is there before it was put in.
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
    let record = KeyRecord { key, created_at: start(), disabled_at: None };
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// A key is created once, and stays as old as it is.
pub async fn a_key_that_exists_is_not_created_again(store: &dyn Store) {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, start()).await.expect("stored"));
    assert!(!store.create_key(&key, later(1)).await.expect("stored"));
    let record = KeyRecord { key, created_at: start(), disabled_at: None };
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// The order is that of their times, not of the calls.
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

/// To revoke a key twice changes nothing.
pub async fn a_revoked_key_keeps_its_first_time(store: &dyn Store) {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, start()).await.expect("stored"));
    assert!(store.revoke_key(&key, later(1)).await.expect("stored"));
    assert!(store.revoke_key(&key, later(2)).await.expect("stored"));
    let record = KeyRecord { key, created_at: start(), disabled_at: Some(later(1)) };
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// A revoked key exists, and stays revoked.
pub async fn a_revoked_key_is_not_created_again(store: &dyn Store) {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, start()).await.expect("stored"));
    assert!(store.revoke_key(&key, later(1)).await.expect("stored"));
    assert!(!store.create_key(&key, later(2)).await.expect("stored"));
    let record = KeyRecord { key, created_at: start(), disabled_at: Some(later(1)) };
    assert_eq!(store.keys().await.expect("listed"), [record]);
}

/// A key that nobody created cannot be revoked, and does not come to be by that.
pub async fn an_unknown_key_is_not_revoked(store: &dyn Store) {
    let other = ApiKey::generate();
    assert!(store.create_key(&other, start()).await.expect("stored"));
    assert!(!store.revoke_key(&ApiKey::generate(), start()).await.expect("stored"));
    let record = KeyRecord { key: other, created_at: start(), disabled_at: None };
    assert_eq!(store.keys().await.expect("listed"), [record]);
}
