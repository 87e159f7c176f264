//! Closes quiet sessions: their rows become a block per video.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::computed;
use crate::block::Row;
use crate::store::changes::{Totals, blocks, finalized};
use crate::store::{Error, KeyId, OpenSession, Outcome, Rewrite, Store, VideoId};

/// Closes sessions without an open segment whose last event is before `quiet_since`, at most `limit` (1 or more), and
/// returns the videos that got a block, and the number of sessions closed. If it is 0, no quiet session is left, unless
/// all of them changed meanwhile.
///
/// A session that changes meanwhile stays open.
///
/// # Errors
///
/// [`Error`] if the store fails.
pub async fn close(
    store: &dyn Store,
    quiet_since: DateTime<Utc>,
    limit: u32,
) -> Result<(Vec<VideoId>, u64), Error> {
    let mut waiting = vec![store.quiet(quiet_since, limit).await?];
    let (mut videos, mut closed) = (Vec::new(), 0);
    while let Some(mut sessions) = waiting.pop() {
        if sessions.is_empty() {
            continue;
        }
        let (rewrite, of) = computed(move || Ok((closing(&sessions), sessions))).await?;
        sessions = of;
        match store.rewrite(rewrite).await? {
            Outcome::Written => {
                closed += sessions.len() as u64;
                videos.extend(sessions.iter().map(|session| session.video));
            }
            // Retries in halves, so that one session that goes on does not keep another open.
            Outcome::Conflict if 1 < sessions.len() => {
                let half = sessions.split_off(sessions.len() / 2);
                waiting.extend([half, sessions]);
            }
            Outcome::Conflict => {}
        }
    }
    videos.sort_unstable();
    videos.dedup();
    Ok((videos, closed))
}

fn closing(sessions: &[OpenSession]) -> Rewrite {
    let mut by_video: BTreeMap<(KeyId, VideoId), Vec<Row>> = BTreeMap::new();
    let mut totals = Totals::default();
    for session in sessions {
        let rows = by_video.entry((session.key, session.video)).or_default();
        rows.push(finalized(session.row.clone()));
        totals.add(session.key, &session.row, 1);
    }
    let add = by_video.into_iter();
    let add = add.flat_map(|((key, video), rows)| blocks(rows).map(move |it| (key, video, it)));
    Rewrite {
        add: add.collect(),
        close: sessions.iter().map(|session| (session.id, session.version)).collect(),
        totals: totals.finish(),
        ..Rewrite::default()
    }
}
