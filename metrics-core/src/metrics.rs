//! The way in for applications: one handle that records viewings and answers reports.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::budget::Budget;
use crate::containment::{DEPTH_MAX, canonical, has_nul, is_too_deep};
use crate::engagement::{Part, SecondsBucket};
use crate::key::limits::Limits;
use crate::key::{ApiKey, KeySettings, SessionId};
use crate::keyring::{Keyring, Keys, Valid};
use crate::query::{BucketQuery, EngagementQuery, Periods, Query, Selection};
use crate::quota::{Charge, Kind, Quotas, RateExceeded, Usage};
use crate::recorder::AnotherVideo;
use crate::recorder::{
    Admitted, Clock, MEMORY, NotJoined, Recorder, Spool, SpoolError, Stats, Stopped, Viewing,
};
use crate::report::{PlaysBucket, SourceBucket};
use crate::reports::{ReportError, Reports, VideoList, VideosQuery};
use crate::retention::Retention;
use crate::scan::Answer;
use crate::session::Moment;
use crate::shutdown::{Lifeline, Shutdown};
use crate::source::{PageDetail, Source};
use crate::store::{Error, KeyChange, KeyRecord, Store, Subject};
use crate::time_bucket::{Buckets, Span};
use crate::upkeep::Upkeep;
use crate::user_agent::{Classification, Classifier, Headers, UserAgentClass};
use crate::video::{IDENTIFIER_BYTES_MAX, METADATA_BYTES_MAX, Video};

/// The longest id that a client may give a session, in bytes. A UUID has 36.
pub const SESSION_BYTES_MAX: usize = 256;

/// How known bots are treated, by their User-Agent or their brands: see [`Classification::Bot`].
///
/// [`Classification::Bot`]: crate::user_agent::Classification::Bot
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Bots {
    /// They may not join.
    #[default]
    Refuse,
    /// They count, with all classes `other`.
    Count,
}

/// Video analytics over a store.
///
/// Cheap to clone: all clones are the same. Tasks run as long as there is one, or a [`Viewing`]: the writer, the one
/// that keeps keys up to date, and the one that deletes old sessions, if they are not kept for ever.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// use metrics_core::store::SqliteStore;
/// use metrics_core::{Join, Metrics, PlayerEvent, Selection, Video};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("metrics.db");
/// let metrics = Metrics::new(SqliteStore::open(&path).await?);
/// let key = metrics.create_key().await?;
///
/// let session = metrics.join(Join::new(key, "a random id", Video::labelled("intro"))).await?;
/// session.apply(PlayerEvent::play(0.0)).await?; // Durable when it returns.
/// session.apply(PlayerEvent::pause(12.5)).await?;
///
/// let plays = metrics.plays(&Selection::identifier("intro").into()).await?;
/// assert_eq!((plays[0].totals.plays, plays[0].totals.view_ms), (1, 12_500));
/// # metrics.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    recorder: Arc<Recorder>,
    keyring: Arc<Keyring>,
    quotas: Arc<Quotas>,
    page_detail: PageDetail,
    classifier: Classifier,
    bots: Bots,
    lifeline: Lifeline,
    // Says `true` when the writer has ended.
    ended: watch::Receiver<bool>,
}

/// Makes a [`Metrics`] that is not as usual.
pub struct Builder {
    store: Arc<dyn Store>,
    bots: Bots,
    clock: Clock,
    retention: Option<Span>,
    limits: Limits,
    page_detail: PageDetail,
    memory: Budget,
}

impl Builder {
    /// What to do with bots: refuse them, unless said otherwise.
    #[must_use]
    pub fn bots(self, bots: Bots) -> Self {
        Self { bots, ..self }
    }

