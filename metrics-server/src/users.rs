//! Users in a file: who may sign in, by which password or proxy, and what each may do.
//!
//! There is no database of users. The file is read again when it was replaced, and an instance keeps the last list that
//! it could read. Passwords are hashed with Argon2, which takes much memory on purpose: few are hashed at once, aside
//! from the threads that serve, and credentials that were right are remembered under a hash for as long as the list stays
//! the same.

mod list;
mod password;
mod proxy;
mod session;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::request::Parts;
use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::list::InvalidUsers;
use self::list::{List, User};
pub use self::password::hash_password;
use self::password::{PASSWORD_BYTES_MAX, PasswordHash};
pub use self::proxy::UserHeaders;
pub(crate) use self::session::{cookie, expired_cookie};
use crate::access::{Access, Decision, Grant, Purpose};
use crate::attempts::{Caller, CallerAddress, Secret};
use crate::auth::{Credentials, decode};
use crate::error::Error;
use crate::token::Tokens;

/// How many passwords are hashed at once: each takes some 19 MiB, in addition to the memory budget.
const HASHED_AT_ONCE: usize = 2;

/// How long a password waits for others.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How many right credentials are remembered. A change of the file forgets all.
const REMEMBERED_MAX: usize = 1_000;

/// Who may sign in: users of a file, one user with all permissions, and users that a proxy names.
///
/// ```no_run
/// use metrics_server::{Settings, Users};
///
/// let users = Users::open("/etc/metrics/users")?;
/// let settings = Settings::default().users(users);
/// # Ok::<(), metrics_server::InvalidUsers>(())
/// ```
#[derive(Clone)]
pub struct Users {
    inner: Arc<Inner>,
}

struct Inner {
    list: list::Followed,
    operator: Option<Credentials>,
    headers: Option<UserHeaders>,
    // Signs sessions.
    secret: [u8; 32],
    hashing: Semaphore,
    // Hashes of right credentials, with the number of the list that they are of.
    remembered: Mutex<(u64, HashSet<[u8; 32]>)>,
    // Takes as long as the password of a user that exists.
    unknown: PasswordHash,
}

impl Users {
    /// Reads the file of users, a line each: see `docs/access.md`.
    ///
    /// # Errors
    ///
    /// [`InvalidUsers`] if the file cannot be read.
    pub fn open(file: impl Into<PathBuf>) -> Result<Self, InvalidUsers> {
        Ok(Self::new(list::Followed::open(file.into())?))
    }

    /// No users but those of [`operator`](Self::operator) and [`headers`](Self::headers).
    #[must_use]
    pub fn none() -> Self {
        Self::new(list::Followed::default())
    }

