//! TLS connections: to a server that terminates TLS itself, and to one behind a proxy that does.

#![cfg(feature = "timescale")]

use std::path::Path;
use std::time::Duration;

use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::store::{Error, Outcome, Store, TimescaleOptions, TimescaleStore};
use metrics_core::upkeep;
use metrics_core::{ApiKey, BucketQuery, Reports, Selection};
use metrics_testing::{Answer, Authority, Backend, Database, Identity, Seen, TlsProxy, VALID};
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client as Sql, NoTls};
use url::Url;

use crate::fixture::write;

/// A name that is in no system's list of hosts.
const SERVER: &str = "db.example.com";

/// A proxy with this answer to TLS requests, in front of a new database.
async fn answering(answer: Answer) -> (TlsProxy, Database) {
    let database = Database::new(Backend::Postgres).await;
    (TlsProxy::start(&database.url(), answer).await, database)
}

/// The URL of this database behind the proxy, with this host name and query.
fn behind(proxy: &TlsProxy, database: &Database, host: &str, query: &str) -> String {
    let url: Url = database.url().parse().unwrap();
    let (user, port, path) = (url.username(), proxy.port(), url.path());
    format!("postgres://{user}:secret@{host}:{port}{path}?hostaddr=127.0.0.1&{query}")
}

fn verified(file: &Path) -> String {
    format!("sslmode=verify-full&sslrootcert={}", file.display())
}