    /// How long sessions are kept, from their start on: for ever, unless said otherwise.
    ///
    /// Old ones are deleted every hour, with the videos and pages that no session names any more; sessions of the last day
    /// are kept always, because they may still be watched. The first turn is an hour after the start, and no turn trusts
    /// the clock alone: see [`retention`](mod@crate::retention).
    ///
    /// ```no_run
    /// # fn example(store: metrics_core::store::SqliteStore) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use metrics_core::Metrics;
    ///
    /// let metrics = Metrics::builder(Arc::new(store)).retention("25 months".parse()?).start();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn retention(self, span: Span) -> Self {
        Self { retention: Some(span), ..self }
    }

    /// The limits of keys that set none: the defaults, unless said otherwise.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How much of pages is kept: their paths, unless said otherwise.
    #[must_use]
    pub fn page_detail(self, page_detail: PageDetail) -> Self {
        Self { page_detail, ..self }
    }

    /// How many videos a key may have: [`VIDEOS_MAX`](crate::limits::VIDEOS_MAX), unless said otherwise. Sessions of further ones are refused with
    /// [`NotStored::TooManyVideos`](crate::recorder::NotStored); those that are there are recorded as before. Instances
    /// that add some at the same moment may add a few more.
    #[must_use]
    pub fn videos_max(self, videos_max: u32) -> Self {
        let limits = Limits { videos: videos_max, ..self.limits };
        Self { limits, ..self }
    }

    /// The memory budget that sessions and their events reserve from: one of [`MEMORY`] bytes,
    /// unless said otherwise. Sessions take at most three quarters of it; see [`Metrics::ready`] and
    /// [`JoinError::Memory`] for what happens when it is used up.
    #[must_use]
    pub fn memory(self, memory: Budget) -> Self {
        Self { memory, ..self }
    }

    /// Where the time comes from: the system, unless said otherwise.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with a clock: its tasks need one.
    #[must_use]
    pub fn start(self) -> Metrics {
        let lifeline: Lifeline = Arc::new(watch::Sender::new(Shutdown::Running));
        let (end, ended) = watch::channel(false);
        if let Some(span) = self.retention {
            let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
            tokio::spawn(Retention { store, clock, span }.run(lifeline.subscribe()));
        }
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        let recorder = Arc::new(Recorder::new(
            Arc::clone(&self.store),
            self.clock,
            self.limits.videos,
            self.memory,
        ));
        let quotas = Arc::new(Quotas::new(Arc::clone(&recorder.tallies)));
        let pages = (Arc::clone(&quotas), Arc::clone(&self.store), lifeline.subscribe());
        tokio::spawn(async move { pages.0.pages.run(pages.1, pages.2).await });
        let (tallies, memory) = (Arc::clone(&recorder.tallies), recorder.memory().max());
        let upkeep = Upkeep { store, clock, tallies, memory };
        tokio::spawn(upkeep.run(lifeline.subscribe()));
        let keyring = Arc::new(Keyring::new(self.store, self.limits));
        tokio::spawn(Arc::clone(&keyring).run(lifeline.subscribe()));
        let writer = Arc::clone(&recorder).run(lifeline.subscribe());
        tokio::spawn(async move {
            writer.await;
            end.send_replace(true);
        });
        let classifier = Classifier::new();
        let (bots, page_detail) = (self.bots, self.page_detail);
        let inner =
            Inner { recorder, keyring, quotas, page_detail, classifier, bots, lifeline, ended };
        Metrics { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Records into `store` and answers from it.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with a clock: its tasks need one.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::builder(Arc::new(store)).start()
    }

    /// Where something is to be other than usual.
    #[must_use]
    pub fn builder(store: Arc<dyn Store>) -> Builder {
        Builder {
            store,
            bots: Bots::default(),
            clock: Clock::system(),
            retention: None,
            limits: Limits::default(),
            page_detail: PageDetail::default(),
            memory: Budget::new(MEMORY),
        }
    }

    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn create_key(&self) -> Result<ApiKey, Error> {
        let key = ApiKey::generate();
        self.import_key(&key).await?;
        Ok(key)
    }

    /// Adds a key that exists already, and returns false if it was there.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store could not.
    pub async fn import_key(&self, key: &ApiKey) -> Result<bool, Error> {
        self.add_key(key, KeySettings::default()).await
    }

    /// Adds a key with settings, and returns false if it was there.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store could not.
    pub async fn add_key(&self, key: &ApiKey, settings: KeySettings) -> Result<bool, Error> {
        let record = KeyRecord { settings, ..KeyRecord::new(key.clone(), self.now()) };
        self.inner.keyring.add(&record).await
    }

    /// Changes a key, and returns false if there is none. Every instance heeds it within a second, for viewers who join
    /// from then on.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store could not.
    pub async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        self.inner.keyring.change(key, change).await
    }

    /// How much each of these keys has used of its limits: of totals, and of rates per key in this process.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store could not.
    pub async fn usage(&self, keys: &[KeyRecord]) -> Result<Vec<Vec<Usage>>, Error> {
        let of: Vec<_> = keys.iter().map(|record| record.key.clone()).collect();
        let videos = self.store().count_videos(&of).await?;
        let usage = keys.iter().zip(videos).map(|(record, videos)| {
            let limits = self.inner.keyring.limits(&record.settings);
            self.inner.quotas.usage(&record.key, &limits, videos)
        });
        Ok(usage.collect())
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store could not.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.store().keys().await
    }

    /// Disables a key and returns true, or false if there is no such key. What it recorded can still be read.
    ///
    /// Every instance refuses the key within a second.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store could not.
    pub async fn revoke_key(&self, key: &ApiKey) -> Result<bool, Error> {
        self.change_key(key, &KeyChange::Revoke(self.now())).await
    }

    /// Whether a key may send viewings.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store was never reached.
    pub async fn accepts_key(&self, key: &ApiKey) -> Result<bool, Error> {
        Ok(self.inner.keyring.valid(key).await?.is_some())
    }

    /// Whether it is known which keys there are: the store was reached once.
    #[must_use]
    pub fn knows_keys(&self) -> bool {
        self.inner.keyring.is_known()
    }

    /// Resolves whenever keys were added or revoked.
    #[must_use]
    pub fn key_changes(&self) -> KeyChanges {
        KeyChanges { keys: self.inner.keyring.changes() }
    }

    /// A viewer who is connected joins a session, or comes back to it, and speaks for it from now on.
    ///
    /// # Errors
    ///
    /// [`JoinError`] says why not.
    pub async fn join(&self, join: Join) -> Result<Viewing, JoinError> {
        let Inner { recorder, lifeline, .. } = &*self.inner;
        let admitted = self.judge(join).await;
        self.tally(admitted.and_then(|admitted| Ok(recorder.connect(lifeline, admitted)?)))
    }

    /// A viewer who is not connected, but sends batches, is heard of.
    ///
    /// # Errors
    ///
    /// [`JoinError`] says why not.
    pub async fn visit(&self, join: Join) -> Result<Viewing, JoinError> {
        let Inner { recorder, lifeline, .. } = &*self.inner;
        let admitted = self.judge(join).await;
        self.tally(admitted.and_then(|admitted| Ok(recorder.visit(lifeline, admitted)?)))
    }

    /// Waits while more events wait for the store than may, by their number or by the memory that is left. Ask before
    /// reading more of them.
    pub async fn ready(&self) {
        self.inner.recorder.ready().await;
    }

    /// How recording goes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.recorder.stats()
    }

    /// Reports as of this moment.
    #[must_use]
    pub fn reports(&self) -> Reports<'_> {
        Reports::new(self.store(), self.now())
    }

    /// Plays per time bucket.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if there would be too many buckets, or the store could not.
    pub async fn plays(&self, query: &BucketQuery) -> Result<Vec<PlaysBucket>, ReportError> {
        self.reports().plays(query).await
    }

    /// Plays per time bucket and page.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store could not.
    pub async fn sources(&self, query: &BucketQuery) -> Result<Vec<SourceBucket>, ReportError> {
        self.reports().sources(query).await
    }

    /// Distinct viewers in each of `parts` equal parts of what was watched.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store could not.
    pub async fn engagement(
        &self,
        query: &EngagementQuery,
        parts: u32,
    ) -> Result<Vec<Part>, ReportError> {
        self.reports().engagement(query, parts).await
    }

    /// Views and viewers of every second, or of every step, per time bucket.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store could not.
    pub async fn engagement_per_second(
        &self,
        query: &EngagementQuery,
        buckets: Buckets,
    ) -> Result<Vec<SecondsBucket>, ReportError> {
        self.reports().engagement_per_second(query, buckets).await
    }

    /// Any metrics by any dimensions, and the periods that the query is about.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// # use metrics_core::store::SqliteStore;
    /// use metrics_core::Metrics;
    /// use metrics_core::query::{Dimension, Metric, Query};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let metrics = Metrics::new(SqliteStore::open(directory.path().join("metrics.db")).await?);
    /// let top = Query::new([Metric::Plays, Metric::AveragePercentageViewed]).by(Dimension::Video);
    /// let (answer, _) = metrics.query(&top).await?;
    /// for row in answer.results {
    ///     println!("{:?}: {:?}", row.dimensions[0], row.numbers.metrics);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the query cannot be answered, or the store could not.
    pub async fn query(&self, query: &Query) -> Result<(Answer, Periods), ReportError> {
        self.reports().query(query).await
    }

    /// Lists the videos of a selection with their metrics, and returns the periods that the metrics cover.
    ///
    /// # Errors
    ///
    /// Those of [`query`](Self::query).
    pub async fn videos(&self, query: &VideosQuery) -> Result<(VideoList, Periods), ReportError> {
        self.reports().videos(query).await
    }

    /// How many sessions play at this moment, over all instances.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store could not.
    pub async fn watching(&self, selection: &Selection) -> Result<u64, ReportError> {
        self.reports().watching(selection).await
    }

    /// The memory budget that sessions reserve from; see [`Builder::memory`].
    #[must_use]
    pub fn memory(&self) -> &Budget {
        self.inner.recorder.memory()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.inner.recorder.store
    }

    /// The time, by the clock that this was started with.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.recorder.now()
    }

    /// This moment, by the clock that this was started with.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.inner.recorder.moment()
    }

    /// Finishes: returns when everything that was recorded is durable. Events that come after fail.
    ///
    /// Drop the viewings first, so that what they have open is closed.
    pub async fn stop(&self) {
        self.end(Shutdown::Drain).await;
    }

    /// Finishes like [`stop`](Self::stop), but within `limit`: what the store has not taken by then is left in a
    /// file, for [`Spool::recover`] at the next start.
    ///
    /// Not cancel safe: if it is dropped, what is not durable is lost.
    ///
    /// # Errors
    ///
    /// [`SpoolError`] if the file cannot be written: what was not acknowledged is lost then.
    pub async fn stop_within(&self, limit: Duration, spool: &Spool) -> Result<Stopped, SpoolError> {
        if timeout(limit, self.end(Shutdown::Drain)).await.is_err() {
            self.end(Shutdown::Abort).await;
        }
        self.inner.recorder.spill(spool).await
    }

    async fn end(&self, shutdown: Shutdown) {
        self.inner.lifeline.send_replace(shutdown);
        let mut ended = self.inner.ended.clone();
        // An error means that the writer is gone, which is what is waited for.
        let _gone = ended.wait_for(|ended| *ended).await.is_err();
    }

    /// Counts what became of a viewer who joined.
    fn tally(&self, joined: Result<Viewing, JoinError>) -> Result<Viewing, JoinError> {
        let joins = &self.inner.recorder.tallies.joins;
        let tally = match &joined {
            Ok(_) => &joins.admitted,
            Err(JoinError::InvalidKey) => &joins.invalid_key,
            Err(JoinError::Bot) => &joins.bot,
            Err(JoinError::Origin) => &joins.origin,
            Err(JoinError::TooMany(_)) => &joins.too_many,
            Err(JoinError::Store(_)) => &joins.unavailable,
            Err(JoinError::Memory) => &joins.no_memory,
            Err(
                JoinError::NoSession
                | JoinError::TooLong { .. }
                | JoinError::Nul { .. }
                | JoinError::TooDeep { .. }
                | JoinError::AnotherVideo(_),
            ) => &joins.invalid,
        };
        tally.add(1);
        joined
    }

    /// Says who sent `headers`, for [`Join::classification`].
    #[must_use]
    pub fn classify(&self, headers: Headers<'_>) -> Classification {
        self.inner.classifier.classify(headers)
    }

    async fn judge(&self, join: Join) -> Result<Admitted, JoinError> {
        if join.session.is_empty() {
            return Err(JoinError::NoSession);
        }
        let session_data = join.session_data.map(|data| canonical(&Value::Object(data)));
        fits("session", Some(&join.session), SESSION_BYTES_MAX)?;
        fits("identifier", join.video.identifier(), IDENTIFIER_BYTES_MAX)?;
        if join.video.identifier().is_some_and(|identifier| identifier.contains('\0')) {
            return Err(JoinError::Nul { field: "identifier" });
        }
        check_json("metadata", join.video.metadata())?;
        check_json("session_data", session_data.as_deref())?;
        let valid = self.inner.keyring.valid(&join.key).await?.ok_or(JoinError::InvalidKey)?;
        let page = join.page.as_deref().and_then(Source::parse);
        if !valid.settings.allows(page.as_ref(), join.origin.as_deref()) {
            return Err(JoinError::Origin);
        }
        let headers =
            Headers { user_agent: join.user_agent.as_deref(), brands: join.brands.as_deref() };
        let classification = join.classification.unwrap_or_else(|| self.classify(headers));
        let user_agent = match (classification, self.inner.bots) {
            (Classification::Viewer(user_agent), _) => user_agent,
            (Classification::Bot, Bots::Count) => UserAgentClass::default(),
            (Classification::Bot, Bots::Refuse) => return Err(JoinError::Bot),
        };
        let id = SessionId::new(&join.key, &join.session);
        let charge = self.charge((&join.key, id), join.address, &valid)?;
        let source = page
            .and_then(|page| valid.settings.reduce(page).reduced(self.inner.page_detail))
            .and_then(|page| self.inner.quotas.pages.admit(&join.key, &charge, page));
        let salt = join.key.salt(&join.session);
        let clock_shift_ms = join.key.clock_shift_ms(&join.session);
        let subject =
            Subject { key: join.key, video: join.video, source, user_agent, session_data };
        let (charge, gives_signs) = (Some(charge), join.gives_signs);
        Ok(Admitted { id, salt, clock_shift_ms, subject, charge, gives_signs })
    }

    /// Charges a join to its key and its address. A session in memory is charged once: whoever lost a connection comes
    /// back at no cost.
    fn charge(
        &self,
        (key, id): (&ApiKey, SessionId),
        address: Option<u64>,
        valid: &Valid,
    ) -> Result<Charge, RateExceeded> {
        let charge = self.inner.quotas.charge(key, address, Arc::clone(&valid.limits));
        if !self.inner.recorder.has(id) {
            charge.take(Kind::Joins)?;
        }
        Ok(charge)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("store", self.store()).finish_non_exhaustive()
    }
}

