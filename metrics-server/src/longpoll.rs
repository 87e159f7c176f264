//! `/socket/longpoll`: the channel protocol for clients without a websocket, as Phoenix's own clients speak it.
//!
//! A `GET` without a token opens a session and is answered with its token. A `GET` with the token is a poll: it is held
//! until there are messages, or for 10 s. A `POST` with the token carries messages to the server; its answer says that
//! they were acted upon, and the replies to them travel in polls. Clients poll while they post: where many replies wait
//! for a poll, so does the `POST`.
//!
//! Each answer has the HTTP status 200 and the protocol's own status in its JSON: clients look at nothing else.
//!
//! | status | to | means |
//! |---|---|---|
//! | 410 | `GET` without a token | a new session |
//! | 200 | a poll, `POST` | messages; acted upon |
//! | 204 | a poll | no messages yet |
//! | 403 | `GET` without a token | unknown version |
//! | 400 | `POST` | a message cannot be read, and the session is over |
//! | 410 | `POST` | the session is over |
//! | 500 | a poll, `GET` without a token | the session is over; no more sessions |

mod mailbox;
mod session;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use metrics_core::Metrics;
use metrics_core::budget::Budget;
use rand::RngExt as _;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::mailbox::Polled;
use self::session::{Post, Session};
use crate::attempts::CallerAddress;
use crate::body::Bodies;
use crate::channel::ConnectionInfo;
use crate::code::Code;
use crate::error::Error;
use crate::memory::LONGPOLL_BYTES;
use crate::phoenix::Version;
use crate::response::{self, Body};
use crate::share::{Shares, default_share};
use crate::wire::Refusal;

/// How many sessions there may be at once: as many viewers without websockets as 200,000 viewers have among them if it is
/// one in twenty. Each has a task of some kilobytes without a connection that would bound their number.
pub(crate) const SESSIONS_MAX: usize = 10_000;

const JSON: &str = "application/json";

/// All sessions. Cheap to clone: all clones are the same.
#[derive(Clone)]
pub(crate) struct LongPolls {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    memory: Budget,
    sessions: Mutex<HashMap<Token, Arc<Session>>>,
    // Apart from those of other requests: bodies here wait for the budget of their session.
    bodies: Bodies,
    // How many sessions each address has: a session goes on between its polls, when it is no connection.
    shares: Arc<Shares>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl LongPolls {
    /// One address may have `share` sessions, and a quarter of all unless it is said.
    pub(crate) fn new(
        metrics: Metrics,
        memory: Budget,
        share: Option<usize>,
        stopping: CancellationToken,
    ) -> Self {
        let bodies = Bodies::new(&memory);
        let shares = Shares::new(share.unwrap_or_else(|| default_share(SESSIONS_MAX)));
        let (sessions, tasks) = (Mutex::default(), TaskTracker::new());
        let inner = Inner { metrics, memory, sessions, bodies, shares, tasks, stopping };
        Self { inner: Arc::new(inner) }
    }

    /// How many sessions are open.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().len()
    }

