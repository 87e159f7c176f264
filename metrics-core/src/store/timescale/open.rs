//! Prepares a database: migrates its tables, and sets up hypertables and compression.

use diesel::migration::{Migration, MigrationSource as _};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel_async::{
    AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::connect::{Purpose, Target};
use super::convert;
use super::error::{failed, unusable};
use crate::store::{Error, Migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/timescale");

/// The number of the lock that instances take before they change tables. Any number would do, as long as it never
/// changes.
const LOCK: i64 = 0x6d65_7472_6963_7301;

/// The oldest server with every function in use (`date_bin`), by its own numbering.
const SERVER_MIN: i32 = 140_000;

/// The width of a chunk. The chunks that are written to, with their indexes, should fit into memory: at 100,000
/// sessions a day a week has 200 MB. Narrower ones would slow the planning of reports over years; and retention deletes
/// a chunk at a time.
pub(super) const CHUNK_DAYS: i64 = 7;

/// The age at which a chunk is compressed: by then hardly a session in it can go on (see [`FINAL_AFTER`](crate::store::FINAL_AFTER)).
/// A session that lasted longer must be decompressed.
const COMPRESS_DAYS: i64 = 35;

/// The features of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Edition {
    /// Hypertable and compression.
    Community { version: String, schema: String },
    /// A hypertable.
    Apache { version: String, schema: String },
    /// PostgreSQL without TimescaleDB.
    Plain,
}

impl Edition {
    /// The schema of TimescaleDB's functions, if there are any.
    pub(super) fn schema(&self) -> Option<&str> {
        match self {
            Self::Community { schema, .. } | Self::Apache { schema, .. } => Some(schema),
            Self::Plain => None,
        }
    }
}

/// Prepares the database for `migrations`, and returns its features.
pub(super) async fn prepare(target: &Target, migrations: Migrations) -> Result<Edition, Error> {
    let mut connection = target.connect(Purpose::Upkeep).await?;
    let server = examine(&mut connection).await?;
    let edition = match migrations {
        Migrations::Run => {
            // The connection that holds the lock makes every change: so the lock outlives the last change, also when
            // this future is dropped. Closing the connection releases the lock in every case.
            diesel::sql_query(format!("select pg_advisory_lock({LOCK})"))
                .execute(&mut connection)
                .await
                .map_err(|err| failed("wait for other instances", err))?;
            let edition;
            (connection, edition) = update(connection, &server).await?;
            edition
        }
        Migrations::Check => {
            let state = convert::state(&mut connection).await?;
            let pending = if state.is_before { known()? } else { pending(&mut connection).await? };
            if !pending.is_empty() || state.is_renamed {
                return Err(unusable(format!(
                    "its tables are not up to date ({} missing): start once with --migrate-only, \
                     or without --no-migrate",
                    pending.join(", ")
                )));
            }
            edition(&mut connection).await?
        }
    };
    let written = diesel::sql_query("delete from keys where id is null").execute(&mut connection);
    written.await.map_err(|err| {
        unusable(format!(
            "its tables cannot be written ({err}): connect as the user who created them, or grant the rights on \
             schema metrics"
        ))
    })?;
    announce(&edition, &server);
    Ok(edition)
}

#[derive(QueryableByName)]
struct Server {
    #[diesel(sql_type = Integer)]
    number: i32,
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Text)]
    encoding: String,
    #[diesel(sql_type = Bool)]
    read_only: bool,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = Bool)]
    has_schema: bool,
    /// Whether TimescaleDB's files are installed; `loaded`: whether the server loaded it when it started.
    #[diesel(sql_type = Bool)]
    available: bool,
    #[diesel(sql_type = Bool)]
    loaded: bool,
}