/// Sees changes of the keys. See [`Metrics::key_changes`].
#[derive(Clone, Debug)]
pub struct KeyChanges {
    keys: watch::Receiver<Option<Keys>>,
}

impl KeyChanges {
    /// Waits for the next change; for ever, if there will be none. Cancel safe.
    pub async fn changed(&mut self) {
        if self.keys.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether `key` is valid now, as far as it is known.
    #[must_use]
    pub fn accepts(&self, key: &ApiKey) -> bool {
        self.keys.borrow().as_ref().is_none_or(|keys| keys.contains_key(key))
    }
}

/// A viewer who joins a session.
#[derive(Clone, Debug)]
pub struct Join {
    key: ApiKey,
    session: String,
    video: Video,
    user_agent: Option<String>,
    brands: Option<String>,
    classification: Option<Classification>,
    page: Option<String>,
    origin: Option<String>,
    address: Option<u64>,
    session_data: Option<Map<String, Value>>,
    gives_signs: bool,
}

impl Join {
    /// Joins the session that the client calls `session`, a random text that is new for every viewing.
    #[must_use]
    pub fn new(key: ApiKey, session: impl Into<String>, video: Video) -> Self {
        Self {
            key,
            session: session.into(),
            video,
            user_agent: None,
            brands: None,
            classification: None,
            page: None,
            origin: None,
            address: None,
            session_data: None,
            gives_signs: false,
        }
    }

