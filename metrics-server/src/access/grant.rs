//! The rights of a caller, and the sessions and metrics that it may read.

use std::fmt;
use std::sync::Arc;

use metrics_core::query::Filter;
use metrics_core::{ApiKey, Selection};

use super::Purpose;
use super::confinement::Confinement;
use crate::error::Error;

/// The role of a user.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Role {
    /// Everything. Limits of keys, restoring keys and process statistics need a grant of all sessions as well.
    Owner,
    /// Reads; creates, changes and revokes keys; creates and revokes tokens.
    Editor,
    /// Reads.
    Viewer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Editor, Self::Viewer];

    /// The name in settings and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
        }
    }

    /// The role with this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// The scopes of a token: its claim `scope`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Scopes {
    /// Read reports.
    pub(crate) read: bool,
    /// Read how many watch now.
    pub(crate) live: bool,
    /// Record events in batches.
    pub(crate) write: bool,
}

impl Scopes {
    /// The names of the scopes.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let named = [("read", self.read), ("live", self.live), ("write", self.write)];
        named.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
    }

    /// Adds the scope with a name, and returns false if there is none.
    pub(crate) fn add(&mut self, name: &str) -> bool {
        match name {
            "read" => self.read = true,
            "live" => self.live = true,
            "write" => self.write = true,
            _ => return false,
        }
        true
    }
}

/// The source of a caller's rights.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rights {
    /// A user has a role. Callers of servers without access control, and those that an application allows, are owners:
    /// the application decides on each request.
    Role(Role),
    /// A token has scopes.
    Token(Scopes),
}

/// The rights of a caller, and the sessions and metrics that it may read.
///
/// Every request is narrowed by it. A report of a selection is about the sessions that are in both; without a
/// selection, it is about all sessions of the grant. Requests that cannot be narrowed are refused.
///
/// ```
/// use metrics_core::query::Filter;
/// use metrics_core::{ApiKey, Selection};
/// use metrics_server::{Grant, Role};
/// use serde_json::json;
///
/// let mobile = Filter::from_json(&json!(["is", "device", ["mobile"]]))?;
/// let grant = Grant::keys([ApiKey::generate()])
///     .narrowed(Selection::identifier("intro").with_filter(mobile))
///     .role(Role::Viewer)
///     .name("Ada");
/// # Ok::<(), metrics_core::query::QueryError>(())
/// ```
#[derive(Clone)]
pub struct Grant {
    within: Arc<Confinement>,
    rights: Rights,
    name: Option<Arc<str>>,
    expires_at: Option<i64>,
    // Whether the server can find the rights of the user with this name again.
    is_listed: bool,
    // The end of the caller's session, in Unix milliseconds.
    session_until_ms: Option<i64>,
    // Identifies the caller's token.
    token: Option<u64>,
}

impl Grant {
    /// Grants everything.
    #[must_use]
    pub fn all() -> Self {
        Self::new(Confinement::default(), Rights::Role(Role::Owner))
    }

    /// Grants everything about these keys.
    #[must_use]
    pub fn keys(keys: impl IntoIterator<Item = ApiKey>) -> Self {
        let keys = Confinement::of_keys(keys.into_iter().collect());
        Self::new(keys, Rights::Role(Role::Owner))
    }

    pub(crate) fn new(within: Confinement, rights: Rights) -> Self {
        Self {
            within: Arc::new(within),
            rights,
            name: None,
            expires_at: None,
            is_listed: false,
            session_until_ms: None,
            token: None,
        }
    }

    /// Grants only the sessions that are in this selection as well.
    ///
    /// Conditions of its filter on the time of sessions follow the time zone that a request chooses.
    #[must_use]
    pub fn narrowed(self, mut selection: Selection) -> Self {
        let mut within = Confinement::clone(&self.within);
        if let Some(key) = selection.key.take() {
            let keys = within.keys.take().map(|keys| keys.into_iter().filter(|it| *it == key));
            within.keys = Some(keys.map_or_else(|| vec![key.clone()], Iterator::collect));
        }
        within.selection = crate::selection::both(&within.selection, selection);
        Self { within: Arc::new(within), ..self }
    }

