//! Known videos, and the number of videos per key.

use serde_json::json;

use super::draft::{Draft, fill, key, object};
use crate::key::ApiKey;
use crate::store::{KnownVideo, Store};
use crate::video::Video;

fn known(is_there: bool, videos_of_key: u64) -> KnownVideo {
    KnownVideo { is_there, videos_of_key }
}

/// Videos differ by identifier, by metadata and by key.
pub async fn known_videos_are_those_of_sessions(store: &dyn Store) {
    let (one, two) = (key(store).await, key(store).await);
    let described = Video::new(None, Some(object(&json!({ "vid": 1 })))).expect("a video");
    let both =
        Video::new(Some("intro".to_owned()), Some(object(&json!({ "vid": 1 })))).expect("a video");
    let drafts = [
        Draft::new(&one, "a", Video::labelled("intro")),
        Draft::new(&one, "b", Video::labelled("intro")),
        Draft::new(&one, "c", described.clone()),
        Draft::new(&two, "d", Video::labelled("outro")),
    ];
    fill(store, &drafts).await;
    let nobody = ApiKey::generate();
    let requested = [
        (one.clone(), Video::labelled("intro"), known(true, 2)),
        (one.clone(), described, known(true, 2)),
        (one.clone(), both, known(false, 2)),
        (one, Video::labelled("outro"), known(false, 2)),
        (two.clone(), Video::labelled("outro"), known(true, 1)),
        (two, Video::labelled("intro"), known(false, 1)),
        (nobody, Video::labelled("intro"), known(false, 0)),
    ];
    let videos: Vec<_> =
        requested.iter().map(|(key, video, _)| (key.clone(), video.clone())).collect();
    let expected: Vec<_> = requested.iter().map(|(.., known)| *known).collect();
    assert_eq!(store.known_videos(&videos).await.expect("looked up"), expected);
    assert_eq!(store.known_videos(&[]).await.expect("looked up"), []);
}

/// Looks up as many videos as a batch can have.
pub async fn many_videos_are_looked_up_at_once(store: &dyn Store) {
    let key = key(store).await;
    let draft = |number: usize| {
        Draft::new(&key, &number.to_string(), Video::labelled(format!("video {number}")))
    };
    fill(store, &(0..700).map(draft).collect::<Vec<_>>()).await;
    let requested: Vec<_> = (0..1_400)
        .map(|number| (key.clone(), Video::labelled(format!("video {number}"))))
        .collect();
    let expected: Vec<_> = (0..1_400).map(|number| known(number < 700, 700)).collect();
    assert_eq!(store.known_videos(&requested).await.expect("looked up"), expected);
}
