//! `metrics-server token`: prints an access token, or the secret of a key, without a database.

use std::error::Error;
use std::io::{self, Write as _};

use chrono::Utc;

use crate::access::Grant;
use crate::api::tokens::created;
use crate::binary::config::{ConfigError, TokenCommand};
use crate::prefix::Prefix;
use crate::token::Tokens;

/// Prints what the command requests.
///
/// # Errors
///
/// There is no secret, or a token cannot have these claims.
pub(super) fn print(command: &TokenCommand, tokens: Option<&Tokens>) -> Result<(), Box<dyn Error>> {
    let refused = |line: String| ConfigError::Refused(line);
    let tokens = tokens.ok_or_else(|| {
        let line =
            "METRICS_TOKEN_SECRET or METRICS_TOKEN_SECRET_FILE must be set, as for the server";
        refused(line.to_owned())
    })?;
    let text = match command {
        TokenCommand::SecretOf(key) => tokens.secret_of(key),
        TokenCommand::Create(members) => {
            let prefix = Prefix::default();
            let created = created(Utc::now(), tokens, &Grant::all(), &prefix, members.clone());
            created.map_err(|err| refused(err.to_string()))?.token
        }
    };
    Ok(writeln!(io::stdout(), "{text}")?)
}
