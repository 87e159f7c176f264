//! Measures every report on a store that `seed` filled, against plain SQL over the rows of sessions, and checks that
//! both return the same.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::Failure;
use benches::dataset::{INSTANCE, KEY, VIDEOS, identifier};
use benches::plain_sql::{Grouped, MOBILE, PLAIN_SQL_MAX, PlainSql, Range, Sums, Videos};
use benches::store_url::{StoreUrl, close_all};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use metrics_core::engagement::{Part, SecondsBucket};
use metrics_core::query::{self, Compare, Dimension, Filter, LIMIT_MAX, Metric, Minimum, instant};
use metrics_core::response::{PlaysBucket, SourceBucket, fold_plays, fold_sources};
use metrics_core::scan::{AnswerRow, DimensionValue};
use metrics_core::store::{Error, Store};
use metrics_core::time_bucket::{Buckets, Width};
use metrics_core::{
    ApiKey, BucketQuery, EngagementQuery, Metrics, ReportError, Selection, Timeframe, VideoEntry,
};
use serde_json::json;

/// The time for which a query is repeated, after its first answer.
const REPEAT_MAX: Duration = Duration::from_secs(3);

/// A write to this file drops Linux's page cache.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Measures reports.
#[derive(Parser)]
struct Args {
    /// sqlite:PATH or postgres://...
    #[arg(long)]
    store: StoreUrl,
    /// The maximum number of repetitions of a query; the median counts.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Measures each query also right after the store was opened and, as root, the system's page cache was dropped. The
    /// memory of a database server is not dropped.
    #[arg(long)]
    cold: bool,
    /// Only queries whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Omits plain SQL, and so the check.
    #[arg(long)]
    alone: bool,
}

/// A report that a user requests.
#[derive(Clone, Copy)]
enum Report {
    Plays(Buckets),
    Sources(Buckets),
    Parts(u32),
    Seconds(Buckets),
    /// Plays, view time and mean startup time by a dimension.
    Grouped(Grouped),
    /// Videos with plays, view time and average percentage viewed, compared with the period before.
    Listed,
}

struct Query {
    name: String,
    report: Report,
    videos: Videos,
    days: i64,
    minimum_view_ms: u64,
    is_filtered: bool,
}

/// The answer of a report, in a comparable form.
#[derive(Debug, PartialEq)]
enum Answer {
    Plays(Vec<PlaysBucket>),
    Sources(Vec<SourceBucket>),
    Parts(Vec<Part>),
    Seconds(Vec<SecondsBucket>),
    Grouped(Rows),
    Watching(u64),
    TooLong,
}

/// Plays, view time and mean startup time in seconds, by the value of a dimension.
type Rows = BTreeMap<String, Vec<Option<f64>>>;

/// The rows of the sums from plain SQL.
fn rows_of(sums: Sums) -> Answer {
    let row = |(name, [plays, view_ms, startup_ms, startups]): (String, [f64; 4])| {
        let startup = (0.0 < startups).then(|| startup_ms / (1_000.0 * startups));
        (name, vec![Some(plays), Some(view_ms / 1_000.0), startup])
    };
    Answer::Grouped(sums.into_iter().map(row).collect())
}

