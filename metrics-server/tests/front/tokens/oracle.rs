//! Sessions, limits of tokens and filters, as a naive oracle evaluates them.

use metrics_server_testing::{CHROME, TestServer};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::batch;

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 \
    (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

const SESSIONS: usize = 12;

/// A session as the oracle knows it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) number: usize,
    key: &'static str,
    video: usize,
    host: &'static str,
    device: &'static str,
    plan: &'static str,
}

impl Session {
    pub(super) fn all() -> Vec<Self> {
        let session = |number: usize| Self {
            number,
            key: ["one", "two"][number % 2],
            video: number % 3,
            host: ["a.example", "b.example"][(number / 2) % 2],
            device: ["desktop", "mobile"][(number / 3) % 2],
            plan: ["free", "pro"][(number / 5) % 2],
        };
        (0..SESSIONS).map(session).collect()
    }

    fn identifier(&self) -> String {
        format!("v{}", self.video)
    }

    /// The title of its video under its key, which no other has.
    pub(super) fn title(&self) -> String {
        format!("title-{}-{}-end", self.key, self.video)
    }

    fn course(&self) -> &'static str {
        ["knots", "ropes", "knots"][self.video]
    }

    /// The text that only this session has.
    pub(super) fn name(&self) -> String {
        format!("mark-{}-end", self.number)
    }

    pub(super) async fn record(&self, server: &TestServer) {
        let event = json!({
            "key": self.key, "session_id": self.name(), "embed_id": self.identifier(),
            "metadata": { "title": self.title(), "course": self.course() },
            "session_data": { "plan": self.plan, "own": self.name(), self.name(): true },
            "source_url": format!("https://{}/watch", self.host), "duration": 5_000,
        });
        let seconds = f64::from(1 << self.number);
        let user_agent = if self.device == "mobile" { PHONE } else { CHROME };
        let http = server.http("POST", "/v1/events").header("user-agent", user_agent);
        assert_eq!(http.json(&batch(&event, seconds)).send().await.status, 200);
    }
}

/// A filter, as the oracle evaluates it.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Is(&'static str, Vec<String>, bool),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

impl Condition {
    pub(super) fn holds(&self, session: &Session) -> bool {
        match self {
            Self::Is(dimension, values, is_negated) => {
                let value = match *dimension {
                    "key" => session.key.to_owned(),
                    "video" => session.identifier(),
                    "video.course" => session.course().to_owned(),
                    "page_host" => session.host.to_owned(),
                    "device" => session.device.to_owned(),
                    _ => session.plan.to_owned(),
                };
                values.contains(&value) != *is_negated
            }
            Self::All(parts) => parts.iter().all(|part| part.holds(session)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(session)),
            Self::Not(part) => !part.holds(session),
        }
    }

    fn json(&self) -> Value {
        let list = |name: &str, parts: &[Self]| {
            let parts = parts.iter().map(Self::json);
            std::iter::once(json!(name)).chain(parts).collect()
        };
        match self {
            Self::Is(dimension, values, is_negated) => {
                json!([if *is_negated { "is_not" } else { "is" }, dimension, values])
            }
            Self::All(parts) => list("and", parts),
            Self::Any(parts) => list("or", parts),
            Self::Not(part) => json!(["not", part.json()]),
        }
    }
}

/// The limits of a token or of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) keys: Option<Vec<&'static str>>,
    pub(super) identifiers: Option<Vec<String>>,
    pub(super) course: Option<&'static str>,
    pub(super) plan: Option<&'static str>,
    pub(super) filter: Option<Condition>,
}

impl Part {
    pub(super) fn holds(&self, session: &Session) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(&session.key))
            && self.identifiers.as_ref().is_none_or(|all| all.contains(&session.identifier()))
            && self.course.is_none_or(|course| course == session.course())
            && self.plan.is_none_or(|plan| plan == session.plan)
            && self.filter.as_ref().is_none_or(|filter| filter.holds(session))
    }

    /// The members of a token or of a request, which has its key in `query`.
    pub(super) fn members(&self, is_token: bool) -> Value {
        let mut members = json!({});
        let mut query = json!({});
        if let Some(course) = self.course {
            query["video"] = json!({ "course": course });
        }
        if let Some(plan) = self.plan {
            query["session"] = json!({ "plan": plan });
        }
        match &self.keys {
            Some(keys) if is_token => members["key"] = json!(keys),
            Some(keys) => query["key"] = json!(keys[0]),
            None => {}
        }
        if query != json!({}) {
            members["query"] = query;
        }
        if let Some(identifiers) = &self.identifiers {
            members["identifier"] = json!(identifiers);
        }
        if let Some(filter) = &self.filter {
            members["filters"] = filter.json();
        }
        members
    }
}

/// The present rights of the users who created tokens, by their names.
pub(super) fn creators() -> Vec<(&'static str, Part)> {
    let is = |dimension, value: &str| Condition::Is(dimension, vec![value.to_owned()], false);
    let mobile = Some(is("device", "mobile"));
    let of_page = Some(Condition::Not(Box::new(is("page_host", "a.example"))));
    let identifiers = Some(vec!["v0".to_owned(), "v1".to_owned()]);
    let all = Part::default;
    vec![
        ("all", all()),
        ("key", Part { keys: Some(vec!["one"]), ..all() }),
        ("mobile", Part { filter: mobile, plan: Some("pro"), ..all() }),
        ("videos", Part { identifiers, course: Some("knots"), filter: of_page, ..all() }),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let values = |dimension: &'static str, all: &'static [&'static str]| {
        let some = proptest::sample::subsequence(all, 1..=all.len());
        (some, any::<bool>()).prop_map(move |(values, is_negated)| {
            let values = values.into_iter().map(str::to_owned).collect();
            Condition::Is(dimension, values, is_negated)
        })
    };
    let leaf = prop_oneof![
        values("key", &["one", "two"]),
        values("video", &["v0", "v1", "v2", "other"]),
        values("video.course", &["knots", "ropes"]),
        values("page_host", &["a.example", "b.example"]),
        values("device", &["desktop", "mobile"]),
        values("session.plan", &["free", "pro"]),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let some = proptest::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            some.clone().prop_map(Condition::All),
            some.prop_map(Condition::Any),
            inner.prop_map(|it| Condition::Not(Box::new(it))),
        ]
    })
}

pub(super) fn part(keys_max: usize) -> impl Strategy<Value = Part> {
    let keys = proptest::sample::subsequence(&["one", "two"][..], 1..=keys_max);
    let identifiers = proptest::sample::subsequence(&["v0", "v1", "v2", "other"][..], 1..=3);
    let of = proptest::option::weighted::<BoxedStrategy<_>>;
    (
        of(0.5, keys.boxed()),
        proptest::option::weighted(0.3, identifiers),
        proptest::option::weighted(0.2, proptest::sample::select(&["knots", "ropes"][..])),
        proptest::option::weighted(0.2, proptest::sample::select(&["free", "pro"][..])),
        proptest::option::weighted(0.6, condition()),
    )
        .prop_map(|(keys, identifiers, course, plan, filter)| Part {
            keys,
            identifiers: identifiers.map(|all| all.into_iter().map(str::to_owned).collect()),
            course,
            plan,
            filter,
        })
}
