//! Users in a file: their passwords or proxy, and their rights.
//!
//! There is no database of users. The file is read again when it was replaced, and an instance keeps the last list that
//! it could read. Names are compared without regard to ASCII case. Passwords are hashed with Argon2, which takes much
//! memory on purpose: few are hashed at once, aside from the threads that serve, and checked credentials are remembered
//! under a hash for as long as the list stays the same.
//!
//! A token names the user who created it. Its rights are narrowed to those that the user has at each request, so that no
//! token outlives its user.

mod hashing;
mod list;
mod password;
mod proxy;
mod remembered;
mod session;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::request::Parts;
use hyper::header::{AUTHORIZATION, HeaderMap};
use metrics_core::Metrics;
use metrics_core::query::instant;
use metrics_core::store::RevokedToken;
use sha2::{Digest as _, Sha256};

use self::hashing::Hashing;
pub use self::list::InvalidUsers;
use self::list::{List, User};
pub use self::password::hash_password;
use self::password::{PASSWORD_BYTES_MAX, PasswordHash};
pub use self::proxy::UserHeaders;
use self::remembered::Remembered;
pub(crate) use self::session::{cookie, expired_cookie};
use crate::access::{Access, Confinement, Decision, Grant, Purpose};
use crate::attempts::{Caller, CallerAddress, Secret};
use crate::auth::{Credentials, decode};
use crate::error::Error;
use crate::token::Tokens;

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
    hashing: Hashing,
    remembered: Mutex<Remembered>,
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
            hashing: Hashing::default(),
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
    /// [`Error::Unauthorized`] if they are wrong, [`Error::TooManyAttempts`] if too many were, [`Error::Busy`] if too many
    /// others are checked.
    pub(crate) async fn sign_in(
        &self,
        caller: &Caller,
        user: &str,
        password: &str,
        now_ms: i64,
    ) -> Result<String, Error> {
        let given = format!("{user}:{password}").into_bytes();
        self.grant(caller, &given).await?;
        let proof = self.proof(&self.inner.list.last(), user).ok_or(Error::Unauthorized)?;
        Ok(session::signed(&self.inner.secret, user, &proof, now_ms))
    }

    /// The grant of credentials as clients send them: `user:password`.
    async fn grant(&self, caller: &Caller, given: &[u8]) -> Result<Grant, Error> {
        let attempt = caller.attempt(Secret::Credentials(given))?;
        if self.inner.operator.as_ref().is_some_and(|operator| operator.equal(given)) {
            attempt.right();
            let (user, _) = split(given).ok_or(Error::Unauthorized)?;
            return Ok(Grant::all().listed(user));
        }
        let Some((name, password)) = split(given) else {
            attempt.wrong();
            return Err(Error::Unauthorized);
        };
        let list = self.list().await;
        let user = list.user(name);
        let is_right = match self.is_right(&list, user, given, password).await {
            Ok(is_right) => is_right,
            Err(err) => {
                attempt.undecided();
                return Err(err);
            }
        };
        match user {
            Some(user) if is_right => {
                attempt.right();
                Ok(user.grant())
            }
            _ => {
                attempt.wrong();
                Err(Error::Unauthorized)
            }
        }
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
        if let Some(is_right) = self.remembered().outcome(list.number, &hash) {
            return Ok(is_right);
        }
        let permit = self.inner.hashing.permit().await?;
        // A concurrent request with the same credentials may have had the permit before.
        if let Some(is_right) = self.remembered().outcome(list.number, &hash) {
            return Ok(is_right);
        }
        let expected = user.map_or(&self.inner.unknown, |user| &user.password).clone();
        let (users, number, exists) = (self.clone(), list.number, user.is_some());
        let record = move |is_right| users.remembered().insert(number, hash, is_right && exists);
        Ok(permit.verify(expected, password.to_owned(), record).await? && exists)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.inner.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn list(&self) -> Arc<List> {
        self.inner.list.current().await
    }

    /// A text that changes with the password of a user, so that another password ends the sessions.
    fn proof(&self, list: &List, name: &str) -> Option<String> {
        let secret = &self.inner.secret;
        match list.user(name) {
            Some(user) => Some(session::proof(secret, &user.password.parts())),
            None => {
                let credentials = self.inner.operator.as_ref()?.of_user(name)?;
                Some(session::proof(secret, &[credentials]))
            }
        }
    }

    /// The part of `within` that a user may grant by tokens at this moment; `None` if the user does not exist, or may not.
    pub(crate) async fn within_rights_of(
        &self,
        name: &str,
        within: Confinement,
    ) -> Option<Confinement> {
        let list = self.list().await;
        let grant = match list.user(name) {
            Some(user) => user.grant(),
            None => {
                self.inner.operator.as_ref()?.of_user(name)?;
                Grant::all()
            }
        };
        let may_create = grant.permits(Purpose::CreateToken);
        may_create.then(|| grant.within().intersect(within).ok()).flatten()
    }

    /// Whether a proxy on this machine may name users, as any other program on this machine can then.
    #[cfg(feature = "binary")]
    pub(crate) fn trusts_this_machine(&self) -> bool {
        self.inner.headers.as_ref().is_some_and(UserHeaders::trusts_this_machine)
    }

    /// The record that ends the session of a request, and all earlier ones of its user; `None` without a session.
    pub(crate) fn ended_session(&self, headers: &HeaderMap, now_ms: i64) -> Option<RevokedToken> {
        let cookie = session::found(headers)?;
        let session = session::opened_session(&self.inner.secret, &cookie, now_ms)?;
        let until = instant(session.until_ms);
        Some(RevokedToken { id: session::record_of(&session.user), until })
    }

    /// The grant of a session, if the request has a valid one.
    async fn of_session(&self, headers: &HeaderMap, now_ms: i64) -> Option<Grant> {
        let cookie = session::found(headers)?;
        let list = self.list().await;
        let session = session::opened_session(&self.inner.secret, &cookie, now_ms)?;
        if self.proof(&list, &session.user)? != session.proof {
            return None;
        }
        let grant = match list.user(&session.user) {
            Some(user) => user.grant(),
            None => Grant::all().listed(&session.user),
        };
        Some(grant.in_session(session.until_ms))
    }

    /// The grant of a user that a proxy names.
    async fn of_proxy(&self, head: &Parts) -> Option<Grant> {
        let headers = self.inner.headers.as_ref()?;
        let peer = head.extensions.get::<CallerAddress>()?;
        let (name, role) = headers.user(*peer, &head.headers)?;
        let list = self.list().await;
        match (list.user(&name), role) {
            // The file says more about the user than the groups do.
            (Some(user), _) => Some(user.grant()),
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
        let now_ms = chrono::Utc::now().timestamp_millis();
        if let Some(grant) = self.of_session(&request.headers, now_ms).await {
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

/// Whether the session of a caller was ended, at any instance: a copy of its cookie has no more rights.
pub(crate) async fn is_signed_out(metrics: &Metrics, grant: &Grant) -> Result<bool, Error> {
    let (Some(until_ms), Some(user)) = (grant.session_until_ms(), grant.user()) else {
        return Ok(false);
    };
    let ended = metrics.store().revoked_tokens(Some(&session::record_of(user))).await?;
    Ok(ended.iter().any(|it| until_ms <= it.until.timestamp_millis()))
}

/// The refusal of a caller without credentials. A browser would ask for a password at each request of a page whose
/// session ended: the page leads to the form instead.
pub(crate) fn unknown(headers: &HeaderMap) -> Error {
    if headers.contains_key("sec-fetch-site") { Error::SignIn } else { Error::Unauthorized }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users(..)")
    }
}

#[cfg(test)]
mod tests;
