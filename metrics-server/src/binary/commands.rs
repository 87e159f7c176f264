//! Commands: moving and exporting databases, erasing sessions, changing keys, trying webhooks, and requesting the health of
//! a server.

mod blocks;
mod copy;
mod erase;
mod export;
mod health;
mod import;
mod keys;
mod progress;
mod token;
mod user;
mod webhooks;

use std::error::Error;

use super::config::{Command, Config, KeysCommand, PostgresUrl, SessionsImport};
use super::store::{open, open_there};

/// Runs a command, with the settings of `config`. It may be dropped when a signal stops the process.
///
/// # Errors
///
/// The reason why it was not done, or not all of it.
pub(super) async fn run(command: &Command, config: &Config) -> Result<(), Box<dyn Error>> {
    let here = &config.database;
    match command {
        Command::Migrate => open(config, here).await.map(drop),
        Command::Token(command) => token::print(command, config.settings.tokens.as_ref()),
        Command::HashPassword => user::print_hash(),
        Command::Webhooks(command) => {
            webhooks::run(config.settings.webhooks.as_ref(), command).await
        }
        Command::Health => health::check_health(config.listen).await,
        Command::Copy { from, to } => {
            let (from, to) = (open_there(config, from).await?, open(config, to).await?);
            copy::copy_all(&*from, &*to).await
        }
        Command::ImportMave(PostgresUrl(url)) => {
            copy::import_mave(url, &*open(config, here).await?, config.page_detail).await
        }
        Command::ImportSessions(import) => import_sessions(config, import).await,
        Command::CheckBlocks { repair } => {
            blocks::check_blocks(&*open(config, here).await?, *repair).await
        }
        Command::Export { export, output } => {
            export::write_export(&*open_there(config, here).await?, export, output.as_deref()).await
        }
        Command::Keys(command) => {
            let store = match command {
                KeysCommand::Create(..) => open(config, here).await?,
                _ => open_there(config, here).await?,
            };
            keys::run(&*store, command).await
        }
        Command::Erase { selected, dry_run } => {
            erase::erase_sessions(&*open_there(config, here).await?, selected, *dry_run).await
        }
        Command::Delete { dry_run } => {
            let store = open_there(config, here).await?;
            erase::delete_sessions(&*store, config.retention, *dry_run).await
        }
    }
}

/// Imports sessions from a file. It is opened first, before the database, which may be created.
async fn import_sessions(config: &Config, import: &SessionsImport) -> Result<(), Box<dyn Error>> {
    let file = import::open_file(import)?;
    let store = if import.dry_run { None } else { Some(open(config, &config.database).await?) };
    import::import_sessions(store.as_deref(), import, file, config).await
}
