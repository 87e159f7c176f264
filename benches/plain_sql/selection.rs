//! The sessions that a query selects, and the groups of its sums.

use std::collections::BTreeMap;

use metrics_core::user_agent::{Browser, Device};

use super::PlainSql;

/// A selection of sessions.
#[derive(Clone, Debug)]
pub struct Range {
    /// The videos, by a condition on the table `videos`.
    pub videos: Videos,
    /// The first start that counts, in Unix milliseconds.
    pub from_ms: i64,
    /// The last start that counts, in Unix milliseconds.
    pub to_ms: i64,
    /// The least view time that counts, in milliseconds.
    pub minimum_view_ms: i64,
    /// The width of a bucket, in milliseconds.
    pub grain_ms: i64,
    /// Whether only sessions on mobile devices with Chrome or Safari count: [`MOBILE`] as filters.
    pub is_filtered: bool,
}

/// The two filters of filtered queries, as JSON.
pub const MOBILE: &str =
    r#"[["is", "device", ["mobile"]], ["is", "browser", ["chrome", "safari"]]]"#;

impl Range {
    /// Returns the filters as a further condition.
    pub(super) fn condition(&self) -> &'static str {
        if self.is_filtered { CONDITION } else { "" }
    }
}

/// [`MOBILE`] in SQL, by the codes of classes.
const CONDITION: &str = "and device = 2 and browser in (2, 7)";
const _: () = {
    assert!(Device::Mobile.code() == 2);
    assert!(Browser::Chrome.code() == 2 && Browser::Safari.code() == 7);
};

/// A selection of videos.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Videos {
    /// The video with the identifier of this rank.
    Ranked(usize),
    /// The videos of the course `knots`.
    Knots,
    /// All videos of the key.
    All,
}

impl Videos {
    pub(super) fn condition(self, plain_sql: &PlainSql) -> String {
        match self {
            Self::Ranked(rank) => format!("identifier = '{}'", crate::dataset::identifier(rank)),
            Self::Knots => match plain_sql {
                PlainSql::File(_) => "metadata ->> 'course' = 'knots'".to_owned(),
                PlainSql::Database(_) => "metadata @> '{\"course\": \"knots\"}'".to_owned(),
            },
            Self::All => match plain_sql {
                PlainSql::File(_) => format!("key = '{}'", crate::dataset::KEY),
                PlainSql::Database(_) => {
                    format!("key_id = (select id from keys where key = '{}')", crate::dataset::KEY)
                }
            },
        }
    }
}

/// A property of sessions that sums are grouped by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grouped {
    /// The UTC day of the start, counted from 1970.
    Day,
    /// The page.
    Page,
    /// The identifier of the video.
    Video,
}

/// The sums of each group: plays, their view time and startup times in milliseconds, and the number of plays with a
/// startup time.
pub type Sums = BTreeMap<String, [f64; 4]>;

impl Grouped {
    pub(super) fn in_file(self) -> &'static str {
        match self {
            Self::Day => "cast(started_at / 86400000 as text)",
            Self::Page => "(select url from pages where id = page_id)",
            Self::Video => "(select identifier from videos where id = video_id)",
        }
    }

    pub(super) fn in_database(self) -> &'static str {
        match self {
            Self::Day => "floor(extract(epoch from started_at) / 86400)::bigint::text",
            Self::Page => "(select url from pages where id = page_id)",
            Self::Video => "(select identifier from videos where id = video_id)",
        }
    }
}