    /// The header `User-Agent` that the viewer sent. It decides the classes, and is not kept.
    #[must_use]
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        Self { user_agent: Some(user_agent.into()), ..self }
    }

    /// The header `Sec-CH-UA` that the viewer sent. It tells Brave from Chrome, and is not kept.
    #[must_use]
    pub fn brands(self, brands: impl Into<String>) -> Self {
        Self { brands: Some(brands.into()), ..self }
    }

    /// Who joins, as [`Metrics::classify`] says, for whoever joins more than once: the headers count for nothing then.
    #[must_use]
    pub fn classification(self, classification: Classification) -> Self {
        Self { classification: Some(classification), ..self }
    }

    /// The address of the page that holds the video. Only scheme, host, port and path are kept.
    #[must_use]
    pub fn page(self, url: impl Into<String>) -> Self {
        Self { page: Some(url.into()), ..self }
    }

    /// The header `Origin` that the viewer sent. It is compared with the hosts of the key, and is not kept.
    #[must_use]
    pub fn origin(self, origin: impl Into<String>) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    /// A hash of the address that the viewer has, for [limits](crate::limits::Rates) per address. It is kept in memory
    /// only. Without one, no limits per address hold.
    #[must_use]
    pub fn address(self, hash: u64) -> Self {
        Self { address: Some(hash), ..self }
    }

