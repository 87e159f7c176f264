//! The server: opens the store, serves, and drains.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;

use metrics_core::budget::Budget;
use metrics_core::recorder::{Recovered, Spool};
use metrics_core::store::Store;
use metrics_core::{ApiKey, Metrics};

use super::config::{Config, ConfigError};
use super::{files, store};
use crate::page::EXAMPLE_KEY;
use crate::serve::{listen, serve};
use crate::service::Service;
use crate::users::Users;

/// Serves until `stop` resolves, then stops without losing anything.
///
/// # Errors
///
/// The reason why the server cannot start.
pub(super) async fn serve_until(
    stop: impl Future<Output = ()>,
    config: Config,
) -> Result<(), Box<dyn Error>> {
    let mut stop = pin!(stop);
    let store = tokio::select! {
        // The spool is recovered at the next start.
        () = &mut stop => return Ok(()),
        opened = open(&config) => opened?,
    };
    tracing::info!("memory budget: {} MiB (METRICS_MEMORY)", config.memory >> 20);
    let metrics = start(store, &config);
    check_keys(&metrics, &config).await?;
    warn_of_loopback(&config);
    let connections_max = files::raise_limit(config.connections_max, config.database_connections)
        .map_err(|err| format!("cannot open enough files: {err}"))?;
    log_connection_limit(connections_max, config.connections_max);
    let listener = listen(config.listen)
        .map_err(|err| format!("cannot listen on {}: {err}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "listening");

    let service = Service::new(metrics, config.settings);
    serve(listener, service, connections_max, async {
        stop.await;
        tracing::info!("stopping");
    })
    .await;
    tracing::info!("stopped");
    Ok(())
}

/// Opens the store, and recovers the spool of an earlier run.
async fn open(config: &Config) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    let store = store::open(config, &config.database).await?;
    if let Some(spool) = &config.settings.spool {
        recover(spool, &store).await?;
    }
    Ok(store)
}

fn start(store: Arc<dyn Store>, config: &Config) -> Metrics {
    let metrics = Metrics::builder(store).bots(config.bots).limits(config.limits.clone());
    let metrics = metrics.page_detail(config.page_detail).memory(Budget::new(config.memory));
    let metrics = metrics.arrival_parts(config.arrival_parts.clone());
    match config.retention {
        Some(span) => metrics.retention(span).start(),
        None => metrics.start(),
    }
}

/// Logs that programs on this machine can name users.
fn warn_of_loopback(config: &Config) {
    if config.settings.users.as_ref().is_some_and(Users::trusts_this_machine) {
        tracing::warn!(
            "METRICS_TRUSTED_PROXIES has an address of this machine, so every program on it can name any user, an owner \
             too: run no program of others here, or give the proxy an address of its own (docs/access.md)"
        );
    }
}

/// Logs that the system allows fewer connections than the settings.
fn log_connection_limit(available: usize, most: usize) {
    let reason = "the limit of open files allows no more";
    if available < most.min(files::USEFUL) {
        tracing::warn!("at most {available} connections: {reason}; {}", files::REMEDY);
    } else if available < most {
        tracing::info!("at most {available} connections: {reason}");
    }
}

/// Recovers the sessions that an earlier run spilled while the store was unavailable.
async fn recover(spool: &Spool, store: &Arc<dyn Store>) -> Result<(), Box<dyn Error>> {
    let Recovered { files, sessions, refused, .. } = spool.recover(store).await?;
    if 0 < files {
        tracing::info!(
            sessions,
            refused,
            "recovered the sessions that were spilled while the store was unavailable"
        );
    }
    Ok(())
}

/// Checks that viewers can be recorded, and logs the remedy if they cannot.
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
            // It may have been revoked while the server ran, which must start again even so: other keys are valid.
            Some(_) => tracing::error!(
                "METRICS_DEFAULT_KEY is a revoked key, so batches that name no key are refused: restore it with \
                 `metrics-server keys restore`, name another, or unset it"
            ),
            None if adds_example && key.as_str() == EXAMPLE_KEY => {}
            None => {
                let text = "METRICS_DEFAULT_KEY is not a key of this database: create it with `metrics-server \
                            keys create KEY`, name another, or unset it";
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
