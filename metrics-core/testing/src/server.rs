//! Databases on a PostgreSQL server: created, inspected, copied and dropped.

use std::collections::BTreeMap;
use std::thread;

use rand::RngExt as _;
use tokio::runtime::Builder;
use tokio_postgres::{Client, NoTls};
use url::Url;

use crate::own_runtime::on_own_runtime;

/// Excludes the schemas of the server and of extensions.
const OURS: &str = "table_schema !~ '^(pg_|information_schema|_?timescaledb)'";

/// A database that is dropped at the end, even with open connections.
#[derive(Debug)]
pub(crate) struct ServerDatabase {
    /// The URL of the server's own database. Its connections create and drop other databases.
    server: Url,
    name: String,
}

impl ServerDatabase {
    /// Creates a database on the server whose URL this environment variable contains.
    pub(crate) async fn on(variable: &str) -> Self {
        let Some(url) = std::env::var(variable).ok().filter(|url| !url.is_empty()) else {
            panic!("{variable} is not set: `scripts/timescaledb up` prints one");
        };
        let url = url.parse();
        let url = url.unwrap_or_else(|err| panic!("{variable} holds no address: {err}"));
        Self::new(url).await
    }

    /// Creates a database on this server.
    pub(crate) async fn new(server: Url) -> Self {
        let name = format!("metrics_test_{:016x}", rand::rng().random::<u64>());
        let new = Self { server, name };
        // From `template0`, to which nobody connects: a template cannot be copied while it has connections.
        let statement = format!("create database {} template template0", new.name);
        execute(new.server.clone(), statement).await;
        new
    }

    pub(crate) fn url(&self) -> Url {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url
    }

    /// Creates another database on the same server.
    pub(crate) async fn sibling(&self) -> Self {
        Self::new(self.server.clone()).await
    }

    /// Returns the rows of each table, in one snapshot.
    pub(crate) async fn rows(&self) -> BTreeMap<String, Vec<String>> {
        let url = self.url();
        on_own_runtime(async move {
            let mut client = connect(&url).await;
            let snapshot = client.build_transaction().read_only(true);
            let snapshot = snapshot
                .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
                .start()
                .await
                .expect("a transaction");
            let mut rows = BTreeMap::new();
            for table in tables(&snapshot).await {
                let all = format!("select r::text from {table} r");
                let all = snapshot.query(&all, &[]).await.expect("the rows");
                rows.insert(table, all.iter().map(|row| row.get(0)).collect());
            }
            rows
        })
        .await
    }

    /// Replaces the contents of the tables, which must have the same schema as the source of the rows.
    pub(crate) async fn fill(&self, rows: BTreeMap<String, Vec<String>>) {
        let url = self.url();
        on_own_runtime(async move {
            let mut client = connect(&url).await;
            let transaction = client.transaction().await.expect("a transaction");
            // Foreign keys do not constrain the order of tables, and triggers send no notifications about the copy.
            let quiet = "set local session_replication_role = replica";
            transaction.batch_execute(quiet).await.expect("a superuser");
            for (table, rows) in rows {
                let insert = format!(
                    "insert into {table} overriding system value \
                     select r.* from unnest($1::text[]) text, lateral (select (text::{table}).*) r"
                );
                let empty = format!("delete from {table}");
                transaction.batch_execute(&empty).await.expect("emptied");
                transaction.execute(&insert, &[&rows]).await.expect("filled");
            }
            // Sequences continue after the copied rows.
            let counters = format!(
                "select setval(pg_get_serial_sequence(format('%I.%I', table_schema, table_name), \
                 column_name), 1000000) \
                 from information_schema.columns where {OURS} and is_identity = 'YES'"
            );
            transaction.batch_execute(&counters).await.expect("counted on");
            transaction.commit().await.expect("committed");
        })
        .await;
    }
}

impl Drop for ServerDatabase {
    fn drop(&mut self) {
        let statement = format!("drop database if exists {} with (force)", self.name);
        let server = self.server.clone();
        // A destructor cannot await, and the test may have panicked.
        let dropping = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { run(&server, &statement).await.expect("dropped") });
        });
        if dropping.join().is_err() && !thread::panicking() {
            panic!("{} was not dropped", self.name);
        }
    }
}

async fn tables(client: &tokio_postgres::Transaction<'_>) -> Vec<String> {
    let tables = format!(
        "select format('%I.%I', table_schema, table_name) from information_schema.tables \
         where {OURS} and table_type = 'BASE TABLE'"
    );
    let tables = client.query(&tables, &[]).await.expect("the tables");
    tables.iter().map(|row| row.get(0)).collect()
}

async fn execute(server: Url, statement: String) {
    on_own_runtime(async move { run(&server, &statement).await.expect("done") }).await;
}

async fn run(url: &Url, statement: &str) -> Result<(), tokio_postgres::Error> {
    connect(url).await.batch_execute(statement).await
}

async fn connect(url: &Url) -> Client {
    let connected = tokio_postgres::connect(url.as_str(), NoTls).await;
    let (client, connection) = connected.unwrap_or_else(|err| panic!("no connection: {err}"));
    tokio::spawn(connection);
    client
}