/// A plain SQL connection to the database, as an operator has.
async fn sql(database: &Database) -> Sql {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Connects a store to this URL, writes a session and loads it again.
async fn check(url: &str) -> (TimescaleStore, ApiKey) {
    let store = TimescaleStore::connect(url).await.unwrap_or_else(|err| panic!("{url}: {err:?}"));
    let key = ApiKey::generate();
    assert!(store.create_key(&key, instant(0)).await.unwrap());
    assert_eq!(store.commit([write(&key, "session", 0)].into()).await.unwrap(), [Outcome::Written]);
    let loaded = upkeep::load(&store, &[SessionId::new(&key, "session")]).await.unwrap();
    assert_eq!(loaded[0].as_ref().unwrap().stored, write(&key, "session", 0).stored);
    (store, key)
}

fn one_line(text: String) -> String {
    assert!(!text.contains("secret") && !text.contains('\n'), "{text}");
    text
}

/// The error message of a store that is unusable until an operator acts.
async fn refusal(url: &str) -> String {
    match TimescaleStore::connect(url).await {
        Err(err @ Error::Unusable { .. }) => {
            let text = one_line(err.to_string());
            text.strip_prefix("TimescaleDB cannot be used: ").unwrap().to_owned()
        }
        other => panic!("{url}: {other:?}"),
    }
}

/// The error message of a store that may work again later.
fn failure(err: &Error) -> String {
    assert!(err.is_retryable(), "{err:?}");
    let (mut text, mut cause) = (err.to_string(), std::error::Error::source(err));
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    one_line(text)
}

#[tokio::test]
async fn sessions_are_stored_over_tls_with_any_certificate() {
    let nobody = Authority::new("a").issue_certificate(&["elsewhere.example.com"], 2001..=2002);
    let (proxy, database) = answering(Answer::Yes(nobody)).await;
    for query in ["", "sslmode=prefer", "sslmode=require"] {
        check(&behind(&proxy, &database, SERVER, query)).await;
    }
    assert_eq!(proxy.seen().borrow().plain, 0);
}

/// These modes verify no certificate, so no certificate can be a reason to refuse.
#[tokio::test]
async fn an_unreadable_certificate_refuses_only_connections_that_verify() {
    let (proxy, database) = answering(Answer::Yes(Identity::of_version_1())).await;
    for query in ["", "sslmode=prefer", "sslmode=require"] {
        check(&behind(&proxy, &database, SERVER, query)).await;
    }
    assert_eq!(proxy.seen().borrow().plain, 0);
    let query = verified(Authority::new("a").file());
    let message = refusal(&behind(&proxy, &database, SERVER, &query)).await;
    assert!(message.contains("certificate"), "{message}");
}

#[tokio::test]
async fn sessions_are_kept_with_a_trusted_server() {
    let authority = Authority::new("a");
    let names = [SERVER, "*.example.org", "localhost", "127.0.0.1", "::1"];
    let (proxy, database) =
        answering(Answer::Yes(authority.issue_certificate(&names, VALID))).await;
    let query = verified(authority.file());
    for host in [SERVER, "db.example.org", "localhost", "127.0.0.1", "[::1]"] {
        check(&behind(&proxy, &database, host, &query)).await;
    }
    assert_eq!(proxy.seen().borrow().plain, 0);
}

#[tokio::test]
async fn a_report_that_is_dropped_is_stopped_over_tls() {
    let authority = Authority::new("a");
    let (proxy, database) =
        answering(Answer::Yes(authority.issue_certificate(&[SERVER], VALID))).await;
    let url = behind(&proxy, &database, SERVER, &verified(authority.file()));
    let (store, key) = check(&url).await;
    let mut locking = sql(&database).await;
    let lock = locking.transaction().await.unwrap();
    lock.batch_execute("lock table metrics.open_sessions in access exclusive mode").await.unwrap();
    let query = BucketQuery::from(Selection::key(key));
    let admin = sql(&database).await;
    let waiting = async |admin: &Sql| -> i64 {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        admin.query_one(waiting, &[]).await.unwrap().get(0)
    };
    // A server does not detect by itself that the caller has dropped a query.
    let stopped = async {
        tokio::select! {
            plays = Reports::new(&store, instant(0)).plays(&query) => panic!("{plays:?}"),
            () = async { while waiting(&admin).await == 0 {} } => {}
        }
        while waiting(&admin).await != 0 {}
    };
    timeout(Duration::from_secs(30), stopped).await.unwrap();
    assert_eq!(proxy.seen().borrow().plain, 0);
}

#[tokio::test]
async fn a_server_without_a_trusted_certificate_is_refused_with_the_remedy() {
    let authority = Authority::new("a");
    let cases = [
        (
            Authority::new("b").issue_certificate(&[SERVER], VALID),
            "the server's certificate is from an untrusted authority: set sslrootcert to the file of the \
             authority's certificate",
        ),
        // Another authority with the name of the trusted one, as if that was made anew.
        (
            Authority::new("a").issue_certificate(&[SERVER], VALID),
            "the server's certificate is from an untrusted authority: set sslrootcert to the file of the \
             authority's certificate",
        ),
        (
            authority.issue_certificate(&["other.example.com", "127.0.0.1"], VALID),
            "the server's certificate is not for \"db.example.com\" but for \"other.example.com\", 127.0.0.1: \
             issue one that names it, or use a name of the certificate in the URL",
        ),
        (
            authority.issue_certificate(&[], VALID),
            "the server's certificate has no subjectAltName: issue one that names \"db.example.com\"",
        ),
        (
            authority.issue_certificate(&[SERVER], 2001..=2002),
            "the server's certificate has expired: renew it",
        ),
        (
            authority.issue_certificate(&[SERVER], 2998..=2999),
            "the server's certificate is not valid yet: correct the clock of this machine, or of the one that \
             issued it",
        ),
        (
            authority.itself(),
            "the server's certificate is one of an authority: issue one for a server (CA:FALSE) whose \
             subjectAltName has the name in the URL",
        ),
    ];
    let (proxy, database) = answering(Answer::No).await;
    let url = behind(&proxy, &database, SERVER, &verified(authority.file()));
    for (identity, expected) in cases {
        proxy.answer(Answer::Yes(identity));
        assert_eq!(refusal(&url).await, expected);
    }
    // An IP address is verified like any other name.
    proxy.answer(Answer::Yes(authority.issue_certificate(&[SERVER], VALID)));
    let url = behind(&proxy, &database, "127.0.0.1", &verified(authority.file()));
    assert!(refusal(&url).await.starts_with(
        "the server's certificate is not for \"127.0.0.1\" but for \"db.example.com\": "
    ));
    // No refused server has received any data.
    let Seen { began, secured, plain, .. } = *proxy.seen().borrow();
    assert_eq!((began, secured, plain), (8, 0, 0));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required_and_else_used_without() {
    let (proxy, database) = answering(Answer::No).await;
    let authority = Authority::new("a");
    for query in ["sslmode=require", &verified(authority.file())] {
        assert_eq!(
            refusal(&behind(&proxy, &database, SERVER, query)).await,
            "the server does not support TLS, which sslmode requires: set `ssl = on` in its postgresql.conf, or \
             sslmode=disable in the URL if the network is trusted"
        );
    }
    assert_eq!(*proxy.seen().borrow(), Seen { requested_tls: 2, ..Seen::default() });
    check(&behind(&proxy, &database, SERVER, "sslmode=prefer")).await;
    let Seen { requested_tls, plain, .. } = *proxy.seen().borrow();
    assert!(0 < plain && 2 + plain <= requested_tls, "{plain} of {requested_tls}");
}

#[tokio::test]
async fn no_server_gets_a_request_for_tls_where_it_is_disabled() {
    let identity = Authority::new("a").issue_certificate(&[SERVER], VALID);
    let (proxy, database) = answering(Answer::Yes(identity)).await;
    check(&behind(&proxy, &database, SERVER, "sslmode=disable")).await;
    let seen = *proxy.seen().borrow();
    assert_eq!(seen, Seen { plain: seen.plain, ..Seen::default() });
}

#[tokio::test]
async fn a_host_without_a_name_is_refused_where_there_is_tls() {
    let identity = Authority::new("a").issue_certificate(&[SERVER], VALID);
    let (proxy, database) = answering(Answer::Yes(identity)).await;
    let named = behind(&proxy, &database, SERVER, "sslmode=require");
    let url = named.replace(&format!("@{SERVER}:{}/", proxy.port()), "@/")
        + &format!("&port={}", proxy.port());
    assert_eq!(
        refusal(&url).await,
        "the URL names an address only, and TLS needs the name of the server: \
         name it before the port, and the address in hostaddr"
    );
}

#[tokio::test]
async fn a_handshake_that_breaks_off_may_be_tried_again() {
    let (proxy, database) = answering(Answer::HangUp).await;
    for query in ["sslmode=prefer", "sslmode=require"] {
        let broken = TimescaleStore::connect(&behind(&proxy, &database, SERVER, query)).await;
        assert_eq!(
            failure(&broken.unwrap_err()),
            "TimescaleDB is unavailable: error performing TLS handshake: tls handshake eof"
        );
    }
    let Seen { began, plain, .. } = *proxy.seen().borrow();
    assert_eq!((began, plain), (2, 0));
}

#[tokio::test]
async fn a_silent_handshake_is_dropped() {
    let (proxy, database) = answering(Answer::Silence).await;
    let url = behind(&proxy, &database, SERVER, "sslmode=require");
    let connecting = tokio::spawn(async move { TimescaleStore::connect(&url).await });
    proxy.seen().wait_for(|seen| seen.began == 1).await.unwrap();
    // From here on all tasks only wait, so paused time advances at once.
    tokio::time::pause();
    let began = Instant::now();
    assert_eq!(
        failure(&connecting.await.unwrap().unwrap_err()),
        "TimescaleDB is unavailable: it does not answer within 10s"
    );
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
}

/// The error is retryable, so that sessions wait until an operator has renewed the certificate.
#[tokio::test]
async fn a_certificate_that_expires_meanwhile_costs_no_session() {
    let authority = Authority::new("a");
    let good = authority.issue_certificate(&[SERVER], VALID);
    let (proxy, database) = answering(Answer::Yes(good.clone())).await;
    let url = behind(&proxy, &database, SERVER, &verified(authority.file()));
    let (store, key) = check(&url).await;
    proxy.answer(Answer::Yes(authority.issue_certificate(&[SERVER], 2001..=2002)));
    // Waits until the connections are closed, for ten seconds at most.
    let cut = "select pg_terminate_backend(pid, 10000) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    sql(&database).await.query(cut, &[]).await.unwrap();
    let mut message = String::new();
    // The first commits report only cut connections, at most one commit per connection.
    for _ in 0..TimescaleOptions::default().connections {
        message = failure(&store.commit([write(&key, "session", 1)].into()).await.unwrap_err());
        if message.contains("certificate") {
            break;
        }
    }
    assert_eq!(
        message,
        "TimescaleDB is unavailable: the server's certificate has expired: renew it"
    );
    proxy.answer(Answer::Yes(good));
    assert_eq!(store.commit([write(&key, "session", 1)].into()).await.unwrap(), [Outcome::Written]);
}

/// A role that logs in with a password, and owns the database; `drop` removes the role.
struct PasswordRole {
    admin: Sql,
    name: String,
}

impl PasswordRole {
    async fn of(database: &Database) -> Self {
        let admin = sql(database).await;
        let on: String = admin.query_one("show ssl", &[]).await.unwrap().get(0);
        assert_eq!(on, "on", "`scripts/timescaledb up plain` starts one that speaks TLS");
        let database = database.url().rsplit_once('/').unwrap().1.to_owned();
        let name = format!("{database}_asked");
        let make = format!(
            "do $$ begin create role asked; exception when duplicate_object or unique_violation then null; end $$;
             set password_encryption = 'scram-sha-256';
             create role {name} login password 'secret' in role asked;
             grant create on database {database} to {name}"
        );
        admin.batch_execute(&make).await.unwrap();
        Self { admin, name }
    }

    fn url(&self, database: &Database) -> Url {
        let mut url: Url = database.url().parse().unwrap();
        url.set_username(&self.name).unwrap();
        url.set_password(Some("secret")).unwrap();
        url
    }

    async fn drop(self) {
        let name = self.name;
        self.admin
            .batch_execute(&format!("drop owned by {name} cascade; drop role {name}"))
            .await
            .unwrap();
    }
}

/// The setup of most managed databases.
#[tokio::test]
async fn a_password_is_given_over_the_tls_of_the_server_itself() {
    let database = Database::new(Backend::Postgres).await;
    let role = PasswordRole::of(&database).await;
    let certificate: String =
        role.admin.query_one("select pg_read_file('server.crt')", &[]).await.unwrap().get(0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, certificate).unwrap();
    let with = |query: &str| format!("{}?{query}", role.url(&database));
    // The password is bound to the server's certificate, so that no proxy can log in with it.
    let bound = format!("{}&channel_binding=require", verified(file.path()));
    for query in [&bound, "", "sslmode=require&channel_binding=disable"] {
        drop(check(&with(query)).await);
    }
    assert_eq!(
        refusal(&with(&bound).replace("secret", "other")).await,
        format!("the server refuses the password of user {:?}: correct it in the URL", role.name)
    );
    assert_eq!(
        refusal(&with(&bound).replace(":secret", "")).await,
        format!("the server requires a password for user {:?}: add it to the URL", role.name)
    );
    role.drop().await;
}

/// A password cannot be bound to a certificate that the server does not have.
#[tokio::test]
async fn a_password_is_given_to_a_server_behind_its_tls_unless_that_must_be_its_own() {
    let authority = Authority::new("a");
    let (proxy, database) =
        answering(Answer::Yes(authority.issue_certificate(&[SERVER], VALID))).await;
    let role = PasswordRole::of(&database).await;
    let url = behind(&proxy, &database, SERVER, &verified(authority.file()));
    let url = url.replace("postgres:secret", &format!("{}:secret", role.name));
    drop(check(&url).await);
    assert_eq!(
        refusal(&format!("{url}&channel_binding=require")).await,
        "TLS does not reach the server itself (authentication error: server did not use channel binding): name \
         the server in the URL, not a proxy before it, or set channel_binding=disable"
    );
    role.drop().await;
}
