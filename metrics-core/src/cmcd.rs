//! Reports of players by CMCD (Common Media Client Data, CTA-5004-B): hls.js, dash.js and Shaka send them without a
//! script of ours.
//!
//! In the *event mode* of version 2, a player posts a record at every change of its state and every 30 s: lines of
//! `key=value` ([`Format::Lines`]), or JSON. [`records`] reads a body, one [`Record`] for each line that it can read and
//! an error for each other line; [`Record::event`] makes an event of a record. In version 1, players attach keys to their
//! requests for media: [`Dictionary::of_query`] and [`Dictionary::of_headers`] read these for servers of media.
//!
//! ```
//! use metrics_core::cmcd::{Format, records};
//!
//! let body = br#"cid="intro",e=ps,sid="8f3e",sn=4,sta=p,ts=1795922100627,v=2
//! e=ps,sid="8f3e",sn=5,v=2
//! "#;
//! let records = records(body, Format::Lines)?;
//! let record = records[0].as_ref().unwrap();
//! assert_eq!((record.session.as_str(), record.content.as_deref()), ("8f3e", Some("intro")));
//! assert_eq!(records[1].as_ref().unwrap_err().to_string(), "`ts` must be a number of Unix milliseconds");
//! # Ok::<(), metrics_core::cmcd::InvalidBody>(())
//! ```
//!
//! # What players send
//!
//! The rules follow from captures of hls.js 1.7.4, dash.js 5.2.1 and Shaka 5.2.12:
//!
//! * They end a single record with a line feed, and write non-ASCII text into strings. Both are accepted.
//! * None of them sends the position (`pt`). A page can add it under [`POSITION_KEY`]. Without it, the time in state
//!   *playing*, times the rate, is view time without a place in the video.
//! * The timestamp and the state of a response (`e=rr`) are those of its request, so its state is ignored. Its other keys
//!   count.
//! * `ttfb` of hls.js is sometimes a Unix time, and `msd` of dash.js has two values. The state tells the startup time if
//!   it can.
//! * A rate of 1 is left out, except by hls.js at the start.

mod dictionary;
mod event;
mod json;

use url::form_urlencoded;

pub use self::dictionary::{Dictionary, Item, KEYS_MAX, RECORD_BYTES_MAX, Scalar, Value};

/// The most records of a body: as many as a session recognizes if the body is sent again.
pub const RECORDS_MAX: usize = 256;

/// The longest `sid`, in characters.
pub const SESSION_CHARS_MAX: usize = 64;

/// The longest `cid`, in characters.
pub const CONTENT_CHARS_MAX: usize = 128;

/// The key under which a page adds the position to records, in milliseconds, as players send no `pt`.
pub const POSITION_KEY: &str = "video.metrics-pt";

/// The version of records in event mode.
const VERSION: i64 = 2;

/// The headers of version 1, and of requests of version 2.
const HEADERS: [&str; 4] = ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"];

/// The format of the records of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A dictionary in every line: `application/cmcd`, and `text/cmcd` of earlier drafts.
    Lines,
    /// A JSON object, or an array of them: `application/json`.
    Json,
}

/// A record of event mode: the keys that count, checked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The kind of the record (`e`).
    pub kind: Kind,
    /// When it happened by the player's clock (`ts`), in Unix milliseconds.
    pub timestamp_ms: i64,
    /// The player's random id of the session (`sid`).
    pub session: String,
    /// Its number within the session (`sn`); 0 without one.
    pub sequence: u32,
    /// The video (`cid`).
    pub content: Option<String>,
    /// The state of the player (`sta`).
    pub state: Option<State>,
    /// The position in the video (`pt`, or [`POSITION_KEY`]), in milliseconds. Positions of live streams are times of day,
    /// so they have none.
    pub position_ms: Option<u32>,
    /// Seconds of video per second (`pr`): 1 if it is left out, `None` for a rate of 0, which means a pause.
    pub rate: Option<f64>,
    /// From the intent to play to the first frame (`msd`), in milliseconds.
    pub startup_ms: Option<u32>,
    /// The encoded bitrate (`br`), in bits per second.
    pub bitrate: Option<u32>,
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// `ps`: the state changed.
    PlayState,
    /// `t`: a regular report.
    Interval,
    /// `e`: an error.
    Error,
    /// `rr`: a response was received.
    Response,
    /// `bc`: the bitrate changed.
    BitrateChange,
    /// `pr`: the rate changed.
    RateChange,
    /// `pe`: the player fills the screen.
    Expand,
    /// `abs` or `as`: advertisements begin.
    AdStart,
    /// `abe`, `ae` or `sk`: an advertisement is over.
    AdEnd,
    /// Any other kind. Its state counts.
    Other,
}

