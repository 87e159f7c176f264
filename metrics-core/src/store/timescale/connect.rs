//! Connections to the database: the URL, TLS, and the errors of connecting.

use std::fmt;
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::ConnectionError;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::chain::chain;
use super::error::{outdated, unavailable, unusable};
use super::{COMMIT_MAX, messages, tls};
use crate::store::Error;
use crate::store::common::STATEMENT_MAX;

/// The longest time to connect.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a connection may be silent before TCP probes whether the other end is alive.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long sent data may stay unacknowledged: a server that vanished must not delay recording.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// The use of a connection, which decides how long a statement may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Reports,
    Recording,
    /// Changes of tables, and other work without a time limit.
    Upkeep,
    /// A database that is no store: its settings stay unchanged.
    #[cfg(feature = "mave")]
    OtherDatabase,
}

impl Purpose {
    /// Returns the statements that configure a connection. Reports get custom plans, because a plan for any timeframe
    /// reads every chunk. Statements of recording find rows by their keys and are planned once, maybe while their
    /// tables are empty: so they join tables in subqueries that are evaluated row by row through an index (`for
    /// update`, `limit`, `offset 0`, a scalar subquery). A plain join that was planned for an empty table compares
    /// every row with every other one as soon as the table has many. `synchronous_commit` stays if it is `on` or
    /// stricter, and `off` becomes `on`: it would acknowledge commits that may be lost.
    fn settings(self) -> String {
        let (statement_max, plans) = match self {
            Self::Reports => (STATEMENT_MAX, "set plan_cache_mode = force_custom_plan"),
            Self::Recording => {
                (COMMIT_MAX, "set plan_cache_mode = force_generic_plan; set enable_seqscan = off")
            }
            Self::Upkeep => (Duration::ZERO, "set plan_cache_mode = force_custom_plan"),
            #[cfg(feature = "mave")]
            Self::OtherDatabase => return String::new(),
        };
        format!(
            "set search_path = metrics, public;
             set statement_timeout = {};
             set idle_in_transaction_session_timeout = '2min';
             {plans};
             set jit = off;
             select set_config('synchronous_commit', 'on', false)
                 where current_setting('synchronous_commit') = 'off'",
            statement_max.as_millis()
        )
    }
}