/// The name of a value in plain SQL.
fn name_of(value: &DimensionValue) -> String {
    match value {
        DimensionValue::Time(start) => (start.timestamp() / 86_400).to_string(),
        DimensionValue::Text(text) => text.to_string(),
        DimensionValue::Number(number) => number.to_string(),
        DimensionValue::Null => String::new(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let plain_sql = PlainSql::open(&args.store).await?;
    let metrics = open(&args).await?;
    let until = instant(plain_sql.last_start_ms().await?);
    println!("{}\n", args.store);
    println!("| query | rows | cold | time | straight SQL | ratio | same |");
    println!("|---|--:|--:|--:|--:|--:|---|");
    let mut wrong = 0;
    let selected = queries()?.into_iter().filter(|query| query.name.contains(&args.only));
    for query in selected {
        wrong += u32::from(!measure(&args, &query, &metrics, &plain_sql, until).await?);
    }
    if args.only.is_empty() || "watching".contains(&args.only) {
        watching(&args, &metrics).await?;
    }
    if 0 < wrong {
        return Err(format!("{wrong} answers differ from plain SQL").into());
    }
    Ok(())
}

/// The queries of the table's rows.
fn queries() -> Result<Vec<Query>, Failure> {
    let width = |text: &str| text.parse::<Width>();
    let (hour, day, month) = (width("1 hour")?, width("1 day")?, width("1 month")?);
    let amsterdam = Buckets::new(hour).in_timezone("Europe/Amsterdam".parse()?);
    let of = [
        ("hottest", Videos::Ranked(0)),
        ("median", Videos::Ranked(VIDEOS / 2)),
        ("rarest", Videos::Ranked(VIDEOS - 1)),
        ("50 by metadata", Videos::Knots),
        ("whole key", Videos::All),
    ];
    let mut queries = Vec::new();
    for (who, videos) in of {
        for (when, days) in [("1 day", 1), ("30 days", 30), ("12 months", 365)] {
            let fine = if days == 1 { hour } else { day };
            let coarse = if days == 1 { day } else { month };
            let reports = [
                ("plays", Report::Plays(Buckets::new(fine)), 3_000),
                ("sources", Report::Sources(Buckets::new(coarse)), 1_000),
                ("100 ranges", Report::Parts(100), 0),
                ("per second", Report::Seconds(Buckets::new(Width::YEAR)), 0),
            ];
            for (name, report, minimum_view_ms) in reports {
                let name = format!("{name}, {who}, {when}");
                queries.push(Query {
                    name,
                    report,
                    videos,
                    days,
                    minimum_view_ms,
                    is_filtered: false,
                });
            }
        }
        let name = format!("plays, {who}, 30 days by hour in Amsterdam");
        let report = Report::Plays(amsterdam);
        queries.push(Query {
            name,
            report,
            videos,
            days: 30,
            minimum_view_ms: 1_000,
            is_filtered: false,
        });
        let name = format!("plays, {who}, 12 months, at least 3.5 s");
        let report = Report::Plays(Buckets::new(day));
        queries.push(Query {
            name,
            report,
            videos,
            days: 365,
            minimum_view_ms: 3_500,
            is_filtered: false,
        });
    }
    queries.extend(filtered_queries());
    Ok(queries)
}

/// Queries under two filters, and the list of videos.
fn filtered_queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for (who, videos) in [
        ("whole key", Videos::All),
        ("hottest", Videos::Ranked(0)),
        ("median", Videos::Ranked(VIDEOS / 2)),
    ] {
        let reports = [
            ("by day", Report::Grouped(Grouped::Day)),
            ("by page", Report::Grouped(Grouped::Page)),
            ("by video", Report::Grouped(Grouped::Video)),
            ("per second", Report::Seconds(Buckets::new(Width::YEAR))),
        ];
        for (name, report) in reports {
            let name = format!("query {name}, {who}, 12 months, two filters");
            queries.push(Query {
                name,
                report,
                videos,
                days: 365,
                minimum_view_ms: 0,
                is_filtered: true,
            });
        }
    }
    let name = "videos compared, whole key, 6 months".to_owned();
    let (report, videos) = (Report::Listed, Videos::All);
    queries.push(Query { name, report, videos, days: 182, minimum_view_ms: 0, is_filtered: false });
    queries
}

/// Measures a query, prints its row, and returns false if the answer of plain SQL differs.
async fn measure(
    args: &Args,
    query: &Query,
    metrics: &Metrics,
    plain_sql: &PlainSql,
    until: DateTime<Utc>,
) -> Result<bool, Failure> {
    let range = query.range(until);
    let rows = plain_sql.rows(&Range { minimum_view_ms: 0, ..range.clone() }).await?;
    let cold = if args.cold {
        drop_caches();
        let metrics = open(args).await?;
        let began = Instant::now();
        query.run(&metrics, until).await?;
        milliseconds(Some(began.elapsed()))
    } else {
        String::new()
    };
    let (answer, time) = repeat(args.runs, async || query.run(metrics, until).await).await?;
    let (expected, plain_sql_time) = if args.alone {
        (Answer::TooLong, None)
    } else {
        repeat(args.runs, async || query.plain_sql(plain_sql, &range).await).await?
    };
    let compared = answer != Answer::TooLong && expected != Answer::TooLong;
    let same = compared.then(|| answer == expected);
    let ratio = plain_sql_time
        .zip(time)
        .map(|(plain_sql, time)| plain_sql.as_secs_f64() / time.as_secs_f64());
    let plain_sql_time = if args.alone { String::new() } else { milliseconds(plain_sql_time) };
    println!(
        "| {} | {rows} | {cold} | {} | {plain_sql_time} | {} | {} |",
        query.name,
        milliseconds(time),
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}")),
        same.map_or("", |same| if same { "yes" } else { "NO" }),
    );
    Ok(same != Some(false))
}

