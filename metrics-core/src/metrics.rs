//! The handle for applications: records viewings and answers reports.

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

/// Treatment of known bots, by their User-Agent or their brands: see [`Classification::Bot`].
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
/// Cheap to clone: all clones share one instance. Its tasks run until all clones and all [`Viewing`]s are dropped: the
/// writer, the upkeep of the store and the keys, and, with [`Builder::retention`], the deletion of old sessions.
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
    // `true` once the writer has ended.
    ended: watch::Receiver<bool>,
}

/// Configures and starts a [`Metrics`].
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
    /// Sets the treatment of bots. The default refuses them.
    #[must_use]
    pub fn bots(self, bots: Bots) -> Self {
        Self { bots, ..self }
    }

    /// Sets how long sessions are kept, from their start on. By default they are kept for ever.
    ///
    /// Older sessions are deleted every hour, with the videos and pages that no session names any more; sessions of the
    /// last day are always kept, because they may still be watched. The first turn is an hour after the start, and no
    /// turn trusts the clock alone: see [`retention`](mod@crate::retention).
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

    /// Sets the limits of keys without limits of their own.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets how much of each page's URL is kept. The default keeps paths.
    #[must_use]
    pub fn page_detail(self, page_detail: PageDetail) -> Self {
        Self { page_detail, ..self }
    }

    /// Sets how many videos a key may have: [`VIDEOS_MAX`](crate::limits::VIDEOS_MAX) by default. Sessions of further
    /// videos are refused with [`NotStored::TooManyVideos`](crate::recorder::NotStored); those of existing videos are
    /// recorded as before. Instances that add videos at the same moment may exceed the limit by a few.
    #[must_use]
    pub fn videos_max(self, videos_max: u32) -> Self {
        let limits = Limits { videos: videos_max, ..self.limits };
        Self { limits, ..self }
    }

    /// Sets the memory budget that sessions and their events reserve from: [`MEMORY`] bytes by default. Sessions take
    /// at most three quarters of it; see [`Metrics::ready`] and [`JoinError::Memory`] for the behaviour when it is used
    /// up.
    #[must_use]
    pub fn memory(self, memory: Budget) -> Self {
        Self { memory, ..self }
    }

    /// Sets the source of the time. The default is the system's clock.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Starts the tasks, and returns the handle.
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
    /// Starts with the default options: records into `store` and answers reports from it.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with a clock: its tasks need one.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::builder(Arc::new(store)).start()
    }

    /// Returns a builder with the default options.
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

    /// Creates a key at random.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn create_key(&self) -> Result<ApiKey, Error> {
        let key = ApiKey::generate();
        self.import_key(&key).await?;
        Ok(key)
    }

    /// Adds an existing key, and returns false if it was there.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn import_key(&self, key: &ApiKey) -> Result<bool, Error> {
        self.add_key(key, KeySettings::default()).await
    }

    /// Adds a key with settings, and returns false if it was there.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn add_key(&self, key: &ApiKey, settings: KeySettings) -> Result<bool, Error> {
        let record = KeyRecord { settings, ..KeyRecord::new(key.clone(), self.now()) };
        self.inner.keyring.add(&record).await
    }

    /// Changes a key, and returns false if there is none. The change takes effect in every instance within a second,
    /// for viewers who join from then on.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        self.inner.keyring.change(key, change).await
    }

    /// Returns how much of its limits each of these keys has used: of totals, and of rates per key in this process.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
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
    /// [`Error`] if the store fails.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.store().keys().await
    }

    /// Disables a key and returns true, or false if there is no such key. Its sessions remain readable.
    ///
    /// Every instance refuses the key within a second.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn revoke_key(&self, key: &ApiKey) -> Result<bool, Error> {
        self.change_key(key, &KeyChange::Revoke(self.now())).await
    }

    /// Whether a key is valid for recording.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store was never reached.
    pub async fn accepts_key(&self, key: &ApiKey) -> Result<bool, Error> {
        Ok(self.inner.keyring.valid(key).await?.is_some())
    }

    /// Whether the keys are known: the store was reached once.
    #[must_use]
    pub fn knows_keys(&self) -> bool {
        self.inner.keyring.is_known()
    }

    /// Returns a handle that waits for added and revoked keys.
    #[must_use]
    pub fn key_changes(&self) -> KeyChanges {
        KeyChanges { keys: self.inner.keyring.changes() }
    }

    /// Joins a session, or comes back to it, for a viewer with a connection. From now on, the returned [`Viewing`]
    /// reports for the viewer.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if the viewer may not join.
    pub async fn join(&self, join: Join) -> Result<Viewing, JoinError> {
        let Inner { recorder, lifeline, .. } = &*self.inner;
        let admitted = self.judge(join).await;
        self.tally(admitted.and_then(|admitted| Ok(recorder.connect(lifeline, admitted)?)))
    }

    /// Joins a session for a viewer without a connection, who sends batches.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if the viewer may not join.
    pub async fn visit(&self, join: Join) -> Result<Viewing, JoinError> {
        let Inner { recorder, lifeline, .. } = &*self.inner;
        let admitted = self.judge(join).await;
        self.tally(admitted.and_then(|admitted| Ok(recorder.visit(lifeline, admitted)?)))
    }

    /// Waits while the events that wait for the store exceed the limits of number or memory. Call it before reading
    /// more events.
    pub async fn ready(&self) {
        self.inner.recorder.ready().await;
    }

    /// Statistics of recording.
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
    /// [`ReportError`] if there would be too many buckets, or the store fails.
    pub async fn plays(&self, query: &BucketQuery) -> Result<Vec<PlaysBucket>, ReportError> {
        self.reports().plays(query).await
    }

    /// Plays per time bucket and page.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn sources(&self, query: &BucketQuery) -> Result<Vec<SourceBucket>, ReportError> {
        self.reports().sources(query).await
    }

    /// Distinct viewers in each of `parts` equal parts of the video, up to the furthest watched position.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn engagement(
        &self,
        query: &EngagementQuery,
        parts: u32,
    ) -> Result<Vec<Part>, ReportError> {
        self.reports().engagement(query, parts).await
    }

    /// Views and viewers per second, or per unit of the query's resolution, for each time bucket.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn engagement_per_second(
        &self,
        query: &EngagementQuery,
        buckets: Buckets,
    ) -> Result<Vec<SecondsBucket>, ReportError> {
        self.reports().engagement_per_second(query, buckets).await
    }

    /// Any metrics by any dimensions, and the periods that they cover.
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
    /// [`ReportError`] if the query cannot be answered, or the store fails.
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

    /// Number of sessions that play at this moment, over all instances.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
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

    /// The time, by the configured clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.recorder.now()
    }

    /// This moment, by the configured clock.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.inner.recorder.moment()
    }

    /// Stops recording: returns when all recorded events are durable. Later events fail.
    ///
    /// Drop the viewings first, so that their open segments are closed.
    pub async fn stop(&self) {
        self.end(Shutdown::Drain).await;
    }

    /// Stops like [`stop`](Self::stop), but within `limit`: inputs that the store has not accepted by then are spilled
    /// to a file, for [`Spool::recover`] at the next start.
    ///
    /// Not cancel safe: if it is dropped, events that are not durable are lost.
    ///
    /// # Errors
    ///
    /// [`SpoolError`] if the file cannot be written: events without an acknowledgement are lost then.
    pub async fn stop_within(&self, limit: Duration, spool: &Spool) -> Result<Stopped, SpoolError> {
        if timeout(limit, self.end(Shutdown::Drain)).await.is_err() {
            self.end(Shutdown::Abort).await;
        }
        self.inner.recorder.spill(spool).await
    }

    async fn end(&self, shutdown: Shutdown) {
        self.inner.lifeline.send_replace(shutdown);
        let mut ended = self.inner.ended.clone();
        // An error means that the writer has ended as well.
        let _gone = ended.wait_for(|ended| *ended).await.is_err();
    }

    /// Counts the outcome of a join.
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

    /// Classifies the sender of `headers`, for [`Join::classification`].
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

    /// Charges a join to its key and its address. A session in memory is charged once: a viewer who comes back after a
    /// lost connection is not charged again.
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

