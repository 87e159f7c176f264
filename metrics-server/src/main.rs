//! The server: settings, log, store, serve, drain.

mod commands;
mod files;

use std::error::Error;
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use self::commands::{
    ask_health, check_blocks, check_there, copy_all, erase_sessions, forget_sessions, import_mave,
    import_sessions, open_file, see_to_keys, write_export,
};
use metrics_core::budget::Budget;
use metrics_core::recorder::{Spool, TakenUp};
use metrics_core::store::{
    Error as StoreError, SqliteOptions, SqliteStore, Store, TimescaleOptions, TimescaleStore,
};
use metrics_core::{ApiKey, Metrics};
use metrics_server::{
    Command, Config, ConfigError, Database, EXAMPLE_KEY, KeysCommand, LogFormat, Service, listen,
    serve,
};
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// How long to wait before a database that cannot be reached is tried again.
const WAIT: Duration = Duration::from_secs(1);

/// What is said of a command that the library reads and this program does not know how to do.
const UNKNOWN_COMMAND: &str = "this program cannot do that: use the one of the same version";

/// Page caches of SQLite take at most this part of the memory budget, beside it.
const CACHES_PART: usize = 8;

/// For each of so many bytes of the memory budget there may be a thread that blocks: its stack takes an eighth of that.
const BYTES_PER_THREAD: usize = 16 << 20;

/// How many threads may block at least and at most: the store writes and reads with 7, and reports fold with as many as
/// there are processors less one.
const THREADS: (usize, usize) = (16, 512);

fn main() -> ExitCode {
    let config = match Config::load() {
        Ok(config) => config,
        Err(refused) => return refused.exit(),
    };
    log(&config);
    let started = start_runtime(config.memory)
        .map_err(|err| -> Box<dyn Error> { format!("cannot start threads: {err}").into() });
    match started.and_then(|runtime| runtime.block_on(run(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            if let Some(refused) = err.downcast_ref::<ConfigError>() {
                return refused.exit();
            }
            #[expect(clippy::print_stderr, reason = "the operator is told why there is no server")]
            {
                eprintln!("metrics-server: {}", chain(&*err));
            }
            ExitCode::FAILURE
        }
    }
}

/// Starts a runtime whose threads fit beside the memory budget.
fn start_runtime(memory: usize) -> io::Result<Runtime> {
    let (least, most) = THREADS;
    let threads = (memory / BYTES_PER_THREAD).clamp(least, most);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut runtime = runtime::Builder::new_multi_thread();
    runtime.worker_threads(processors.min(threads)).max_blocking_threads(threads);
    runtime.enable_all().build()
}

async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    // First of all: a signal that comes while the store opens must not end the process half way.
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let mut stopped = pin!(stopped);
    let store = tokio::select! {
        () = &mut stopped => return match config.command {
            Command::Serve => Ok(()),
            Command::Export { .. } => Err("interrupted: run it again".into()),
            // Whoever waits for it must not take it for done.
            _ => Err("interrupted: run it again, and it goes on".into()),
        },
        prepared = prepare(&config) => match prepared? {
            Some(store) => store,
            None => return Ok(()),
        },
    };
    if let Some(spool) = &config.settings.spool {
        tokio::select! {
            // It goes on at the next start.
            () = &mut stopped => return Ok(()),
            taken_up = take_up(spool, &store) => taken_up?,
        }
    }
    tracing::info!("memory budget: {} MiB (METRICS_MEMORY)", config.memory >> 20);
    let metrics = Metrics::builder(store).bots(config.bots).limits(config.limits.clone());
    let metrics = metrics.page_detail(config.page_detail).memory(Budget::new(config.memory));
    let metrics = match config.retention {
        Some(span) => metrics.retention(span).start(),
        None => metrics.start(),
    };
    check_keys(&metrics, &config).await?;
    let connections_max = files::make_room(config.connections_max, config.database_connections)
        .map_err(|err| format!("cannot open enough files: {err}"))?;
    tell_room(connections_max, config.connections_max);
    let listener = listen(config.listen)
        .map_err(|err| format!("cannot listen on {}: {err}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "listening");

    let service = Service::new(metrics, config.settings);
    serve(listener, service, connections_max, async {
        stopped.await;
        tracing::info!("stopping");
    })
    .await;
    tracing::info!("stopped");
    Ok(())
}

/// Says that there is room for fewer connections than there may be.
fn tell_room(room: usize, most: usize) {
    let why = "the system lets this process open no more files";
    if room < most.min(files::USEFUL) {
        tracing::warn!("room for {room} connections: {why}; {}", files::REMEDY);
    } else if room < most {
        tracing::info!("room for {room} connections: {why}");
    }
}

fn log(config: &Config) {
    let filter = EnvFilter::new(&config.log_filter);
    // What a command prints is for other programs.
    let to_stderr = config.command.prints();
    let writer = if to_stderr {
        BoxMakeWriter::new(std::io::stderr)
    } else {
        BoxMakeWriter::new(std::io::stdout)
    };
    // Colours are for people who look at a terminal; a file would hold their escapes.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_terminal =
        if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let builder = builder.with_ansi(is_terminal && !plain);
    match config.log_format {
        LogFormat::Json => builder.json().init(),
        _ => builder.init(),
    }
}

/// Does what is to be done instead of serving, or opens the store to be served.
async fn prepare(config: &Config) -> Result<Option<Arc<dyn Store>>, Box<dyn Error>> {
    match &config.command {
        Command::Health => ask_health(config.listen).await?,
        Command::Copy { from, to } => {
            check_there(from)?;
            let (from, to) = (open(config, from).await?, open(config, to).await?);
            copy_all(&*from, &*to).await?;
        }
        Command::ImportMave(old) => {
            if let Database::Postgres(url) = old {
                import_mave(url, &*open(config, &config.database).await?).await?;
            }
        }
        Command::ImportSessions(import) => {
            let file = open_file(import)?;
            if import.dry_run {
                import_sessions(None, import, file, config.page_detail).await?;
            } else {
                let store = open(config, &config.database).await?;
                import_sessions(Some(&*store), import, file, config.page_detail).await?;
            }
        }
        Command::CheckBlocks { mend } => {
            check_blocks(&*open(config, &config.database).await?, *mend).await?;
        }
        Command::Export { export, output } => {
            check_there(&config.database)?;
            write_export(&*open(config, &config.database).await?, export, output.as_deref())
                .await?;
        }
        Command::Keys(what) => {
            if !matches!(what, KeysCommand::Create(..)) {
                check_there(&config.database)?;
            }
            see_to_keys(&*open(config, &config.database).await?, what).await?;
        }
        Command::Erase { selected, dry_run } => {
            check_there(&config.database)?;
            erase_sessions(&*open(config, &config.database).await?, selected, *dry_run).await?;
        }
        Command::Forget { dry_run } => {
            check_there(&config.database)?;
            let store = open(config, &config.database).await?;
            forget_sessions(&*store, config.retention, *dry_run).await?;
        }
        Command::Serve => {
            let store = open(config, &config.database).await?;
            return Ok((!config.migrate_only).then_some(store));
        }
        _ => return Err(UNKNOWN_COMMAND.into()),
    }
    Ok(None)
}

/// Opens a store; if it is away and that is wanted, as soon as it can be reached.
async fn open(config: &Config, database: &Database) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    loop {
        match try_open(config, database).await {
            Err(err) if config.wait_for_store && err.is_retryable() => {
                tracing::warn!("waiting for the database: {}", chain(&err));
                tokio::time::sleep(WAIT).await;
            }
            opened => return Ok(opened?),
        }
    }
}

async fn try_open(config: &Config, database: &Database) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match database {
        Database::Sqlite(path) => {
            let options = SqliteOptions::default()
                .with_migrations(config.migrations)
                .with_caches(config.memory / CACHES_PART);
            Arc::new(SqliteStore::open_with(path, options).await?)
        }
        Database::Postgres(url) => {
            let options = TimescaleOptions::default()
                .with_connections(config.database_connections)
                .with_migrations(config.migrations);
            Arc::new(TimescaleStore::connect_with(url, options).await?)
        }
        other => {
            let reason = format!("this program has no store for {other:?}");
            return Err(StoreError::Unusable { store: "the database", reason });
        }
    })
}