async fn examine(connection: &mut AsyncPgConnection) -> Result<Server, Error> {
    let server: Server = diesel::sql_query(
        "select current_setting('server_version_num')::int as number,
            current_setting('server_version') as version,
            current_setting('server_encoding') as encoding,
            pg_is_in_recovery() or current_setting('transaction_read_only')::bool as read_only,
            current_user::text as role,
            current_database()::text as database,
            exists (select from pg_namespace where nspname = 'metrics') as has_schema,
            exists (select from pg_available_extensions where name = 'timescaledb') as available,
            exists (select from pg_settings where name = 'timescaledb.max_background_workers') as loaded",
    )
    .get_result(connection)
    .await
    .map_err(|err| failed("describe itself", err))?;
    if server.number < SERVER_MIN {
        return Err(unusable(format!(
            "the server is PostgreSQL {}: 14 or later is required",
            server.version
        )));
    }
    if server.encoding != "UTF8" {
        return Err(unusable(format!(
            "the database is in {}: create one with `createdb --encoding UTF8 --template template0`",
            server.encoding
        )));
    }
    if server.read_only {
        return Err(unusable(
            "it is read-only, like a replica: name the primary in the URL, or all hosts and \
             target_session_attrs=read-write"
                .to_owned(),
        ));
    }
    Ok(server)
}

/// Brings the tables up to date, and returns the connection.
async fn update(
    mut connection: AsyncPgConnection,
    server: &Server,
) -> Result<(AsyncPgConnection, Edition), Error> {
    let (role, database) = (&server.role, &server.database);
    let state = convert::state(&mut connection).await?;
    if state.is_before {
        convert::rename(&mut connection).await?;
    }
    let pending = pending(&mut connection).await?;
    let installed = edition(&mut connection).await? != Edition::Plain;
    // An operator decides whether existing tables become hypertables.
    let is_new = !server.has_schema && !state.is_renamed;
    if is_new && !installed && server.available && server.loaded {
        connection.batch_execute("create extension if not exists timescaledb").await.map_err(
            |err| {
                unusable(format!(
                    "user {role:?} may not add TimescaleDB to database {database:?} ({err}): a superuser must run \
                 `create extension timescaledb` in it"
                ))
            },
        )?;
    }
    if !server.has_schema || state.is_before {
        connection.batch_execute("create schema if not exists metrics").await.map_err(|err| {
            unusable(format!(
                "user {role:?} may not create the schema metrics in database {database:?} ({err}): its owner must \
                 run `grant create on database {database} to {role}`"
            ))
        })?;
    }
    if !pending.is_empty() {
        connection = migrate(connection).await?;
    }
    let edition = edition(&mut connection).await?;
    arrange(&mut connection, &edition).await.map_err(|err| {
        unusable(format!("TimescaleDB cannot store the sessions in a hypertable ({err})"))
    })?;
    if state.is_before || state.is_renamed {
        convert::run(&mut connection).await?;
    }
    Ok((connection, edition))
}

/// The migrations that have not run yet.
async fn pending(connection: &mut AsyncPgConnection) -> Result<Vec<String>, Error> {
    #[derive(QueryableByName)]
    struct Applied {
        #[diesel(sql_type = Text)]
        version: String,
    }
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = Nullable<Text>)]
        name: Option<String>,
    }
    let to_error = |err| failed("list its migrations", err);
    let table: Table =
        diesel::sql_query("select to_regclass('metrics.__diesel_schema_migrations')::text as name")
            .get_result(connection)
            .await
            .map_err(to_error)?;
    let applied: Vec<Applied> = if table.name.is_some() {
        diesel::sql_query("select version::text from metrics.__diesel_schema_migrations")
            .load(connection)
            .await
            .map_err(to_error)?
    } else {
        Vec::new()
    };
    let known = known()?;
    if !applied.iter().all(|applied| known.contains(&applied.version)) {
        return Err(unusable(
            "a newer version has changed its tables: use that version, or another database"
                .to_owned(),
        ));
    }
    Ok(known
        .into_iter()
        .filter(|version| applied.iter().all(|applied| applied.version != *version))
        .collect())
}

/// The versions of all migrations.
fn known() -> Result<Vec<String>, Error> {
    let known: Vec<Box<dyn Migration<Pg>>> =
        MIGRATIONS.migrations().map_err(|err| unusable(err.to_string()))?;
    Ok(known.iter().map(|migration| migration.name().version().to_string()).collect())
}

