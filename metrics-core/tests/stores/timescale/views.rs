//! The SQL views.

use std::sync::Arc;

use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::session::Counters;
use metrics_core::store::{Instance, RowId, Subject};
use metrics_core::user_agent::{Browser, Device, Platform, UserAgentClass};
use metrics_testing::Backend;
use metrics_testing::Backend::{Postgres, Timescale};

use super::{close, empty_store, sql, text};
use crate::fixture::{arrival, commit, key, write};

/// The SQL views.
async fn check_views(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let key = key(&store).await;
    let mut watched = write(&key, "open", 0);
    watched.watched_at = Some(Instance(1));
    let mut full = write(&key, "full", 0);
    full.subject = Arc::new(Subject {
        user_agent: UserAgentClass {
            browser: Browser::Firefox,
            platform: Platform::Linux,
            device: Device::Desktop,
        },
        session_data: Some(r#"{"group":"a"}"#.into()),
        arrival: arrival(4),
        ..(*full.subject).clone()
    });
    let segments: Segments = [(0, 4_000), (2_000, 6_500), (300_000, 300_001)]
        .into_iter()
        .filter_map(|(start, end)| Interval::new(start, end))
        .collect();
    full.stored.segments = segments.encode();
    full.stored.duration_ms = Some(400_000);
    full.stored.counters =
        Counters { rebufferings: 2, startup_ms: Some(250), ..Counters::default() };
    commit(&store, [watched, full]).await;
    close(&store).await;

    let admin = sql(&database.url()).await;
    let rows = admin
        .query(
            "select is_open, row_id, key, identifier, page, browser, platform, device, duration_seconds, startup_seconds,
                rebufferings, session_data::text, referrer, country, utm_source
             from metrics.sessions order by is_open",
            &[],
        )
        .await
        .unwrap();
    let [closed, open] = &rows[..] else { panic!("{rows:?}") };
    assert!(open.get::<_, bool>(0));
    let row_id = |name| RowId::from(SessionId::new(&key, name)).0.cast_signed();
    assert_eq!([closed.get::<_, i64>(1), open.get(1)], ["full", "open"].map(row_id));
    assert_eq!(closed.get::<_, String>(2), key.as_str());
    let texts: Vec<String> = (3..8).map(|column| closed.get(column)).collect();
    assert_eq!(texts, ["intro", "http://example.com/", "firefox", "linux", "desktop"]);
    assert_eq!([closed.get::<_, f64>(8), closed.get(9)], [400.0, 0.25]);
    assert_eq!(closed.get::<_, i64>(10), 2);
    assert_eq!(closed.get::<_, String>(11), r#"{"group": "a"}"#);
    let come_from = [12, 13, 14].map(|column| closed.get::<_, Option<String>>(column));
    assert_eq!(come_from, [Some("a.example".to_owned()), Some("NL".to_owned()), None]);
    assert_eq!(open.get::<_, Option<String>>(12), None);

    let segments =
        "select from_seconds, to_seconds from metrics.segments where row_id = $1 order by 1";
    let segments = admin.query(segments, &[&row_id("full")]).await.unwrap();
    let segments: Vec<(f64, f64)> = segments.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(segments, [(0.0, 4.0), (2.0, 6.5), (300.0, 300.001)]);
}

#[tokio::test]
async fn sql_reads_every_session_and_segment() {
    check_views(Timescale).await;
    check_views(Postgres).await;
}

#[tokio::test]
async fn sql_has_the_names_of_classes() {
    let (_store, database) = empty_store(Postgres).await;
    let admin = sql(&database.url()).await;
    let check = async |function: &str, code: u8, name: &str| {
        assert_eq!(
            text(&admin, &format!("select metrics.{function}({code}::smallint)")).await,
            name
        );
    };
    for it in Browser::ALL {
        check("browser_name", it.code(), it.name()).await;
    }
    for it in Platform::ALL {
        check("platform_name", it.code(), it.name()).await;
    }
    for it in Device::ALL {
        check("device_name", it.code(), it.name()).await;
    }
    check("browser_name", 200, "other").await;
}

/// The query of a dashboard as Grafana sends it, for a day and one key.
fn filled_in(query: &str) -> String {
    query
        .replace(
            "$__timeFilter(started_at)",
            "started_at between '2024-02-28T00:00:00Z' and '2024-03-02T00:00:00Z'",
        )
        .replace(
            "$__timeGroupAlias(started_at, $__interval)",
            "floor(extract(epoch from started_at) / 60) * 60 as \"time\"",
        )
        .replace("$key", "'key'")
}

#[tokio::test]
async fn the_dashboard_of_videos_reads_the_views() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring/videos.json");
    let board: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let queries = panels.iter().map(|panel| panel["targets"][0]["rawSql"].as_str().unwrap());
    let variables = board["templating"]["list"].as_array().unwrap().iter();
    let variables = variables.filter_map(|variable| variable["definition"].as_str());
    let queries: Vec<_> = queries.chain(variables).collect();
    assert!(10 < queries.len(), "{queries:?}");
    let (_store, database) = empty_store(Postgres).await;
    let admin = sql(&database.url()).await;
    for query in queries {
        let query = filled_in(query);
        assert!(!query.contains('$'), "{query}");
        admin.query(&query, &[]).await.unwrap_or_else(|err| panic!("{query}: {err:?}"));
    }
}