/// Has the store take what an earlier run left when it was away.
async fn take_up(spool: &Spool, store: &Arc<dyn Store>) -> Result<(), Box<dyn Error>> {
    let TakenUp { files, sessions, refused, .. } = spool.take_up(store).await?;
    if 0 < files {
        tracing::info!(sessions, refused, "took up what was left when the store was away");
    }
    Ok(())
}

/// Makes sure that viewers can be recorded, and says how where they cannot.
///
/// # Errors
///
/// The keys cannot be read, or batches without a key would be recorded under one that the database does not know.
async fn check_keys(metrics: &Metrics, config: &Config) -> Result<(), Box<dyn Error>> {
    let keys = metrics.keys().await?;
    // A newcomer may try a database that has no key yet.
    let adds_example = keys.is_empty() && config.settings.access.is_none();
    if let Some(key) = &config.settings.default_key {
        match keys.iter().find(|record| record.key == *key) {
            Some(record) if record.disabled_at.is_none() => {}
            // It may have been revoked while the server ran, which must start again all the same: other keys are valid.
            Some(_) => tracing::error!(
                "METRICS_DEFAULT_KEY is a revoked key, so batches that name no key are refused: restore it with \
                 `metrics-server keys restore`, name another, or unset it"
            ),
            None if adds_example && key.as_str() == EXAMPLE_KEY => {}
            None => {
                let text = "METRICS_DEFAULT_KEY is no key of this database: create it with `metrics-server keys \
                            create KEY`, name another, or unset it";
                return Err(ConfigError::Refused(text.to_owned()).into());
            }
        }
    }
    if adds_example {
        metrics.import_key(&ApiKey::new(EXAMPLE_KEY)?).await?;
        tracing::info!("the database is empty: added the example key {EXAMPLE_KEY}");
    } else if keys.is_empty() {
        tracing::warn!(
            "there is no API key yet, so nothing can be recorded: create one with `metrics-server keys create`, or \
             by POST /api/v1/keys with user and password"
        );
    }
    Ok(())
}

/// An error and its causes, in one line.
fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}