/// Runs the pending migrations on a thread and in a runtime of its own: diesel's migrations block, in a way that panics
/// on a runtime with a single thread. The thread keeps the connection if this future is dropped.
async fn migrate(connection: AsyncPgConnection) -> Result<AsyncPgConnection, Error> {
    let migrating = tokio::task::spawn_blocking(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|err| unusable(err.to_string()))?;
        runtime.block_on(async {
            let mut harness = AsyncMigrationHarness::new(connection);
            harness.run_pending_migrations(MIGRATIONS).map_err(|err| {
                unusable(format!("its tables cannot be brought up to date ({err})"))
            })?;
            Ok(harness.into_inner())
        })
    });
    migrating.await.map_err(|panic| unusable(panic.to_string()))?
}

async fn edition(connection: &mut AsyncPgConnection) -> Result<Edition, Error> {
    #[derive(QueryableByName)]
    struct Extension {
        #[diesel(sql_type = Text)]
        version: String,
        #[diesel(sql_type = Text)]
        schema: String,
        #[diesel(sql_type = Nullable<Text>)]
        license: Option<String>,
    }
    let installed: Option<Extension> = diesel::sql_query(
        "select extversion::text as version, quote_ident(nspname) as schema,
            current_setting('timescaledb.license', true) as license
         from pg_extension join pg_namespace n on n.oid = extnamespace where extname = 'timescaledb'",
    )
    .get_result(connection)
    .await
    .optional()
    .map_err(|err| failed("name its extensions", err))?;
    Ok(match installed {
        None => Edition::Plain,
        Some(Extension { version, schema, license }) if license.as_deref() == Some("timescale") => {
            Edition::Community { version, schema }
        }
        Some(Extension { version, schema, .. }) => Edition::Apache { version, schema },
    })
}

/// Sets up the features of TimescaleDB that are not in use yet.
async fn arrange(connection: &mut AsyncPgConnection, edition: &Edition) -> Result<(), DieselError> {
    #[derive(QueryableByName)]
    struct State {
        #[diesel(sql_type = Nullable<Bool>)]
        compressed: Option<bool>,
    }
    let Some(schema) = edition.schema() else { return Ok(()) };
    let hypertable: Option<State> = diesel::sql_query(
        "select compression_enabled as compressed from timescaledb_information.hypertables
         where hypertable_schema = 'metrics' and hypertable_name = 'session_rows'",
    )
    .get_result(connection)
    .await
    .optional()?;
    if hypertable.is_none() {
        let make = format!(
            "select {schema}.create_hypertable('metrics.session_rows', 'started_at', \
             chunk_time_interval => interval '{CHUNK_DAYS} days', \
             create_default_indexes => false, migrate_data => true)"
        );
        connection.batch_execute(&make).await?;
    }
    let compressed = hypertable.and_then(|it| it.compressed).unwrap_or(false);
    if matches!(edition, Edition::Community { .. }) && !compressed {
        // Ordered by one column only. Before TimescaleDB 2.27, a chunk that is compressed again after late rows has no
        // order by several columns, but is planned as if it had: a page would lack some of its rows, or have them
        // twice.
        let compress = format!(
            "alter table metrics.session_rows set (timescaledb.compress, \
             timescaledb.compress_segmentby = 'video_id', \
             timescaledb.compress_orderby = 'started_at'); \
             select {schema}.add_compression_policy('metrics.session_rows', interval '{COMPRESS_DAYS} days', \
             if_not_exists => true)"
        );
        connection.batch_execute(&compress).await?;
    }
    Ok(())
}

fn announce(edition: &Edition, server: &Server) {
    let postgres = &server.version;
    match edition {
        Edition::Community { version, .. } => tracing::info!(
            "TimescaleDB {version}, community edition, on PostgreSQL {postgres}: \
             a hypertable, compressed after {COMPRESS_DAYS} days"
        ),
        Edition::Apache { version, .. } => tracing::info!(
            "TimescaleDB {version}, Apache edition, on PostgreSQL {postgres}: \
             a hypertable; only the community edition compresses it"
        ),
        Edition::Plain if server.available && !server.loaded => tracing::warn!(
            "PostgreSQL {postgres} without TimescaleDB, which is installed but not named in \
             shared_preload_libraries: plain tables, the same answers"
        ),
        Edition::Plain => tracing::warn!(
            "PostgreSQL {postgres} without TimescaleDB: plain tables, the same answers"
        ),
    }
}