/// The address of the database, and how to connect to it.
#[derive(Clone)]
pub(super) struct Target {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Target {
    /// Parses a URL like `postgres://user:password@host:port/database?sslmode=verify-full`.
    ///
    /// `sslmode` is `disable`, `prefer` (the default), `require` or `verify-full`, `sslrootcert` the file of the
    /// certificates that `verify-full` trusts in place of the system's. Other parameters are those of libpq that
    /// tokio-postgres supports.
    fn parse(url: &str) -> Result<Self, Error> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut root_file, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => root_file = Some(decode(value)),
                _ => rest.push(pair),
            }
        }
        let url =
            if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        // The error quotes a part of the URL at most, never the password.
        let mut config: Config = url
            .parse()
            .map_err(|err| unusable(format!("its URL cannot be read ({})", chain(&err))))?;
        let (ssl_mode, verified) = match mode {
            None | Some("prefer") => (SslMode::Prefer, false),
            Some("disable") => (SslMode::Disable, false),
            Some("require") => (SslMode::Require, false),
            Some("verify-full") => (SslMode::Require, true),
            Some(other) => {
                return Err(unusable(format!(
                    "sslmode is {other:?}: it must be disable, prefer, require or verify-full"
                )));
            }
        };
        if root_file.is_some() && !verified {
            return Err(unusable("sslrootcert requires sslmode=verify-full".to_owned()));
        }
        config.ssl_mode(ssl_mode);
        if config.get_application_name().is_none() {
            config.application_name("metrics");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        config.keepalives_idle(KEEPALIVE).tcp_user_timeout(UNACKNOWLEDGED_MAX);
        let tls = MakeRustlsConnect::new(tls::config(verified, root_file.as_deref())?);
        Ok(Self { config, tls })
    }

    /// Opens a connection. Errors tell an operator the remedy.
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<AsyncPgConnection, Error> {
        let connecting = self.config.connect(self.tls.clone());
        let (client, driver) = in_time(connecting).await?.map_err(|err| self.refusal(err))?;
        let setting_up = async {
            let mut connection =
                AsyncPgConnection::try_from_client_and_connection(client, driver).await?;
            let set = connection.batch_execute(&purpose.settings()).await;
            set.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok::<_, ConnectionError>(connection)
        };
        in_time(setting_up).await?.map_err(|err| match &err {
            // The first statement loads the libraries.
            ConnectionError::CouldntSetupConfiguration(cause) => {
                outdated(cause).map_or_else(|| unavailable(err), unavailable)
            }
            _ => unavailable(err),
        })
    }

    /// Cancels the statement that runs on a connection, if any does.
    pub(super) async fn cancel(&self, token: CancelToken) {
        // The connection is closed either way.
        let _ = tokio::time::timeout(CONNECT_MAX, token.cancel_query(self.tls.clone())).await;
    }

    fn refusal(&self, err: tokio_postgres::Error) -> Error {
        let user = self.config.get_user().unwrap_or("(the system's)");
        let database = self.config.get_dbname().unwrap_or(user);
        if let Some(reason) = tls::refusal(&err) {
            return unusable(reason);
        }
        match err.code() {
            _ if messages::lacks_channel_binding(&chain(&err)) => unusable(format!(
                "TLS does not reach the server itself ({}): name the server in the URL, not a proxy before it, or \
                 set channel_binding=disable",
                chain(&err)
            )),
            Some(&SqlState::INVALID_PASSWORD) => unusable(format!(
                "the server refuses the password of user {user:?}: correct it in the URL"
            )),
            Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => unusable(format!(
                "the server refuses user {user:?} ({}): \
                 name a user who may log in, or allow it in the server's pg_hba.conf",
                chain(&err)
            )),
            Some(&SqlState::INVALID_CATALOG_NAME) => unusable(format!(
                "there is no database {database:?}: create one with `createdb {database}`, or name another in the URL"
            )),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => unusable(format!(
                "user {user:?} may not connect to database {database:?}: \
                 grant it with `grant connect on database {database} to {user}`"
            )),
            None if messages::lacks_password(&chain(&err)) => unusable(format!(
                "the server requires a password for user {user:?}: add it to the URL"
            )),
            None if messages::is_invalid_configuration(&err.to_string()) => {
                unusable(format!("its URL cannot be used ({})", chain(&err)))
            }
            _ => unavailable(err),
        }
    }
}

impl fmt::Debug for Target {
    /// Omits the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

/// Limits one of the two steps of connecting to twice [`CONNECT_MAX`].
async fn in_time<T>(step: impl Future<Output = T>) -> Result<T, Error> {
    let done = tokio::time::timeout(2 * CONNECT_MAX, step).await;
    done.map_err(|_| unavailable(format!("it does not answer within {:?}", 2 * CONNECT_MAX)))
}

/// Decodes `%2F` and the like in a value.
fn decode(value: &str) -> String {
    let pair = format!("v={}", value.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, v)| v.into_owned())
        .unwrap_or_default()
}

/// A connection to a database that is not a store, with all parameters of a store's URL. Errors call it a TimescaleDB.
#[cfg(feature = "mave")]
pub(crate) async fn connect_to_other(url: &str) -> Result<AsyncPgConnection, Error> {
    target(url).await?.connect(Purpose::OtherDatabase).await
}

/// Parses the URL on a thread that may block.
pub(super) async fn target(url: &str) -> Result<Target, Error> {
    let url = url.to_owned();
    // Reads certificate files, which blocks.
    tokio::task::spawn_blocking(move || Target::parse(&url))
        .await
        .map_err(|panic| unusable(panic.to_string()))?
}

/// Forces custom plans for the rest of a transaction, on a connection that records: a generic plan of a search for rows
/// in SQL would scan every chunk, because it does not know when the sessions started.
pub(super) async fn force_custom_plans(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    connection
        .batch_execute(
            "set local plan_cache_mode = force_custom_plan; set local enable_seqscan = on",
        )
        .await
}
