//! Decides on the rights of a request's caller: by its token, or else by the access hook.

use bytes::Bytes;
use http::request::Parts;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, Request, Response};
use metrics_core::ApiKey;
use tokio::time::timeout;

use super::Service;
use crate::access::{Decision, Grant, Purpose, Rights};
use crate::api::params::TOKEN;
use crate::api::{me, tokens};
use crate::error::Error;
use crate::guard;
use crate::response::Body;
use crate::route::Route;
use crate::token::{Claims, InvalidToken, looks_like_token, number_of};
use crate::users;

/// The timeout of an access decision.
const ACCESS_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// The decision on a request.
pub(super) enum Admission {
    /// It is answered as far as the grant permits.
    Granted(Grant),
    /// It is answered with this response.
    Refused(Response<Body>),
}

impl Admission {
    fn of(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Granted(Grant::all()),
            Decision::AllowKeys(keys) => Self::Granted(Grant::keys(keys)),
            Decision::AllowGrant(grant) => Self::Granted(grant),
            Decision::Refuse(response) => Self::Refused(response),
        }
    }
}

/// The token of a request: in `Authorization: Bearer`, or in its query string.
///
/// A bearer that is no JSON Web Token is one of the embedding application.
pub(super) fn token_in(query: Option<&str>, headers: &HeaderMap) -> Result<Option<String>, Error> {
    let query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let in_query = query.filter(|(name, _)| name == TOKEN).map(|(_, token)| token.into_owned());
    let in_headers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        let is_ours = scheme.eq_ignore_ascii_case("bearer") && looks_like_token(token);
        is_ours.then(|| token.to_owned())
    });
    let mut found: Vec<String> = in_query.chain(in_headers).take(2).collect();
    match found.len() {
        2 => Err(invalid(&InvalidToken::Several)),
        _ => Ok(found.pop()),
    }
}

fn invalid(err: &InvalidToken) -> Error {
    Error::InvalidToken(err.to_string())
}

impl Service {
    /// Decides on a request, before any of its body is read.
    pub(super) async fn admit<B>(
        &self,
        route: Route<'_>,
        request: Request<B>,
    ) -> Result<(Request<B>, Admission), Error>
    where
        B: hyper::body::Body,
    {
        let Some(purpose) = route.purpose(request.method()) else {
            return Ok((request, Admission::Granted(Grant::all())));
        };
        let (mut head, body) = request.into_parts();
        if token_in(head.uri.query(), &head.headers)?.is_none() {
            guard::check(&self.inner.settings, purpose, &head, !body.is_end_stream())?;
            let caller = self.caller(&head.headers, &head.extensions);
            head.extensions.insert(caller);
        }
        let admission = self.admission(purpose, route.is_live(), &head).await?;
        Ok((Request::from_parts(head, body), admission))
    }

    /// Decides on the caller of a request. Streams ask again while they last.
    pub(super) async fn admission(
        &self,
        purpose: Purpose,
        is_live: bool,
        head: &Parts,
    ) -> Result<Admission, Error> {
        let decision = match token_in(head.uri.query(), &head.headers)? {
            // Its authority is in the request itself, so no page of another site can abuse it.
            Some(token) => Decision::AllowGrant(self.grant_of(&token).await?),
            None => self.decide(head, purpose).await?,
        };
        if let Decision::AllowGrant(grant) = &decision
            && users::is_signed_out(&self.inner.metrics, grant).await?
        {
            return Ok(Admission::Refused(users::unknown(&head.headers).into_response()));
        }
        let admission = Admission::of(decision);
        if let Admission::Granted(grant) = &admission {
            grant.check(purpose, is_live)?;
        }
        Ok(admission)
    }

    /// Calls the access hook; without one, everybody may do everything.
    async fn decide(&self, head: &Parts, purpose: Purpose) -> Result<Decision, Error> {
        let Some(access) = &self.inner.settings.access else { return Ok(Decision::Allow) };
        let decision = timeout(ACCESS_MAX, access.decide(head, purpose)).await;
        decision.map_err(|_| Error::Busy)
    }

    /// The grant of a token.
    async fn grant_of(&self, token: &str) -> Result<Grant, Error> {
        let Claims { expires_at, subject, creator, scopes, within, .. } =
            self.claims_of(token).await?;
        let grant = Grant::new(within, Rights::Token(scopes));
        let grant = grant.of_token(number_of(token), expires_at);
        Ok(subject.or(creator).iter().fold(grant, |grant, name| grant.name(name)))
    }

