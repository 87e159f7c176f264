//! `metrics-server user hash`: prints the hash of a password, for the file of users.

use std::error::Error;
use std::io::{self, BufRead as _, Read as _, Write as _};

use crate::users::hash_password;

/// The most bytes that are read: more than the longest password.
const LINE_BYTES_MAX: u64 = 4_096;

/// Reads a password from the standard input, and prints its hash.
///
/// # Errors
///
/// There is no password, or it is too long.
pub(super) fn print_hash() -> Result<(), Box<dyn Error>> {
    let mut line = String::new();
    io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line)?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let hash = hash_password(password.strip_suffix('\r').unwrap_or(password));
    let hash =
        hash.ok_or("the standard input must have a password of 1 to 1024 bytes in its first line")?;
    Ok(writeln!(io::stdout(), "{hash}")?)
}
