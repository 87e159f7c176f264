//! The file of users, which is read again when it was replaced.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::password::PasswordHash;
use crate::access::{Confinement, Grant, Rights, Role};
use crate::token::UniqueMembers;
use crate::wire;

/// The largest file of users, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How often the file may be looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest name of a user, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// Why there is no list of users.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUsers {
    /// The file cannot be read.
    #[error("{} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A line is no user.
    #[error("line {line} {expected}")]
    Line {
        /// The number of the line, from 1 on.
        line: usize,
        /// What is expected, to complete the sentence.
        expected: String,
    },
}

/// A user of the file.
#[derive(Clone, Debug)]
pub(super) struct User {
    /// The name as the file has it.
    pub(super) name: String,
    pub(super) password: PasswordHash,
    role: Role,
    within: Confinement,
}

impl User {
    pub(super) fn grant(&self) -> Grant {
        Grant::new(self.within.clone(), Rights::Role(self.role)).listed(&self.name)
    }
}

/// The time of the last change of a file, and its length.
type Stamp = (SystemTime, u64);

/// Users by their names in ASCII lowercase. Many proxies and directories name the same user in several cases: a name in
/// another case must not escape what the file narrows.
type ByName = HashMap<String, User>;

/// The users of a version of the file.
#[derive(Debug, Default)]
pub(super) struct List {
    /// The number of the version.
    pub(super) number: u64,
    pub(super) users: ByName,
}

impl List {
    /// The user with a name, without regard to ASCII case.
    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(&name.to_ascii_lowercase())
    }
}

/// The users of a file that may be replaced.
#[derive(Debug, Default)]
pub(super) struct Followed {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    list: Arc<List>,
    // Of the file that was read, or could not be read, last.
    seen: Option<Stamp>,
    looked_at: Option<Instant>,
}

impl Followed {
    pub(super) fn open(file: PathBuf) -> Result<Self, InvalidUsers> {
        let (seen, users) = read(&file)?;
        let list = Arc::new(List { number: 1, users });
        let state = State { list, seen: Some(seen), looked_at: None };
        Ok(Self { file: Some(file), state: Mutex::new(state) })
    }

    /// The users, after a look at the file, at most once a second.
    pub(super) async fn current(&self) -> Arc<List> {
        let Some(file) = &self.file else { return self.last() };
        let now = Instant::now();
        let seen = {
            let mut state = self.state();
            let is_due = state.looked_at.is_none_or(|at| LOOK_EVERY <= now.duration_since(at));
            if !is_due {
                return Arc::clone(&state.list);
            }
            state.looked_at = Some(now);
            state.seen
        };
        let path = file.clone();
        let read_again = move || {
            let stamp = fs::metadata(&path).and_then(|meta| stamp(&meta)).ok();
            (stamp != seen).then(|| (stamp, read(&path)))
        };
        let Ok(Some((stamp, changed))) = spawn_blocking(read_again).await else {
            return self.last();
        };
        let mut state = self.state();
        match changed {
            Ok((seen, users)) => {
                tracing::info!(users = users.len(), "read the users again");
                state.list = Arc::new(List { number: state.list.number + 1, users });
                state.seen = Some(seen);
            }
            Err(err) => {
                tracing::error!(
                    error = &err as &dyn std::error::Error,
                    "the users cannot be read again: those that were read before stay valid"
                );
                state.seen = stamp;
            }
        }
        Arc::clone(&state.list)
    }

    /// The users that were read last.
    pub(super) fn last(&self) -> Arc<List> {
        Arc::clone(&self.state().list)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(meta: &fs::Metadata) -> io::Result<Stamp> {
    Ok((meta.modified()?, meta.len()))
}

/// Reads a file of users, with the time of its last change.
fn read(path: &Path) -> Result<(Stamp, ByName), InvalidUsers> {
    let reading = || {
        let file = File::open(path)?;
        let stamp = stamp(&file.metadata()?)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if FILE_BYTES_MAX < text.len() as u64 {
            return Err(io::Error::other("it has more than 1 MiB"));
        }
        Ok((stamp, text))
    };
    let unreadable = |source| InvalidUsers::Unreadable { file: path.to_owned(), source };
    let (stamp, text) = reading().map_err(unreadable)?;
    Ok((stamp, parse(&text)?))
}

/// Reads users, a line each: a name, a role, the hash of a password, and what the user may read as a JSON object.
pub(super) fn parse(text: &str) -> Result<ByName, InvalidUsers> {
    let mut users = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let invalid = |expected: String| InvalidUsers::Line { line: index + 1, expected };
        let user = read_user(line).map_err(invalid)?;
        if users.insert(user.name.to_ascii_lowercase(), user).is_some() {
            let expected = "has the name of an earlier line, in the same or another case";
            return Err(invalid(expected.to_owned()));
        }
    }
    Ok(users)
}

fn read_user(line: &str) -> Result<User, String> {
    let expected = || {
        "must have NAME ROLE HASH, and a JSON object, with no member twice, to narrow what the user may read"
            .to_owned()
    };
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        (!word.is_empty()).then_some(word).ok_or_else(expected)
    };
    let (name, role, hash) = (word()?, word()?, word()?);
    if NAME_BYTES_MAX < name.len() || name.contains(':') {
        return Err("must begin with a name of at most 100 bytes without a colon".to_owned());
    }
    let role = Role::of(role).ok_or("must have the role owner, editor or viewer")?;
    let password = PasswordHash::parse(hash);
    let password = password.ok_or("must have a hash of `metrics-server user hash`, Argon2id")?;
    let members: Map<String, Value> = match rest {
        "" => Map::new(),
        json => wire::object(json).map(|UniqueMembers(members)| members).ok_or_else(expected)?,
    };
    if let Some(name) = members.keys().find(|it| !Confinement::MEMBERS.contains(&it.as_str())) {
        return Err(format!("has `{name}`, which is none of {}", Confinement::MEMBERS.join(", ")));
    }
    let within = Confinement::from_json(&members).map_err(|err| format!("is invalid: {err}"))?;
    Ok(User { name: name.to_owned(), password, role, within })
}