    /// Grants only the rights of this role.
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        Self { rights: Rights::Role(role), ..self }
    }

    /// Names the user, for the page.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Names the user, whose rights the server can find again by this name.
    pub(crate) fn listed(self, name: &str) -> Self {
        Self { is_listed: true, ..self.name(name) }
    }

    /// Forgets that the rights of the user can be found again, in a service that does not know the users.
    pub(crate) fn unlisted(self) -> Self {
        Self { is_listed: false, ..self }
    }

    /// Marks the grant as that of a token, which ends at a Unix time in seconds.
    pub(crate) fn of_token(self, token: u64, expires_at: i64) -> Self {
        Self { token: Some(token), expires_at: Some(expires_at), ..self }
    }

    /// Marks the grant as one of a session of the page, which ends at a Unix time in milliseconds.
    pub(crate) fn in_session(self, until_ms: i64) -> Self {
        Self { session_until_ms: Some(until_ms), ..self }
    }

    /// The end of the caller's session in Unix milliseconds, if it has one, which it can end.
    pub(crate) fn session_until_ms(&self) -> Option<i64> {
        self.session_until_ms
    }

    /// The number that identifies the caller's token.
    pub(crate) fn token(&self) -> Option<u64> {
        self.token
    }

    /// Whether the server can find the rights of the user again by its name.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The source of the caller's rights.
    pub(crate) fn rights(&self) -> Rights {
        self.rights
    }

    /// The sessions and metrics that may be read.
    pub(crate) fn within(&self) -> &Confinement {
        &self.within
    }

    /// The name of the user.
    pub(crate) fn user(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn expires_at(&self) -> Option<i64> {
        self.expires_at
    }

    /// Whether nothing is withheld from the caller.
    pub(crate) fn is_all(&self) -> bool {
        self.within.is_all() && self.rights == Rights::Role(Role::Owner)
    }

    /// Whether data of a key may be read.
    pub(crate) fn covers(&self, key: &ApiKey) -> bool {
        self.within.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }

    /// Whether the caller may do this. Anything but reading needs a role, and is narrowed by keys alone: a caller
    /// with some sessions of a key would change all of them.
    pub(crate) fn permits(&self, purpose: Purpose) -> bool {
        let role = match self.rights {
            Rights::Token(scopes) => {
                return match purpose {
                    Purpose::Page => self.permits_live(),
                    Purpose::Report => scopes.read,
                    _ => false,
                };
            }
            Rights::Role(role) => role,
        };
        let is_editor = matches!(role, Role::Owner | Role::Editor);
        let has_keys = self.within.has_whole_keys();
        match purpose {
            Purpose::Page | Purpose::Report => true,
            // Process statistics belong to no key.
            Purpose::Stats => self.is_all(),
            Purpose::ListKeys | Purpose::CreateKey | Purpose::ChangeKey | Purpose::RevokeKey => {
                is_editor && has_keys
            }
            Purpose::Erase => role == Role::Owner && has_keys,
            Purpose::CreateToken | Purpose::RevokeToken => is_editor,
        }
    }

    /// Whether the caller may read how many watch at this moment, which is a part of reading reports.
    pub(crate) fn permits_live(&self) -> bool {
        match self.rights {
            Rights::Token(scopes) => scopes.read || scopes.live,
            Rights::Role(_) => true,
        }
    }

    /// Checks that the caller may do this. `is_live` is for reports of this moment.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] if the caller may not.
    pub(crate) fn check(&self, purpose: Purpose, is_live: bool) -> Result<(), Error> {
        let is_permitted = self.permits(purpose) || (is_live && self.permits_live());
        if is_permitted { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Narrows a selection, with the filter of the request, to the sessions that may be read, for a report that shows
    /// these numbers of them.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] if it names another key; [`Error::NotGranted`] if it shows, or filters by, other numbers
    /// than those that may be read.
    pub(crate) fn restrict<'a>(
        &self,
        selection: Selection,
        shows: impl IntoIterator<Item = &'a str>,
    ) -> Result<Selection, Error> {
        self.within.check_metrics(shows)?;
        self.check_filter(&selection.filter)?;
        self.within.restrict(selection)
    }

    /// Checks that a filter of the caller discloses nothing that may not be read.
    pub(crate) fn check_filter(&self, filter: &Filter) -> Result<(), Error> {
        self.within.check_filter(filter)
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Grant");
        debug.field("rights", &self.rights).field("is_all", &self.is_all()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use metrics_core::query::Dimension;

    use super::*;

    fn keys(names: &[&str]) -> Grant {
        Grant::keys(names.iter().map(|name| ApiKey::new(name).unwrap()))
    }

    fn intro(key: Option<&str>) -> Selection {
        let key = key.map(|name| ApiKey::new(name).unwrap());
        Selection { key, ..Selection::identifier("intro") }
    }

    #[track_caller]
    fn check(granted: &Grant, requested: Option<&str>, expected: Result<Option<&str>, StatusCode>) {
        let narrowed =
            granted.restrict(intro(requested), []).map_err(|err| err.into_response().status());
        assert_eq!(narrowed, expected.map(intro));
    }

    #[test]
    fn a_selection_is_restricted_to_the_granted_keys() {
        let forbidden = Err(StatusCode::FORBIDDEN);
        check(&Grant::all(), None, Ok(None));
        check(&Grant::all(), Some("a"), Ok(Some("a")));
        check(&keys(&["a"]), None, Ok(Some("a")));
        check(&keys(&["a"]), Some("a"), Ok(Some("a")));
        check(&keys(&["a"]), Some("b"), forbidden);
        check(&keys(&["a", "b"]), Some("b"), Ok(Some("b")));
        check(&keys(&["a", "b"]), Some("c"), forbidden);
        check(&keys(&[]), None, forbidden);
        check(&keys(&[]), Some("a"), forbidden);
        let several = keys(&["a", "b"]).restrict(intro(None), []).unwrap();
        let of_both = Filter::And(vec![Filter::is(Dimension::Key, ["a", "b"])]);
        assert_eq!(several, intro(None).with_filter(of_both));
    }

    #[test]
    fn a_narrower_grant_has_the_keys_of_both() {
        let narrowed = keys(&["a", "b"]).narrowed(Selection::key(ApiKey::new("b").unwrap()));
        check(&narrowed, None, Ok(Some("b")));
        check(&narrowed, Some("a"), Err(StatusCode::FORBIDDEN));
        let none = keys(&["a"]).narrowed(Selection::key(ApiKey::new("b").unwrap()));
        check(&none, None, Err(StatusCode::FORBIDDEN));
    }

    #[test]
    fn roles_and_scopes_permit_no_more_than_their_purpose() {
        let permitted = |grant: &Grant| {
            let all = Purpose::ALL.into_iter().filter(|purpose| grant.permits(*purpose));
            all.collect::<Vec<_>>()
        };
        use Purpose::*;
        let reading = [Page, Report];
        let editing = [ListKeys, CreateKey, RevokeKey, ChangeKey];
        let tokens = [CreateToken, RevokeToken];
        let token = |read, live, write| {
            Grant::new(Confinement::default(), Rights::Token(Scopes { read, live, write }))
        };
        let some = |grant: Grant| grant.narrowed(Selection::identifier("a"));
        for (grant, expected) in [
            (Grant::all(), Purpose::ALL.to_vec()),
            (keys(&["a"]), [&reading[..], &editing, &[Erase], &tokens].concat()),
            (some(Grant::all()), [&reading[..], &tokens].concat()),
            (Grant::all().role(Role::Editor), [&reading[..], &editing, &tokens].concat()),
            (Grant::all().role(Role::Viewer), reading.to_vec()),
            (token(true, true, true), reading.to_vec()),
            (token(true, false, false), reading.to_vec()),
            (token(false, true, false), vec![Page]),
            (token(false, false, true), vec![]),
        ] {
            let (mut permitted, mut expected) = (permitted(&grant), expected);
            permitted.sort_by_key(|purpose| format!("{purpose:?}"));
            expected.sort_by_key(|purpose| format!("{purpose:?}"));
            assert_eq!(permitted, expected, "{grant:?}");
            assert_eq!(grant.permits_live(), expected.contains(&Page), "{grant:?}");
        }
    }
}
