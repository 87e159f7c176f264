//! The sessions and metrics that a caller may read, as claims of tokens and lines of users name them.

use metrics_core::query::{Dimension, Filter, Metric};
use metrics_core::{ApiKey, Selection};
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::selection::{both, both_filters, check_set, read_identifiers, read_query};

/// The largest number of keys of one caller that a token or a user names: their filter has as many values.
const KEYS_MAX: usize = 500;

/// Names in `metrics` beside those of metrics: the reports whose numbers are no metrics of a query.
const REPORTS: [&str; 2] = ["engagement", "watching"];

/// The name that a report of all columns of sessions needs: no list of metrics has it.
pub(crate) const EVERYTHING: &str = "*";

/// The sessions, and their metrics, that a caller may read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Confinement {
    /// The keys; `None` for all.
    pub(crate) keys: Option<Vec<ApiKey>>,
    /// The sessions of these keys. Its own key is not set.
    pub(crate) selection: Selection,
    /// The names of metrics; `None` for all, and for single sessions.
    pub(crate) metrics: Option<Vec<String>>,
}

impl Confinement {
    /// The members in JSON.
    pub(crate) const MEMBERS: [&str; 5] = ["key", "identifier", "query", "filters", "metrics"];

    pub(crate) fn of_keys(keys: Vec<ApiKey>) -> Self {
        Self { keys: Some(keys), ..Self::default() }
    }

    /// Reads `key`, `identifier`, `query`, `filters` and `metrics`; other members are left to the caller.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] or [`Error::Query`] if a member is invalid. A member that is null is invalid: it narrows
    /// nothing, and may be missing by mistake.
    pub(crate) fn from_json(members: &Map<String, Value>) -> Result<Self, Error> {
        let mut selection = match members.get("query") {
            Some(query) => {
                check_set(query)?;
                read_query(query)?
            }
            None => Selection::default(),
        };
        selection.identifiers = members.get("identifier").map(read_identifiers).transpose()?;
        if let Some(filters) = members.get("filters") {
            selection.filter = Filter::from_json(filters)?;
            check_timeless(&selection.filter)?;
        }
        let mut keys = members.get("key").map(read_keys).transpose()?;
        if let Some(key) = selection.key.take() {
            keys = Some(match keys {
                Some(keys) => keys.into_iter().filter(|it| *it == key).collect(),
                None => vec![key],
            });
        }
        let metrics = members.get("metrics").map(read_metrics).transpose()?;
        Ok(Self { keys, selection, metrics })
    }

