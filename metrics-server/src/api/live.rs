//! The parameters and the events of `/api/v1/live`.

use chrono::{DateTime, SecondsFormat, Utc};
use metrics_core::query::Filter;
use metrics_core::{
    EngagementQuery, LIVE_PARTS_MAX, LIVE_VIDEOS_MAX, LiveQuery, LiveState, LiveVideo,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::params::Params;
use super::seconds;
use crate::access::{Purpose, is_of_dimensions};
use crate::answer::append_json;
use crate::code::Code;
use crate::error::Error;

/// The parameters.
const NAMES: [&str; 8] = [
    "identifier",
    "query",
    "filters",
    "timeframe",
    "timezone",
    "minimum_watch_seconds",
    "limit",
    "parts",
];

/// The state, without its time.
#[derive(Serialize)]
struct State<'a> {
    watching: u64,
    plays: u64,
    rows: u64,
    videos: Vec<Video<'a>>,
}

#[derive(Serialize)]
struct Video<'a> {
    name: &'a str,
    identifier: Option<&'a str>,
    title: Option<&'a str>,
    watching: u64,
    duration: Option<f64>,
    end: f64,
    positions: &'a [u32],
}

impl<'a> From<&'a LiveVideo> for Video<'a> {
    fn from(video: &'a LiveVideo) -> Self {
        Self {
            name: &video.name,
            identifier: video.identifier.as_deref(),
            title: video.title.as_deref(),
            watching: video.watching,
            duration: video.duration_ms.map(|ms| seconds(ms.into())),
            end: seconds(video.end_ms),
            positions: &video.positions,
        }
    }
}

impl Params {
    /// Reads the parameters of a stream.
    pub(crate) fn live_query(&self) -> Result<LiveQuery, Error> {
        self.check_names(&NAMES)?;
        let EngagementQuery { selection, timeframe, timezone, minimum_view_ms, .. } =
            self.sessions_query(&["watching", "plays"])?;
        self.check_moment(&selection.filter)?;
        let mut query = LiveQuery::from(selection).in_timezone(timezone);
        if self.get("timeframe").is_some() {
            query = query.during(timeframe);
        }
        if self.get("minimum_watch_seconds").is_some() {
            query = query.with_minimum_view_ms(minimum_view_ms);
        }
        let number = |name, default: u32, most: u32| {
            let number = self.integer(name, default.into(), 1..=most.into())?;
            Ok::<_, Error>(u32::try_from(number).unwrap_or(most))
        };
        let videos_max = number("limit", query.videos_max, LIVE_VIDEOS_MAX)?;
        let parts = number("parts", query.parts, LIVE_PARTS_MAX)?;
        Ok(query.with_videos_max(videos_max).with_parts(parts))
    }

    /// Checks that a caller who may read no report reads no plays of another time than today, and none by the numbers of
    /// sessions.
    fn check_moment(&self, filter: &Filter) -> Result<(), Error> {
        if self.granted().permits(Purpose::Report) {
            return Ok(());
        }
        let is_report =
            ["timeframe", "minimum_watch_seconds"].iter().any(|it| self.get(it).is_some());
        match is_report || !is_of_dimensions(filter) {
            true => Err(Error::NotGranted(
                "without the scope `read`, a stream has no `timeframe`, no `minimum_watch_seconds`, and no filter on numbers",
            )),
            false => Ok(()),
        }
    }
}

/// The event of a state, and its id: a digest of the state without its time. So a client that resumes, perhaps at
/// another server, receives no state that it has.
pub(crate) fn event(at: DateTime<Utc>, state: &LiveState) -> (u64, Vec<u8>) {
    let LiveState { watching, plays, rows, videos, .. } = state;
    let videos = videos.iter().map(Video::from).collect();
    let mut json = Vec::new();
    append_json(&mut json, &State { watching: *watching, plays: *plays, rows: *rows, videos });
    let id = digest(&json);
    let time = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let head = format!("id: {id:016x}\ndata: {{\"time\":\"{time}\",");
    let members = json.get(1..).unwrap_or_default();
    (id, [head.as_bytes(), members, b"\n\n"].concat())
}

/// The event that says why there is no state, and a number that identifies it. Clients keep the id of the state before.
pub(crate) fn problem(err: &Error) -> (u64, Vec<u8>) {
    #[derive(Serialize)]
    struct Problem {
        error: String,
        code: Code,
    }
    let mut text = b"event: problem\ndata: ".to_vec();
    append_json(&mut text, &Problem { error: err.to_string(), code: err.code() });
    text.extend_from_slice(b"\n\n");
    (digest(&text), text)
}

/// The id in the header `Last-Event-ID`, if it is one of ours.
pub(crate) fn read_id(header: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(header).ok().filter(|text| text.len() == 16)?;
    u64::from_str_radix(text, 16).ok()
}

fn digest(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use metrics_core::Timeframe;

    use super::*;
    use crate::access::Grant;

    fn read(query: &str) -> Result<LiveQuery, Error> {
        Params::parse(Some(query), b"", Grant::all())?.live_query()
    }

    #[test]
    fn parameters_have_defaults_and_limits() {
        let query = read("").unwrap();
        assert_eq!(query, LiveQuery::from(metrics_core::Selection::default()));
        let query = read("identifier=intro&limit=3&parts=20&minimum_watch_seconds=5").unwrap();
        assert_eq!((query.videos_max, query.parts, query.minimum_view_ms), (3, 20, 5_000));
        assert_eq!(query.timeframe, Timeframe::Today);
        for refused in ["limit=0", "limit=101", "parts=0", "parts=201", "parts=x", "interval=1"] {
            assert!(read(refused).is_err(), "{refused}");
        }
        let unknown = read("part=20").unwrap_err().to_string();
        assert!(unknown.contains("parts"), "{unknown}");
    }

    #[test]
    fn an_event_is_one_line_and_its_id_a_digest_without_the_time() {
        let state = LiveState::default();
        let [(one, first), (two, second)] =
            [0, 1_000].map(|ms| event(metrics_core::query::instant(ms), &state));
        assert_eq!(one, two);
        assert_ne!(first, second);
        let text = String::from_utf8(first).unwrap();
        let (id, data) = text.strip_suffix("\n\n").unwrap().split_once('\n').unwrap();
        assert_eq!(read_id(id.strip_prefix("id: ").unwrap().as_bytes()), Some(one));
        let data: serde_json::Value =
            serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!((&data["watching"], &data["videos"]), (&0.into(), &serde_json::json!([])));
    }

    #[test]
    fn other_ids_are_ignored() {
        for header in ["", "1", "x123456789abcdef", "0123456789abcdef0", "\u{e9}"] {
            assert_eq!(read_id(header.as_bytes()), None, "{header}");
        }
    }
}