    /// Waits until all sessions have ended, which they do when the server stops. Cancel safe.
    pub(crate) async fn wait(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Opens a session for a client at an address, if that is known.
    pub(crate) fn open(
        &self,
        version: Version,
        info: ConnectionInfo,
        caller_address: Option<CallerAddress>,
    ) -> Response<Body> {
        let Inner { metrics, memory, shares, stopping, tasks, .. } = &*self.inner;
        let token = Token::generate();
        let no_space = |code| {
            let text = "the server has no room for another session; try again";
            refused(500, &Refusal::new(code, text))
        };
        let Some(held) = memory.try_reserve(LONGPOLL_BYTES + info.bytes()) else {
            return no_space(Code::OutOfMemory);
        };
        let share = match caller_address
            .filter(|caller_address| !caller_address.is_loopback())
            .map(|caller_address| shares.take(caller_address))
        {
            Some(None) => return no_space(Code::TooManySessions),
            Some(share) => share,
            None => None,
        };
        let (session, posts) = Session::new(metrics, held);
        if stopping.is_cancelled() {
            return no_space(Code::Stopping);
        }
        let Some(entry) = self.register(token, &session) else {
            return no_space(Code::TooManySessions);
        };
        tasks.spawn(async move {
            let _share = share;
            let Inner { metrics, stopping, .. } = &*entry.sessions;
            session.run(posts, metrics, version, Arc::new(info), stopping).await;
        });
        polled(410, token, "")
    }

    /// Answers a poll.
    pub(crate) async fn poll(&self, token: Token) -> Response<Body> {
        // Phoenix's clients before 1.8 would take a new token for the old session, and not join again.
        let gone = || refused(500, &over());
        let Some(session) = self.find(token) else { return gone() };
        match session.mailbox.poll(&self.inner.metrics).await {
            Polled::Messages(messages) => polled(200, token, &messages),
            Polled::Nothing => polled(204, token, ""),
            Polled::Gone => gone(),
        }
    }

    /// Acts on messages of a session. `has_lines` says whether each line of the body is one, or all of it.
    pub(crate) async fn post<B>(
        &self,
        token: Option<Token>,
        has_lines: bool,
        body: B,
    ) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let gone = || refused(410, &over());
        let Some(session) = token.and_then(|token| self.find(token)) else { return Ok(gone()) };
        session.mailbox.record_contact(self.inner.metrics.moment());
        let body = self.inner.bodies.read(body).await?;
        let (outcome, acted) = oneshot::channel();
        // From here on it is acted upon, whether the client waits for that or not.
        if session.posts.send(Box::new(Post { body, has_lines, outcome })).await.is_err() {
            return Ok(gone());
        }
        Ok(match acted.await {
            Ok(Ok(())) => response::json(StatusCode::OK, &Status { status: 200, refusal: None }),
            Ok(Err(refusal)) => refused(400, &refusal),
            Err(_) => gone(),
        })
    }

    fn find(&self, token: Token) -> Option<Arc<Session>> {
        self.inner.lock().get(&token).cloned()
    }

    /// Makes a session known, if there are not too many.
    fn register(&self, token: Token, session: &Arc<Session>) -> Option<Entry> {
        let mut sessions = self.inner.lock();
        if SESSIONS_MAX <= sessions.len() {
            return None;
        }
        sessions.insert(token, Arc::clone(session));
        Some(Entry { sessions: Arc::clone(&self.inner), token })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Token, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is known as long as this is there.
struct Entry {
    sessions: Arc<Inner>,
    token: Token,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.token);
    }
}

/// The secret by which a client names its session: 128 random bits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Token(u128);

impl Token {
    /// Tells tokens from what pages call `token` in the parameters of their own.
    const PREFIX: &str = "longpoll-";

    fn generate() -> Self {
        Self(rand::rng().random())
    }

    /// The token in a query string. Clients append it, so the last parameter of that name counts.
    pub(crate) fn in_query(query: &str) -> Option<Self> {
        let named = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "token");
        let (_, text) = named.last()?;
        let digits = text.strip_prefix(Self::PREFIX)?;
        let is_complete = digits.len() == 32 && digits.bytes().all(|it| it.is_ascii_hexdigit());
        is_complete.then(|| u128::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:032x}", Self::PREFIX, self.0)
    }
}

/// An answer to a client of an unknown version of the serializer.
pub(crate) fn forbidden() -> Response<Body> {
    let err = Error::UnknownVersion;
    refused(403, &Refusal::new(err.code(), err.to_string()))
}

/// An answer to a poll, with the elements of its JSON array of messages.
fn polled(status: u16, token: Token, messages: &str) -> Response<Body> {
    let json = format!(r#"{{"status":{status},"token":"{token}","messages":[{messages}]}}"#);
    response::text(JSON, json)
}

/// An answer without messages.
#[derive(Serialize)]
struct Status<'a> {
    status: u16,
    #[serde(flatten)]
    refusal: Option<RefusalBody<'a>>,
}

/// The reason for a status that is no success.
#[derive(Serialize)]
struct RefusalBody<'a> {
    error: &'a str,
    code: Code,
}

fn over() -> Refusal {
    Refusal::new(Code::SessionOver, "the session is over; connect again")
}