    fn new(list: list::Followed) -> Self {
        let inner = Inner {
            list,
            operator: None,
            headers: None,
            secret: rand::random(),
            hashing: Semaphore::new(HASHED_AT_ONCE),
            remembered: Mutex::default(),
            unknown: PasswordHash::unknown(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Accepts this user and password as well, with all permissions.
    #[must_use]
    pub fn operator(self, credentials: Credentials) -> Self {
        self.changed(|inner| inner.operator = Some(credentials))
    }

    /// Accepts users that a trusted proxy names in headers.
    #[must_use]
    pub fn headers(self, headers: UserHeaders) -> Self {
        self.changed(|inner| inner.headers = Some(headers))
    }

    /// Signs sessions with a secret that follows from that of tokens, so that all instances accept them, and they outlast
    /// a restart.
    #[must_use]
    pub fn sessions(self, tokens: &Tokens) -> Self {
        let secret = tokens.derive("session", "");
        self.changed(|inner| inner.secret = secret)
    }

    fn changed(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut this = self;
        match Arc::get_mut(&mut this.inner) {
            Some(inner) => change(inner),
            // Settings are made before they are shared.
            None => tracing::error!("users are in use already: a setting of them has no effect"),
        }
        this
    }

    /// The grant of a user and password, and the cookie of a session for them.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorized`] if they are wrong, [`Error::TooManyAttempts`] if too many were.
    pub(crate) async fn sign_in(
        &self,
        caller: &Caller,
        user: &str,
        password: &str,
        now: i64,
    ) -> Result<String, Error> {
        let given = format!("{user}:{password}").into_bytes();
        self.grant(caller, &given).await?;
        let proof = self.proof(user).ok_or(Error::Unauthorized)?;
        Ok(session::signed(&self.inner.secret, user, &proof, now))
    }

    /// The grant of credentials as clients send them: `user:password`.
    async fn grant(&self, caller: &Caller, given: &[u8]) -> Result<Grant, Error> {
        let attempt = caller.attempt(Secret::Credentials(given))?;
        if self.inner.operator.as_ref().is_some_and(|operator| operator.equal(given)) {
            attempt.right();
            let (user, _) = split(given).ok_or(Error::Unauthorized)?;
            return Ok(Grant::all().name(user));
        }
        let Some((name, password)) = split(given) else {
            attempt.wrong();
            return Err(Error::Unauthorized);
        };
        let list = self.list().await;
        let user = list.users.get(name);
        if self.is_right(&list, user, given, password).await?
            && let Some(user) = user
        {
            attempt.right();
            return Ok(user.grant(name));
        }
        attempt.wrong();
        Err(Error::Unauthorized)
    }

    /// Whether a password is that of a user. It takes the same time for a user that does not exist.
    async fn is_right(
        &self,
        list: &List,
        user: Option<&User>,
        given: &[u8],
        password: &str,
    ) -> Result<bool, Error> {
        if PASSWORD_BYTES_MAX < password.len() {
            return Ok(false);
        }
        let mut hash = Sha256::new_with_prefix(self.inner.secret);
        hash.update(given);
        let hash: [u8; 32] = hash.finalize().into();
        if user.is_some() && self.remembered(list.number, |known| known.contains(&hash)) {
            return Ok(true);
        }
        let permit = timeout(WAIT_MAX, self.inner.hashing.acquire()).await;
        let _permit = permit.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?;
        let expected = user.map_or(&self.inner.unknown, |user| &user.password).clone();
        let password = password.to_owned();
        let checking = tokio::task::spawn_blocking(move || expected.verify(password.as_bytes()));
        let is_right = checking.await.unwrap_or(false) && user.is_some();
        if is_right {
            self.remembered(list.number, |known| {
                if REMEMBERED_MAX <= known.len() {
                    known.clear();
                }
                known.insert(hash)
            });
        }
        Ok(is_right)
    }

    /// Looks at the credentials that were right, of this list.
    fn remembered<T>(&self, list: u64, look: impl FnOnce(&mut HashSet<[u8; 32]>) -> T) -> T {
        let mut guard = self.inner.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, known) = &mut *guard;
        if *of != list {
            *of = list;
            known.clear();
        }
        look(known)
    }

    async fn list(&self) -> Arc<List> {
        self.inner.list.current().await
    }

    /// A text that changes with the password of a user, so that another password ends the sessions.
    fn proof(&self, name: &str) -> Option<String> {
        let list = self.inner.list.last();
        match list.users.get(name) {
            Some(user) => Some(user.password.proof()),
            None => self.inner.operator.as_ref()?.proof(name),
        }
    }

    /// The grant of a session, if the request has a valid one.
    async fn of_session(&self, headers: &HeaderMap, now: i64) -> Option<Grant> {
        let cookie = session::found(headers)?;
        let list = self.list().await;
        let session = session::opened_session(&self.inner.secret, &cookie, now)?;
        if self.proof(&session.user)? != session.proof {
            return None;
        }
        let grant = match list.users.get(&session.user) {
            Some(user) => user.grant(&session.user),
            None => Grant::all().name(&session.user),
        };
        Some(grant.in_session())
    }

    /// The grant of a user that a proxy names.
    async fn of_proxy(&self, head: &Parts) -> Option<Grant> {
        let headers = self.inner.headers.as_ref()?;
        let peer = head.extensions.get::<CallerAddress>()?;
        let (name, role) = headers.user(*peer, &head.headers)?;
        let list = self.list().await;
        match (list.users.get(&name), role) {
            // The file says more about the user than the groups do.
            (Some(user), _) => Some(user.grant(&name)),
            (None, Some(role)) => Some(Grant::all().role(role).name(&name)),
            (None, None) => None,
        }
    }
}

/// Splits `user:password`.
fn split(given: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(given).ok()?.split_once(':')
}

#[async_trait]
impl Access for Users {
    async fn decide(&self, request: &Parts, _: Purpose) -> Decision {
        if let Some(grant) = self.of_proxy(request).await {
            return Decision::AllowGrant(grant);
        }
        let now = chrono::Utc::now().timestamp();
        if let Some(grant) = self.of_session(&request.headers, now).await {
            return Decision::AllowGrant(grant);
        }
        let refused = |err: Error| Decision::Refuse(err.into_response());
        let Some(given) = request.headers.get(AUTHORIZATION) else {
            return refused(unknown(&request.headers));
        };
        let caller = request.extensions.get::<Caller>().cloned().unwrap_or_default();
        match self.grant(&caller, &decode(given).unwrap_or_default()).await {
            Ok(grant) => Decision::AllowGrant(grant),
            Err(err) => refused(err),
        }
    }
}

/// The refusal of a caller without credentials. A browser would ask for a password at each request of a page whose
/// session ended: the page leads to the form instead.
fn unknown(headers: &HeaderMap) -> Error {
    if headers.contains_key("sec-fetch-site") { Error::SignIn } else { Error::Unauthorized }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users(..)")
    }
}

#[cfg(test)]
mod tests;