/// The state of a player.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// `d`: it loads, before anybody wants to play.
    Preloading,
    /// `s`: it shall play, and has no frame yet.
    Starting,
    /// `p`: it plays.
    Playing,
    /// `k`: it jumps to another position.
    Seeking,
    /// `r`: it waits for data.
    Rebuffering,
    /// `w`: it waits. dash.js reports so within a jump.
    Waiting,
    /// `a`: it is paused.
    Paused,
    /// `e`: the video ended.
    Ended,
    /// `f`: it cannot go on.
    Failed,
    /// `q`: the viewer left.
    Quit,
}

/// Why a body was refused as a whole.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBody {
    /// It has more than [`RECORDS_MAX`] records.
    #[error("a body must have at most {RECORDS_MAX} records: lower `batchSize`")]
    TooManyRecords,
    /// It is no JSON.
    #[error("the body must be a JSON object, or an array of objects")]
    NotJson,
}

/// Why a record was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// It is no UTF-8.
    #[error("a record must be UTF-8")]
    NotUtf8,
    /// It is longer than [`RECORD_BYTES_MAX`].
    #[error("a record must have at most {RECORD_BYTES_MAX} bytes")]
    TooLong,
    /// It has more keys than [`KEYS_MAX`].
    #[error("a record must have at most {KEYS_MAX} keys")]
    TooManyKeys,
    /// A key or the end of a string is missing.
    #[error("a record must be a list of `key=value`: byte {at} is neither")]
    Malformed {
        /// The index of the first byte that is wrong.
        at: usize,
    },
    /// It is JSON, and no object.
    #[error("a record must be an object")]
    NotAnObject,
    /// It is of a version that has no event mode, or that is not known yet.
    #[error("`v` is {version}, and must be {VERSION}")]
    Version {
        /// The version.
        version: i64,
    },
    /// A key is missing, or has a value that it cannot have.
    #[error("`{key}` must be {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The values that it can have.
        expected: &'static str,
    },
}

/// Reads the records of a body. Empty lines count as none.
///
/// # Errors
///
/// [`InvalidBody`] if nothing of the body can be read; [`InvalidRecord`] for each record that cannot be read.
pub fn records(
    body: &[u8],
    format: Format,
) -> Result<Vec<Result<Record, InvalidRecord>>, InvalidBody> {
    match format {
        Format::Lines => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            bounded(lines.filter(|line| !line.is_empty()), Record::of_line)
        }
        Format::Json => match serde_json::from_slice(body).map_err(|_| InvalidBody::NotJson)? {
            serde_json::Value::Array(elements) => bounded(elements.into_iter(), Record::of_json),
            object @ serde_json::Value::Object(_) => Ok(vec![Record::of_json(object)]),
            _ => Err(InvalidBody::NotJson),
        },
    }
}

fn bounded<T, U>(
    elements: impl Iterator<Item = T>,
    read: impl Fn(T) -> U,
) -> Result<Vec<U>, InvalidBody> {
    let mut read_elements = Vec::new();
    for element in elements {
        if read_elements.len() == RECORDS_MAX {
            return Err(InvalidBody::TooManyRecords);
        }
        read_elements.push(read(element));
    }
    Ok(read_elements)
}

impl Record {
    fn of_line(line: &[u8]) -> Result<Self, InvalidRecord> {
        let line = str::from_utf8(line).map_err(|_| InvalidRecord::NotUtf8)?;
        Self::of(&Dictionary::parse(line)?)
    }

    fn of_json(json: serde_json::Value) -> Result<Self, InvalidRecord> {
        Self::of(&Dictionary::of_json(json)?)
    }

