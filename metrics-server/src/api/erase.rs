//! `POST /api/v1/erase`: deletes sessions on request, after a dry run that counts them.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Response, StatusCode};
use metrics_core::key::SessionId;
use metrics_core::query::{Period, instant};
use metrics_core::store::Store;
use metrics_core::upkeep::{Erased, Erasure, erase};
use metrics_core::{Metrics, SESSION_BYTES_MAX};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::params::Params;
use super::timeframe::read_timeframe;
use crate::answer::{Making, within_time};
use crate::error::Error;
use crate::response::{self, Body};

/// The parameters that select sessions; at least one is required.
const SELECTORS: [&str; 5] = ["identifier", "query", "page", "session_id", "timeframe"];

/// All parameters.
const PARAMETERS: [&str; 7] =
    ["identifier", "query", "page", "session_id", "timeframe", "dry_run", "expect"];

/// The longest prefix of pages, in bytes: as long as the longest page.
const PAGE_BYTES_MAX: usize = 2_048;

/// The first start that a timeframe may name, in Unix milliseconds: the year 1.
const FROM_MS_MIN: i64 = -62_135_596_800_000;

/// The last one: the end of the year 9999.
const TO_MS_MAX: i64 = 253_402_300_799_999;

/// Sessions to erase, as a request or a command line selects them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EraseSelection {
    /// The sessions.
    pub(crate) erasure: Erasure,
    /// The parameters that select them, without their values, for the log.
    pub(crate) by: String,
}

impl EraseSelection {
    /// Reads the parameters that select sessions. Without a timeframe, they include sessions that a wrong clock dated
    /// later than `now`, and exclude sessions that begin while others are erased.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if a parameter is invalid, or all are missing; [`Error::Forbidden`] if the sessions belong
    /// to a key that is not granted.
    pub(crate) fn read(params: &Params, now: DateTime<Utc>) -> Result<Self, Error> {
        // An empty `query` selects everything in reports. Here it is rather a mistake.
        let is_empty = |it: &Value| it.as_object().is_some_and(serde_json::Map::is_empty);
        let is_named = |it: &&str| params.get(it).is_some_and(|value| !is_empty(value));
        let named: Vec<_> = SELECTORS.into_iter().filter(is_named).collect();
        if named.is_empty() {
            let expected = "or one of `identifier`, `page`, `session_id` and `timeframe` is required: select the \
                            sessions to erase";
            return Err(Error::missing("query", expected));
        }
        let selection = params.selection(&[])?;
        let text = |name: &'static str, bytes_max: usize| match params.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if (1..=bytes_max).contains(&text.len()) => {
                Ok(Some(text.as_str()))
            }
            Some(_) => {
                Err(Error::parameter(name, format!("must be a text of 1 to {bytes_max} bytes")))
            }
        };
        let period = period(params, now)?;
        let key = selection.key.clone();
        let mut erasure = Erasure::of(selection)
            .during(period.from_ms, period.to_ms)
            .new_from(now.timestamp_millis().saturating_add(1));
        if let Some(prefix) = text("page", PAGE_BYTES_MAX)? {
            erasure = erasure.on_page(prefix);
        }
        if let Some(session) = text("session_id", SESSION_BYTES_MAX)? {
            let needed = "requires the key of the session, as `key` of `query`";
            let key = key.ok_or_else(|| Error::missing("session_id", needed))?;
            erasure = erasure.of_session(SessionId::new(&key, session));
        }
        Ok(Self { erasure, by: named.join(", ") })
    }

    /// The first and the last start of the sessions.
    pub(crate) fn timeframe(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        (instant(self.erasure.scan.from_ms), instant(self.erasure.scan.to_ms))
    }

    /// Deletes the sessions, no more than `at_most`, and logs the beginning and the end, without naming the sessions.
    ///
    /// # Errors
    ///
    /// [`metrics_core::store::Error`] if the store failed; the same call goes on with the remaining sessions.
    pub(crate) async fn erase(
        &self,
        store: &dyn Store,
        at_most: Option<u64>,
    ) -> Result<Erased, metrics_core::store::Error> {
        let by = &*self.by;
        tracing::info!(by, at_most, "erasing sessions on request");
        let erasure = Erasure { at_most, ..self.erasure.clone() };
        let erased = erase(store, &erasure).await.inspect_err(|err| {
            tracing::error!(
                by,
                error = err as &dyn std::error::Error,
                "an erasure on request failed; some sessions may be erased already: repeat the request to erase \
                 the others"
            );
        })?;
        tracing::info!(
            sessions = erased.sessions.sessions,
            videos = erased.videos,
            pages = erased.pages,
            are_left = erased.is_cut,
            by,
            "erased sessions on request"
        );
        Ok(erased)
    }
}