    /// What the page says about this viewing.
    #[must_use]
    pub fn session_data(self, data: Map<String, Value>) -> Self {
        Self { session_data: Some(data), ..self }
    }

    /// The client sends some event at least every 15 s as long as its video plays.
    ///
    /// For [`Metrics::visit`]: such a viewer watches until 60 s after the last event, and any other until the video must
    /// have ended, an hour at most.
    #[must_use]
    pub fn signs(self) -> Self {
        Self { gives_signs: true, ..self }
    }
}

/// Why a viewer may not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The key is unknown, or was revoked.
    #[error("invalid key")]
    InvalidKey,
    /// The User-Agent is a known bot's.
    #[error("bot")]
    Bot,
    /// The page or the origin is no host of the key: see [`KeySettings::allows`].
    #[error("origin not allowed")]
    Origin,
    /// A rate limit of joins is used up.
    #[error(transparent)]
    TooMany(#[from] RateExceeded),
    /// The session has no id.
    #[error("`session` must not be empty")]
    NoSession,
    /// A field is too long.
    #[error("`{field}` has more than {bytes_max} bytes")]
    TooLong {
        /// The field.
        field: &'static str,
        /// How long it may be.
        bytes_max: usize,
    },
    /// A field holds U+0000, which not every store can keep.
    #[error("`{field}` must not hold the character U+0000")]
    Nul {
        /// The field.
        field: &'static str,
    },
    /// A field is nested deeper than [`DEPTH_MAX`].
    #[error("`{field}` is nested more than {DEPTH_MAX} deep")]
    TooDeep {
        /// The field.
        field: &'static str,
    },
    /// The session is one of another video.
    #[error(transparent)]
    AnotherVideo(#[from] AnotherVideo),
    /// The [memory budget](Builder::memory) is used up, and the session is not in memory yet.
    #[error("no memory is left for another session; try again later")]
    Memory,
    /// The keys are not known, because the store was never reached.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<NotJoined> for JoinError {
    fn from(not_joined: NotJoined) -> Self {
        match not_joined {
            NotJoined::AnotherVideo(another) => another.into(),
            NotJoined::Memory => Self::Memory,
        }
    }
}

fn fits(field: &'static str, text: Option<&str>, bytes_max: usize) -> Result<(), JoinError> {
    match text {
        Some(text) if bytes_max < text.len() => Err(JoinError::TooLong { field, bytes_max }),
        _ => Ok(()),
    }
}

fn check_json(field: &'static str, json: Option<&str>) -> Result<(), JoinError> {
    fits(field, json, METADATA_BYTES_MAX)?;
    match json {
        Some(json) if is_too_deep(json) => Err(JoinError::TooDeep { field }),
        Some(json) if has_nul(json) => Err(JoinError::Nul { field }),
        _ => Ok(()),
    }
}