/// Notifies about changes of the keys. See [`Metrics::key_changes`].
#[derive(Clone, Debug)]
pub struct KeyChanges {
    keys: watch::Receiver<Option<Keys>>,
}

impl KeyChanges {
    /// Waits for the next change; for ever, if the [`Metrics`] has ended. Cancel safe.
    pub async fn changed(&mut self) {
        if self.keys.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether `key` is valid now, or the keys are not known yet.
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
    /// Joins the session with the id `session`, a random text that the page creates for every viewing.
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

    /// The viewer's header `User-Agent`. It determines the user-agent classes, and is not kept.
    #[must_use]
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        Self { user_agent: Some(user_agent.into()), ..self }
    }

    /// The viewer's header `Sec-CH-UA`. It distinguishes Brave from Chrome, and is not kept.
    #[must_use]
    pub fn brands(self, brands: impl Into<String>) -> Self {
        Self { brands: Some(brands.into()), ..self }
    }

    /// The result of [`Metrics::classify`], for viewers who join more than once: the headers have no effect then.
    #[must_use]
    pub fn classification(self, classification: Classification) -> Self {
        Self { classification: Some(classification), ..self }
    }

    /// The URL of the page that holds the video. Only scheme, host, port and path are kept.
    #[must_use]
    pub fn page(self, url: impl Into<String>) -> Self {
        Self { page: Some(url.into()), ..self }
    }

    /// The viewer's header `Origin`. It is compared with the hosts of the key, and is not kept.
    #[must_use]
    pub fn origin(self, origin: impl Into<String>) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    /// A hash of the viewer's IP address, for [limits](crate::limits::Rates) per address. It is kept in memory only.
    /// Without a hash, limits per address do not apply.
    #[must_use]
    pub fn address(self, hash: u64) -> Self {
        Self { address: Some(hash), ..self }
    }

    /// Data that the page attaches to this viewing.
    #[must_use]
    pub fn session_data(self, data: Map<String, Value>) -> Self {
        Self { session_data: Some(data), ..self }
    }

    /// The page sends an event at least every 15 s while its video plays.
    ///
    /// For [`Metrics::visit`]: such a viewer counts as watching until 60 s after the last event, any other viewer until
    /// the video must have ended, an hour at most.
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
    /// The page or the origin is not on a host of the key: see [`KeySettings::allows`].
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
        /// The longest allowed value, in bytes.
        bytes_max: usize,
    },
    /// A field holds U+0000, which some stores cannot keep.
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
    /// The session belongs to another video.
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
