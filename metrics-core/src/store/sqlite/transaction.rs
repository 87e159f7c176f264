//! Transactions that tell the first error.

use diesel::connection::{AnsiTransactionManager, TransactionManager as _};
use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;

/// Runs `query` in a transaction that begins with the statement `begin`.
///
/// diesel's own function returns the error of the `rollback` if that fails, as it does if SQLite has already rolled
/// back because the disk is full. This one returns the first error.
pub(super) fn transaction<T, E: From<DieselError>>(
    connection: &mut SqliteConnection,
    begin: &str,
    query: impl FnOnce(&mut SqliteConnection) -> Result<T, E>,
) -> Result<T, E> {
    AnsiTransactionManager::begin_transaction_sql(connection, begin)?;
    match query(connection) {
        Ok(done) => {
            AnsiTransactionManager::commit_transaction(connection)?;
            Ok(done)
        }
        Err(err) => {
            if let Err(rollback) = AnsiTransactionManager::rollback_transaction(connection) {
                tracing::debug!(error = &rollback as &dyn std::error::Error, "no roll back");
            }
            Err(err)
        }
    }
}
