//! Databases and URLs that are refused, with the remedy.

use metrics_core::store::{Error, Store as _, TimescaleOptions, TimescaleStore};
use metrics_testing::Backend::{Postgres, Timescale};
use metrics_testing::{Backend, Database};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{empty_store, name, reason, sql};

#[tokio::test]
async fn a_read_only_database_is_refused() {
    let (_store, database) = empty_store(Postgres).await;
    let read_only =
        format!("alter database {} set default_transaction_read_only = on", name(&database));
    sql(&database.url()).await.batch_execute(&read_only).await.unwrap();
    let refused = reason(&database.url(), TimescaleOptions::default()).await;
    assert!(refused.starts_with("it is read-only, like a replica: name the primary"), "{refused}");
}

#[tokio::test]
async fn a_database_that_cannot_hold_all_texts_is_refused() {
    let database = Database::new(Postgres).await;
    let latin = format!("{}_latin", name(&database));
    let make = format!("create database {latin} encoding 'LATIN1' locale 'C' template template0");
    sql(&database.url()).await.batch_execute(&make).await.unwrap();
    let url = database.url().replace(&name(&database), &latin);
    let refused = reason(&url, TimescaleOptions::default()).await;
    sql(&database.url()).await.batch_execute(&format!("drop database {latin}")).await.unwrap();
    assert!(refused.starts_with("the database is in LATIN1: create one with"), "{refused}");
}

#[tokio::test]
async fn a_missing_database_is_distinguished_from_a_missing_server() {
    let database = Database::new(Postgres).await;
    let url = database.url().replace(&name(&database), "nowhere");
    assert_eq!(
        reason(&url, TimescaleOptions::default()).await,
        "there is no database \"nowhere\": create one with `createdb nowhere`, or name another in the URL"
    );
    // No process listens on a port that was just released.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let unavailable =
        TimescaleStore::connect(&format!("postgres://me@127.0.0.1:{port}/metrics")).await;
    assert!(matches!(unavailable, Err(Error::Unavailable { .. })), "{unavailable:?}");
}

/// The URL of a server that refuses all connections with this error code.
async fn refusing(code: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let len = socket.read_u32().await.unwrap();
            socket.read_exact(&mut vec![0; len as usize - 4]).await.unwrap();
            let fields = format!("SFATAL\0C{code}\0Mno\0\0");
            socket.write_u8(b'E').await.unwrap();
            socket.write_u32(fields.len() as u32 + 4).await.unwrap();
            socket.write_all(fields.as_bytes()).await.unwrap();
        }
    });
    format!("postgres://me:secret@127.0.0.1:{port}/metrics?sslmode=disable")
}

#[tokio::test]
async fn a_refusal_names_the_remedy() {
    let cases = [
        ("28P01", "the server refuses the password of user \"me\": correct it in the URL"),
        (
            "28000",
            "the server refuses user \"me\" (db error: FATAL: no): name a user who may log in, or \
            allow it in the server's pg_hba.conf",
        ),
        (
            "42501",
            "user \"me\" may not connect to database \"metrics\": grant it with \
            `grant connect on database metrics to me`",
        ),
    ];
    for (code, expected) in cases {
        assert_eq!(reason(&refusing(code).await, TimescaleOptions::default()).await, expected);
    }
    // Too many connections, and starting up.
    for code in ["53300", "57P03"] {
        let unavailable = TimescaleStore::connect(&refusing(code).await).await;
        assert!(
            matches!(unavailable, Err(ref err) if err.is_retryable()),
            "{code}: {unavailable:?}"
        );
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_its_password() {
    let cases = [
        ("postgres://me:secret@localhost:port/metrics", "its URL cannot be read"),
        ("postgres://me:secret@localhost/metrics?colour=red", "its URL cannot be read"),
        (
            "postgres://me:secret@localhost/metrics?sslmode=allow",
            "sslmode is \"allow\": it must be",
        ),
        ("postgres://me:secret@localhost/metrics?sslrootcert=a.pem", "sslrootcert requires"),
        (
            "postgres://me:secret@localhost/metrics?sslmode=verify-full&sslrootcert=missing.pem",
            "sslrootcert \"missing.pem\" cannot be read",
        ),
    ];
    for (url, expected) in cases {
        let refused = reason(url, TimescaleOptions::default()).await;
        assert!(refused.starts_with(expected), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
    let few = TimescaleOptions::default().with_connections(4);
    let refused = reason("postgres://me@localhost/metrics", few).await;
    assert_eq!(refused, "4 connections are too few: at least 5 are required");
}

/// A role that may only log in is refused with this text, and accepted once it may create schemas.
async fn check_rights(backend: Backend, right: &str) {
    let database = Database::new(backend).await;
    let admin = sql(&database.url()).await;
    let role = format!("{}_user", name(&database));
    let make = format!("create role {role} login");
    admin.batch_execute(&make).await.unwrap();
    let server = database.url();
    let server = server.split_once('@').unwrap().1.split_once('/').unwrap().0;
    let url = format!("postgres://{role}@{server}/{}", name(&database));

    let refused = reason(&url, TimescaleOptions::default()).await;
    admin
        .batch_execute(&format!("grant create on database {} to {role}", name(&database)))
        .await
        .unwrap();
    let granted = TimescaleStore::connect(&url).await;
    let works = match &granted {
        Ok(store) => store.check().await.is_ok(),
        Err(_) => false,
    };
    drop(granted);
    admin.batch_execute(&format!("drop owned by {role} cascade; drop role {role}")).await.unwrap();
    assert!(refused.contains(right), "{refused}");
    assert!(works, "{refused}");
}

#[tokio::test]
async fn a_user_who_may_not_make_the_tables_gets_the_grant_as_remedy() {
    check_rights(Postgres, "its owner must run `grant create on database").await;
}

#[tokio::test]
async fn a_user_who_may_not_add_timescaledb_gets_the_command_for_a_superuser() {
    check_rights(Timescale, "a superuser must run `create extension timescaledb`").await;
}