/// Measures the number of sessions that play at this moment, which no range of time can make slower.
async fn watching(args: &Args, metrics: &Metrics) -> Result<(), Failure> {
    metrics.store().heartbeat(INSTANCE, metrics.now()).await?;
    let key = Selection::key(ApiKey::new(KEY)?);
    let (answer, time) =
        repeat(args.runs, async || Ok(Answer::Watching(metrics.watching(&key).await?))).await?;
    let Answer::Watching(watching) = answer else { return Err("it took too long".into()) };
    println!("| watching, whole key | {watching} | | {} | | | |", milliseconds(time));
    Ok(())
}

/// Runs a query at least once, and again as long as there is time. Returns the first answer and the median of the
/// times.
async fn repeat(
    runs: usize,
    mut run: impl AsyncFnMut() -> Result<Answer, Failure>,
) -> Result<(Answer, Option<Duration>), Failure> {
    let began = Instant::now();
    let mut times = Vec::new();
    // The first run loads the data into memory.
    let mut answer = run().await?;
    if began.elapsed() < REPEAT_MAX {
        while times.len() < runs && (times.is_empty() || began.elapsed() < REPEAT_MAX) {
            let began = Instant::now();
            answer = run().await?;
            times.push(began.elapsed());
        }
    } else {
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied();
    let median = median.filter(|_| answer != Answer::TooLong);
    Ok((answer, median))
}

async fn open(args: &Args) -> Result<Metrics, Failure> {
    let store: Arc<dyn Store> = args.store.open().await?;
    // A server does this in the background.
    let began = Instant::now();
    let closed = close_all(&*store).await?;
    if 0 < closed {
        eprintln!("closed {closed} sessions in {:.1?}", began.elapsed());
    }
    Ok(Metrics::builder(store).start())
}

/// Drops the system's page cache, if permitted.
fn drop_caches() {
    if std::fs::write(DROP_CACHES, "3").is_err() {
        eprintln!("the page cache stays as it is: {DROP_CACHES} is root's");
    }
}

fn milliseconds(time: Option<Duration>) -> String {
    match time {
        Some(time) => format!("{:.2} ms", time.as_secs_f64() * 1_000.0),
        None => format!("gave up (limit {} s)", PLAIN_SQL_MAX.as_secs()),
    }
}

impl Query {
    fn range(&self, until: DateTime<Utc>) -> Range {
        let from = until - TimeDelta::days(self.days);
        let grain_ms = match self.report {
            Report::Plays(buckets) | Report::Sources(buckets) => {
                buckets.grain_between(from, until).num_milliseconds()
            }
            Report::Parts(_) | Report::Seconds(_) | Report::Grouped(_) | Report::Listed => 0,
        };
        Range {
            videos: self.videos,
            from_ms: from.timestamp_millis(),
            to_ms: until.timestamp_millis(),
            minimum_view_ms: i64::try_from(self.minimum_view_ms).unwrap_or(i64::MAX),
            grain_ms,
            is_filtered: self.is_filtered,
        }
    }

    fn selection(&self) -> Result<Selection, Failure> {
        let filters = if self.is_filtered { MOBILE } else { "[]" };
        let filter = Filter::from_json(&serde_json::from_str(filters)?)?;
        Ok(self.videos_selection()?.with_filter(filter))
    }

    fn videos_selection(&self) -> Result<Selection, Failure> {
        Ok(match self.videos {
            Videos::Ranked(rank) => Selection::identifier(identifier(rank)),
            Videos::Knots => {
                let course = json!({"course": "knots"});
                Selection::default().with_video(course.as_object().cloned().unwrap_or_default())
            }
            Videos::All => Selection::key(ApiKey::new(KEY)?),
        })
    }

    /// Runs the report in the library.
    async fn run(&self, metrics: &Metrics, until: DateTime<Utc>) -> Result<Answer, Failure> {
        let timeframe = Timeframe::Between(until - TimeDelta::days(self.days), until);
        let engagement = EngagementQuery::from(self.selection()?)
            .during(timeframe)
            .with_minimum_view_ms(self.minimum_view_ms);
        let bucket = |buckets| {
            let query = BucketQuery::from(self.selection()?).during(timeframe);
            let query = query.with_minimum_view_ms(self.minimum_view_ms);
            Ok::<_, Failure>(query.with_buckets(buckets))
        };
        let answer = match self.report {
            Report::Plays(buckets) => metrics.plays(&bucket(buckets)?).await.map(Answer::Plays),
            Report::Sources(buckets) => {
                metrics.sources(&bucket(buckets)?).await.map(Answer::Sources)
            }
            Report::Parts(parts) => metrics.engagement(&engagement, parts).await.map(Answer::Parts),
            Report::Seconds(buckets) => {
                metrics.engagement_per_second(&engagement, buckets).await.map(Answer::Seconds)
            }
            Report::Grouped(by) => {
                let query = self.query(timeframe)?.by(match by {
                    Grouped::Day => Dimension::Time("1 day".parse()?),
                    Grouped::Page => Dimension::Page,
                    Grouped::Video => Dimension::Video,
                });
                let answer = metrics.query(&query).await;
                let row =
                    |row: &AnswerRow| (name_of(&row.dimensions[0]), row.numbers.metrics.clone());
                answer.map(|(answer, _)| Answer::Grouped(answer.results.iter().map(row).collect()))
            }
            Report::Listed => {
                let mut query = self.query(timeframe)?.compared_with(Compare::PreviousPeriod);
                query.metrics.push(Metric::AveragePercentageViewed);
                let listed = metrics.videos(&query.into()).await;
                // The rows of SQL have no percentage viewed.
                let row = |video: &VideoEntry| {
                    (video.name.to_string(), video.numbers.metrics[..3].to_vec())
                };
                // SQL has no row of a video without sessions.
                let played = |row: &(String, Vec<Option<f64>>)| row.1[0] != Some(0.0);
                listed.map(|(list, _)| {
                    Answer::Grouped(list.videos.iter().map(row).filter(played).collect())
                })
            }
        };
        match answer {
            Err(ReportError::Store(Error::TimedOut { .. })) => Ok(Answer::TooLong),
            answer => Ok(answer?),
        }
    }

    fn query(&self, timeframe: Timeframe) -> Result<query::Query, Failure> {
        let metrics = [Metric::Plays, Metric::ViewTime, Metric::StartupTimeAverage];
        let query = query::Query::new(metrics).of(self.selection()?).during(timeframe);
        let query = query.with_minimum(Minimum::ViewMs(self.minimum_view_ms));
        Ok(query.page(LIMIT_MAX, 0).with_fill(false))
    }

    /// Runs the report in plain SQL.
    async fn plain_sql(&self, plain_sql: &PlainSql, range: &Range) -> Result<Answer, Failure> {
        let answer = match self.report {
            Report::Plays(buckets) => {
                let plays_at = plain_sql.plays(range).await?;
                plays_at.map(|plays_at| Answer::Plays(fold_plays(plays_at, &buckets, [])))
            }
            Report::Sources(buckets) => {
                let plays_at = plain_sql.sources(range).await?;
                plays_at.map(|plays_at| Answer::Sources(fold_sources(plays_at, &buckets)))
            }
            Report::Parts(parts) => {
                let viewings = plain_sql.viewings(range).await?;
                viewings.map(|it| it.parts(parts)).transpose()?.map(Answer::Parts)
            }
            Report::Seconds(buckets) => {
                let viewings = plain_sql.viewings(range).await?;
                viewings.map(|it| it.seconds(buckets)).transpose()?.map(Answer::Seconds)
            }
            Report::Grouped(by) => plain_sql.grouped(range, by).await?.map(rows_of),
            // Without the period before, which is half of the work.
            Report::Listed => plain_sql.grouped(range, Grouped::Video).await?.map(rows_of),
        };
        Ok(answer.unwrap_or(Answer::TooLong))
    }
}