    /// Checks a token, its revocation, its keys and the user who created it.
    async fn claims_of(&self, token: &str) -> Result<Claims, Error> {
        let metrics = &self.inner.metrics;
        let verifier = self.inner.settings.tokens.as_ref();
        let verifier = verifier.ok_or_else(|| invalid(&InvalidToken::Disabled))?;
        let mut claims =
            verifier.verify(token, metrics.now().timestamp()).map_err(|err| invalid(&err))?;
        for key in claims.within.keys.iter().flatten() {
            if !metrics.accepts_key(key).await? {
                return Err(invalid(&InvalidToken::Key));
            }
        }
        if let Some(id) = &claims.id
            && tokens::is_revoked(metrics, id, claims.within.keys.as_deref()).await?
        {
            return Err(invalid(&InvalidToken::Revoked));
        }
        if let Some(name) = &claims.creator {
            let gone = || invalid(&InvalidToken::Creator);
            let users = self.inner.settings.users.as_ref().ok_or_else(gone)?;
            claims.within = users.within_rights_of(name, claims.within).await.ok_or_else(gone)?;
        }
        Ok(claims)
    }

    /// The key of a token that records events, if the request has a token. Without a secret, a parameter of this name
    /// has no meaning here, and any client may send one.
    ///
    /// A token that narrows more than the key is refused: no filter can be applied to an event.
    pub(super) async fn key_of_token(
        &self,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Option<ApiKey>, Error> {
        if self.inner.settings.tokens.is_none() {
            return Ok(None);
        }
        let Some(token) = token_in(query, headers)? else { return Ok(None) };
        let Claims { scopes, within, .. } = self.claims_of(&token).await?;
        match within.keys.as_deref() {
            _ if !scopes.write => Err(Error::NotGranted("the token lacks the scope `write`")),
            Some([key]) if within.has_whole_keys() => Ok(Some(key.clone())),
            _ => Err(Error::NotGranted(
                "a token that records must have one `key`, and no `identifier`, `query`, `filters` and `metrics`",
            )),
        }
    }

    /// Whether the response to a request may be read by pages of all origins: its authority is its token.
    pub(super) fn is_by_token<B>(&self, request: &Request<B>) -> bool {
        let Some(_) = &self.inner.settings.tokens else { return false };
        // A preflight has no credentials, and discloses nothing.
        let is_preflight = request.method() == Method::OPTIONS;
        is_preflight || !matches!(token_in(request.uri().query(), request.headers()), Ok(None))
    }

    /// Answers requests about what callers may do.
    pub(super) async fn answer_access<B>(
        &self,
        route: Route<'_>,
        request: Request<B>,
        granted: &Grant,
    ) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let metrics = &self.inner.metrics;
        let tokens = self.inner.settings.tokens.as_ref();
        match route {
            Route::Tokens => {
                let body = self.inner.bodies.read(request.into_body()).await?;
                let at = &self.inner.settings.prefix;
                // A hook of an application may ask users of its own.
                let granted = match self.inner.settings.users {
                    Some(_) => granted.clone(),
                    None => granted.clone().unlisted(),
                };
                tokens::create(metrics.now(), tokens, &granted, at, &body)
            }
            Route::Token(id) => tokens::revoke(metrics, granted, id).await,
            _ => {
                let may = self.permitted(request.into_parts().0, granted).await?;
                me::me(metrics, granted, may).await
            }
        }
    }

    /// The rights of the caller of the page as JSON, which saves the page a request; null if they are unknown now.
    pub(super) async fn rights(&self, head: Parts, granted: &Grant) -> String {
        let rights = match self.permitted(head, granted).await {
            Ok(may) => me::of(&self.inner.metrics, granted, may).await.ok(),
            Err(_) => None,
        };
        serde_json::to_string(&rights).unwrap_or_else(|_| "null".to_owned())
    }

    /// The names of all that the caller may do: the hook decides on each purpose.
    async fn permitted(&self, head: Parts, of_page: &Grant) -> Result<Vec<&'static str>, Error> {
        let mut permitted = Vec::new();
        let has_tokens = self.inner.settings.tokens.is_some();
        let is_of_tokens = |it: &Purpose| matches!(it, Purpose::CreateToken | Purpose::RevokeToken);
        for purpose in Purpose::ALL.into_iter().filter(|it| has_tokens || !is_of_tokens(it)) {
            let grant = match of_page.rights() {
                Rights::Token(_) => of_page.clone(),
                Rights::Role(_) => match Admission::of(self.decide(&head, purpose).await?) {
                    Admission::Granted(grant) => grant,
                    Admission::Refused(_) => continue,
                },
            };
            permitted.extend(grant.permits(purpose).then_some(purpose.as_str()));
            if purpose == Purpose::Report && grant.permits_live() {
                permitted.push("live");
            }
        }
        Ok(permitted)
    }
}