    /// Checks the keys of a record. Unknown keys, and values that a key cannot have, are ignored, unless the record makes
    /// no sense without.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord::Version`], or [`InvalidRecord::Value`] of `e`, `ts`, `sid` or `cid`.
    pub fn of(keys: &Dictionary<'_>) -> Result<Self, InvalidRecord> {
        let version = keys.integer("v").unwrap_or(VERSION);
        if version != VERSION {
            return Err(InvalidRecord::Version { version });
        }
        let invalid = |key, expected| InvalidRecord::Value { key, expected };
        let kind = keys.text("e").ok_or(invalid("e", "the kind of the record"))?;
        let timestamp_ms =
            keys.integer("ts").ok_or(invalid("ts", "a number of Unix milliseconds"))?;
        let session = text(keys, "sid", SESSION_CHARS_MAX);
        let session = session.map_err(|()| invalid("sid", "a text of at most 64 characters"))?;
        let session = session.ok_or(invalid("sid", "the random id of the session"))?;
        let content = text(keys, "cid", CONTENT_CHARS_MAX);
        let whole = |key| keys.integer(key).and_then(|number| u32::try_from(number).ok());
        let is_live = matches!(keys.text("st"), Some("l" | "ll"));
        let rate = keys.number("pr").filter(|rate| 0.0 <= *rate).unwrap_or(1.0);
        Ok(Self {
            kind: Kind::of(kind),
            timestamp_ms,
            session: session.to_owned(),
            sequence: whole("sn").unwrap_or(0),
            content: content
                .map_err(|()| invalid("cid", "a text of at most 128 characters"))?
                .map(str::to_owned),
            state: keys.text("sta").and_then(State::of),
            position_ms: whole("pt").or_else(|| whole(POSITION_KEY)).filter(|_| !is_live),
            rate: Some(rate).filter(|rate| *rate != 0.0),
            startup_ms: whole("msd"),
            bitrate: whole("br").map(|kbps| kbps.saturating_mul(1_000)),
        })
    }
}

/// A text that is not empty, or an error if it is too long.
fn text<'a>(keys: &'a Dictionary<'_>, key: &str, chars_max: usize) -> Result<Option<&'a str>, ()> {
    let text = keys.text(key).filter(|text| !text.is_empty());
    if text.is_some_and(|text| chars_max < text.chars().count()) { Err(()) } else { Ok(text) }
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "ps" => Self::PlayState,
            "t" => Self::Interval,
            "e" => Self::Error,
            "rr" => Self::Response,
            "bc" => Self::BitrateChange,
            "pr" => Self::RateChange,
            "pe" => Self::Expand,
            "abs" | "as" => Self::AdStart,
            "abe" | "ae" | "sk" => Self::AdEnd,
            _ => Self::Other,
        }
    }
}

impl State {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "d" => Self::Preloading,
            "s" => Self::Starting,
            "p" => Self::Playing,
            "k" => Self::Seeking,
            "r" => Self::Rebuffering,
            "w" => Self::Waiting,
            "a" => Self::Paused,
            "e" => Self::Ended,
            "f" => Self::Failed,
            "q" => Self::Quit,
            _ => return None,
        })
    }
}

impl Dictionary<'static> {
    /// The keys that a player attaches to a request for media, by its query string: the argument `CMCD`, percent-encoded,
    /// of version 1 or 2. `None` if the request has none.
    ///
    /// ```
    /// use metrics_core::cmcd::Dictionary;
    ///
    /// let query = "token=1&CMCD=bl%3D21300%2Cbs%2Csid%3D%226e2fb550%22";
    /// let keys = Dictionary::of_query(query).unwrap()?;
    /// assert_eq!((keys.text("sid"), keys.integer("bl")), (Some("6e2fb550"), Some(21_300)));
    /// assert!(keys.is_true("bs"));
    /// # Ok::<(), metrics_core::cmcd::InvalidRecord>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`parse`](Dictionary::parse).
    #[must_use]
    pub fn of_query(query: &str) -> Option<Result<Self, InvalidRecord>> {
        let mut arguments = form_urlencoded::parse(query.as_bytes());
        let (_, keys) = arguments.find(|(name, _)| name == "CMCD")?;
        Some(Dictionary::parse(&keys).map(Dictionary::into_owned))
    }

    /// The keys that a player attaches to a request for media, by its headers, names and values: `CMCD-Object`,
    /// `CMCD-Request`, `CMCD-Session` and `CMCD-Status`, of version 1 or 2. Without these the result is empty.
    ///
    /// ```
    /// use metrics_core::cmcd::Dictionary;
    ///
    /// let headers = [("Host", "example.com"), ("CMCD-Session", "sid=\"6e2fb550\""), ("CMCD-Status", "bs")];
    /// let keys = Dictionary::of_headers(headers)?;
    /// assert_eq!(keys.to_string(), "sid=\"6e2fb550\",bs");
    /// # Ok::<(), metrics_core::cmcd::InvalidRecord>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`parse`](Dictionary::parse).
    pub fn of_headers<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, InvalidRecord> {
        let mut all = Self::default();
        for (name, value) in headers {
            if HEADERS.iter().any(|header| header.eq_ignore_ascii_case(name)) {
                for (key, value) in Dictionary::parse(value)?.into_owned().into_members() {
                    all.insert(key, value)?;
                }
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