/// An answer to a client whose request is refused.
fn refused(status: u16, refusal: &Refusal) -> Response<Body> {
    let refusal = Some(RefusalBody { error: &refusal.reason, code: refusal.code });
    response::json(StatusCode::OK, &Status { status, refusal })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use metrics_core::store::SqliteStore;
    use tempfile::TempDir;

    use super::*;
    use crate::connection::UNJOINED_MAX;

    /// How large the task of a session may be, in bytes. There may be as many as [`SESSIONS_MAX`].
    const TASK_BYTES_MAX: usize = 2_048;

    async fn long_polls(directory: &TempDir) -> LongPolls {
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        LongPolls::new(Metrics::new(store), Budget::new(1 << 30), None, CancellationToken::new())
    }

    /// The status of a new session, or of the refusal of one.
    async fn open(longpolls: &LongPolls) -> serde_json::Value {
        open_from(longpolls, None).await["status"].clone()
    }

    async fn open_from(
        longpolls: &LongPolls,
        caller_address: Option<CallerAddress>,
    ) -> serde_json::Value {
        let response = longpolls.open(Version::V2, ConnectionInfo::default(), caller_address);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_end_of_sessions_but_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let longpolls = long_polls(&directory).await;
        for _ in 0..SESSIONS_MAX {
            assert_eq!(open(&longpolls).await, 410);
        }
        assert_eq!((open(&longpolls).await, longpolls.len()), (500.into(), SESSIONS_MAX));
        // None of them was polled.
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!((open(&longpolls).await, longpolls.len()), (410.into(), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_leaves_sessions_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let longpolls = long_polls(&directory).await;
        let caller_address = |address: [u8; 4]| Some(CallerAddress(address.into()));
        let (one, other, here) = (
            caller_address([192, 0, 2, 1]),
            caller_address([192, 0, 2, 2]),
            caller_address([127, 0, 0, 1]),
        );
        for _ in 0..default_share(SESSIONS_MAX) {
            assert_eq!(open_from(&longpolls, one).await["status"], 410);
        }
        assert_eq!(open_from(&longpolls, one).await["status"], 500);
        for caller_address in [other, here, None] {
            assert_eq!(open_from(&longpolls, caller_address).await["status"], 410);
        }
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(open_from(&longpolls, one).await["status"], 410);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_joins_nothing_ends_however_often_it_polls() {
        let directory = tempfile::tempdir().unwrap();
        let longpolls = long_polls(&directory).await;
        let token = open_from(&longpolls, None).await["token"].as_str().unwrap().to_owned();
        let token = Token::in_query(&format!("token={token}")).unwrap();
        let began = tokio::time::Instant::now();
        while longpolls.find(token).is_some() {
            let response = longpolls.poll(token).await;
            drop(response.into_body().collect().await.unwrap());
            let heartbeat = r#"[null,"1","phoenix","heartbeat",{}]"#.to_owned();
            let post = longpolls.post(Some(token), false, http_body_util::Full::from(heartbeat));
            drop(post.await);
            assert!(began.elapsed() < Duration::from_secs(60), "it goes on");
        }
        assert!(UNJOINED_MAX <= began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_take_memory_until_they_end() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        let memory = Budget::new(10 * LONGPOLL_BYTES);
        let longpolls =
            LongPolls::new(Metrics::new(store), memory.clone(), None, CancellationToken::new());
        for _ in 0..10 {
            assert_eq!(open(&longpolls).await, 410);
        }
        assert_eq!(open(&longpolls).await, 500);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!((memory.used(), open(&longpolls).await), (0, 410.into()));
    }

    #[tokio::test]
    async fn after_a_stop_there_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let longpolls = long_polls(&directory).await;
        assert_eq!(open(&longpolls).await, 410);
        longpolls.inner.stopping.cancel();
        longpolls.wait().await;
        let refused = open_from(&longpolls, None).await;
        assert_eq!((&refused["status"], &refused["code"]), (&500.into(), &"stopping".into()));
        assert_eq!(longpolls.len(), 0);
    }

    #[tokio::test]
    async fn the_task_of_a_session_is_small() {
        let directory = tempfile::tempdir().unwrap();
        let LongPolls { inner } = long_polls(&directory).await;
        let (session, posts) = Session::new(&inner.metrics, inner.memory.charge(0));
        let info = Arc::default();
        let task = session.run(posts, &inner.metrics, Version::V2, info, &inner.stopping);
        assert!(size_of_val(&task) <= TASK_BYTES_MAX, "{} bytes", size_of_val(&task));
    }

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let token = Token::generate();
        assert!(Token::in_query(&format!("token={token}")) == Some(token));
        assert!(Token::in_query(&format!("token={token}&token=mine")).is_none());
        assert!(Token::in_query(&format!("token={token}0")).is_none());
        assert!(Token::in_query("token=longpoll-+0000000000000000000000000000000").is_none());
    }
}