/// The period of starts that is selected: by default, all.
fn period(params: &Params, now: DateTime<Utc>) -> Result<Period, Error> {
    let all = Period { from_ms: FROM_MS_MIN, to_ms: TO_MS_MAX };
    let Some(timeframe) = params.get("timeframe") else { return Ok(all) };
    let Period { from_ms, to_ms } = read_timeframe(timeframe)?.period(now, None);
    let within = |ms: i64| ms.clamp(FROM_MS_MIN, TO_MS_MAX);
    Ok(Period { from_ms: within(from_ms), to_ms: within(to_ms) })
}

#[derive(Serialize)]
struct Answer {
    dry_run: bool,
    sessions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    videos: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pages: Option<u64>,
    timeframe: AnswerTimeframe,
}

#[derive(Serialize)]
struct AnswerTimeframe {
    from: String,
    to: String,
}

/// Erases for requests, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Erasing(Arc<Mutex<()>>);

impl Erasing {
    /// `POST /erase`: counts the sessions, or deletes them if `expect` is at least their number. The count is a report
    /// like any other; `making` ends with it.
    pub(crate) async fn respond(
        &self,
        metrics: &Metrics,
        making: Making,
        headers: &HeaderMap,
        params: Params,
    ) -> Result<Response<Body>, Error> {
        check(headers, &params)?;
        let selected = EraseSelection::read(&params, metrics.now())?;
        let is_dry = params.get("dry_run").is_none() || params.flag("dry_run")?;
        let expected = params.integer_or_none("expect", 0..=u64::MAX >> 11)?;
        // Deletions run one at a time: each reads much of the store.
        let erasing = Arc::clone(&self.0);
        let erasing = (!is_dry).then(|| erasing.try_lock_owned()).transpose();
        let erasing = erasing.map_err(|_| Error::Busy)?;
        let counting = async {
            let reports = metrics.reports().within(&making.account);
            Ok(reports.selected(&selected.erasure).await?.sessions)
        };
        let sessions = within_time(counting).await?;
        drop(making);
        let mut answer = answer(&selected, is_dry, sessions);
        if let Some(erasing) = erasing {
            let expected = expected.ok_or_else(|| {
                let needed = "is required with `dry_run: false`: send the `sessions` of a dry run";
                Error::missing("expect", needed)
            })?;
            if expected < sessions {
                return Err(Error::MoreThanExpected { expected, sessions });
            }
            let metrics = metrics.clone();
            // The deletion goes on if the client disconnects.
            let erasing = tokio::spawn(async move {
                let _erasing = erasing;
                selected.erase(metrics.store(), Some(expected)).await
            });
            let erased = erasing.await.map_err(|_| Error::Busy)??;
            if erased.is_cut {
                return Err(Error::MoreSince { erased: erased.sessions.sessions });
            }
            answer.sessions = erased.sessions.sessions;
            // The videos and pages may have been those of other keys.
            if params.has_all_keys() {
                (answer.videos, answer.pages) = (Some(erased.videos), Some(erased.pages));
            }
        }
        Ok(response::json(StatusCode::OK, &answer))
    }
}

/// Rejects requests that are not understood in full: a misspelt parameter would select more. A body that is not
/// declared as JSON may be a form of another site.
fn check(headers: &HeaderMap, params: &Params) -> Result<(), Error> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Error::body("the body must be JSON, with `content-type: application/json`"));
    }
    params.check_no_nulls()?;
    params.check_names(&PARAMETERS)
}

fn answer(selected: &EraseSelection, dry_run: bool, sessions: u64) -> Answer {
    let (from, to) = selected.timeframe();
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let timeframe = AnswerTimeframe { from: text(from), to: text(to) };
    Answer { dry_run, sessions, videos: None, pages: None, timeframe }
}
