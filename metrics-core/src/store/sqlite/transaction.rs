//! Transactions that tell the first error.

use diesel::connection::{AnsiTransactionManager, TransactionManager as _};
use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;

/// Runs `query` in a transaction that begins as `begin` says.
///
/// diesel's own answers with the error of the `rollback` if that fails, and it fails if SQLite has rolled back by
/// itself, as it does when the disk is full. What went wrong first is what counts.
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