    /// Writes the members that are set.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let Self { keys, selection, metrics } = self;
        let Selection { identifiers, video, session, key: _, filter } = selection;
        let mut query = Map::new();
        query.extend(video.clone().map(|video| ("video".to_owned(), Value::Object(video))));
        query.extend(session.clone().map(|data| ("session".to_owned(), Value::Object(data))));
        let keys = keys.as_ref().map(|keys| match &keys[..] {
            [only] => json!(only.as_str()),
            keys => keys.iter().map(ApiKey::as_str).collect(),
        });
        let members = [
            ("key", keys),
            ("identifier", identifiers.as_ref().map(|all| json!(all))),
            ("query", (!query.is_empty()).then_some(Value::Object(query))),
            ("filters", (!filter.is_empty()).then(|| filter.to_json())),
            ("metrics", metrics.as_ref().map(|names| json!(names))),
        ];
        let set = |(name, value): (&str, Option<Value>)| Some((name.to_owned(), value?));
        members.into_iter().filter_map(set).collect()
    }

    /// Narrows a selection to the sessions that may be read.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] if it names another key, or there is none; [`Error::Query`] if both filters together are
    /// too large.
    pub(crate) fn restrict(&self, asked: Selection) -> Result<Selection, Error> {
        let mut narrowed = both(&self.selection, asked);
        if let Some(keys) = &self.keys {
            match (&narrowed.key, &keys[..]) {
                (Some(key), keys) if keys.contains(key) => {}
                (Some(_), _) | (None, []) => return Err(Error::Forbidden),
                (None, [only]) => narrowed.key = Some(only.clone()),
                (None, several) => {
                    let several = several.iter().map(ApiKey::as_str);
                    let of_keys = Filter::is(Dimension::Key, several);
                    narrowed.filter = both_filters(of_keys, narrowed.filter);
                }
            }
        }
        narrowed.filter.check()?;
        Ok(narrowed)
    }

    /// The part that is in both. A caller may pass on no more.
    ///
    /// # Errors
    ///
    /// [`Error::NotGranted`] if the other part names a key or a metric that is not in this one.
    pub(crate) fn intersect(&self, asked: Self) -> Result<Self, Error> {
        let keys = match (&self.keys, asked.keys) {
            (Some(own), Some(asked)) if !asked.iter().all(|key| own.contains(key)) => {
                return Err(Error::NotGranted("`key` must be one of your keys"));
            }
            (own, asked) => asked.or_else(|| own.clone()),
        };
        let metrics = match (&self.metrics, asked.metrics) {
            (Some(own), Some(asked)) if !asked.iter().all(|name| own.contains(name)) => {
                return Err(Error::NotGranted("`metrics` must be among your own"));
            }
            (own, asked) => asked.or_else(|| own.clone()),
        };
        let selection = both(&self.selection, asked.selection);
        selection.filter.check()?;
        Ok(Self { keys, selection, metrics })
    }

    /// Checks that the caller may read numbers of these names.
    ///
    /// # Errors
    ///
    /// [`Error::NotGranted`] if one is not among the metrics.
    pub(crate) fn check_metrics<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let Some(metrics) = &self.metrics else { return Ok(()) };
        match names.into_iter().all(|name| metrics.iter().any(|it| it == name)) {
            true => Ok(()),
            false => {
                Err(Error::NotGranted("your `metrics` do not have the numbers of this request"))
            }
        }
    }

    /// Checks that a filter of the caller discloses no number that is not among the metrics: many requests with
    /// different limits would.
    ///
    /// # Errors
    ///
    /// [`Error::NotGranted`] if there is a list of metrics, and the filter compares a number of sessions.
    pub(crate) fn check_filter(&self, filter: &Filter) -> Result<(), Error> {
        match self.metrics.is_some() && !is_of_dimensions(filter) {
            true => {
                Err(Error::NotGranted("with `metrics`, filters on numbers of sessions are refused"))
            }
            false => Ok(()),
        }
    }

    /// Whether all numbers of the sessions may be read.
    pub(crate) fn has_all_metrics(&self) -> bool {
        self.metrics.is_none()
    }

    /// Whether nothing is withheld from the caller.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether everything of the keys may be read.
    pub(crate) fn has_whole_keys(&self) -> bool {
        self.selection == Selection::default() && self.metrics.is_none()
    }

    /// Whether all or no sessions of a video may be read.
    pub(crate) fn has_whole_videos(&self) -> bool {
        let Selection { session, filter, .. } = &self.selection;
        session.is_none() && holds_for_all(filter, &Dimension::is_of_video)
    }
}

/// Whether a filter only has conditions on dimensions, and none on numbers of sessions.
pub(crate) fn is_of_dimensions(filter: &Filter) -> bool {
    holds_for_all(filter, &|_| true)
}

/// Whether a filter only has conditions on dimensions for which `is_fine` holds.
fn holds_for_all(filter: &Filter, is_fine: &dyn Fn(&Dimension) -> bool) -> bool {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => {
            parts.iter().all(|part| holds_for_all(part, is_fine))
        }
        Filter::Not(part) => holds_for_all(part, is_fine),
        Filter::Dimension { dimension, .. } => is_fine(dimension),
        _ => false,
    }
}

/// Rejects conditions on the time of sessions: the caller chooses the time zone, and so their meaning.
fn check_timeless(filter: &Filter) -> Result<(), Error> {
    let is_fine = match filter {
        Filter::And(parts) | Filter::Or(parts) => {
            return parts.iter().try_for_each(check_timeless);
        }
        Filter::Not(part) => return check_timeless(part),
        Filter::Dimension { dimension, .. } => {
            let repeats = matches!(dimension, Dimension::HourOfDay | Dimension::DayOfWeek);
            !dimension.is_time() && !repeats
        }
        _ => true,
    };
    if is_fine {
        return Ok(());
    }
    let expected =
        "must not have the time of sessions: its meaning depends on the time zone of a request";
    Err(Error::parameter("filters", expected))
}

fn read_keys(value: &Value) -> Result<Vec<ApiKey>, Error> {
    let texts = match value {
        Value::String(text) => vec![text.as_str()],
        Value::Array(all) if all.len() <= KEYS_MAX => {
            all.iter().map(|it| it.as_str().unwrap_or_default()).collect()
        }
        _ => Vec::from([""]),
    };
    let keys = texts.into_iter().map(ApiKey::new).collect::<Result<Vec<_>, _>>();
    keys.map_err(|_| Error::parameter("key", "must be an API key, or an array of at most 500"))
}

fn read_metrics(value: &Value) -> Result<Vec<String>, Error> {
    let known = |name: &str| name.parse::<Metric>().is_ok() || REPORTS.contains(&name);
    let text = |name: &Value| name.as_str().filter(|name| known(name)).map(str::to_owned);
    let names = value.as_array().and_then(|names| names.iter().map(text).collect());
    names.ok_or_else(|| {
        let expected = "must be an array of names of metrics, `engagement` and `watching`";
        Error::parameter("metrics", expected)
    })
}
