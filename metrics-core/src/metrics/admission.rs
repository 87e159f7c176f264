//! Decides whether a viewer may join, and charges the join to the limits of its key.

use std::sync::Arc;

use serde_json::Value;

use super::Metrics;
use super::join::{Join, JoinError, SESSION_BYTES_MAX};
use crate::arrival::Arrival;
use crate::containment::{canonical, has_nul, is_too_deep};
use crate::key::{ApiKey, SessionId};
use crate::keyring::Valid;
use crate::quota::{Charge, Kind, RateExceeded};
use crate::recorder::{Admitted, Viewing};
use crate::source::Source;
use crate::store::Subject;
use crate::user_agent::{Classification, Headers, UserAgentClass};
use crate::video::{IDENTIFIER_BYTES_MAX, METADATA_BYTES_MAX};

/// Treatment of known bots, by their User-Agent or their brands: see [`Classification::Bot`].
///
/// [`Classification::Bot`]: crate::user_agent::Classification::Bot
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Bots {
    /// They may not join.
    #[default]
    Refuse,
    /// They count, with all classes `other`.
    Count,
}

impl Metrics {
    /// Counts the outcome of a join.
    pub(super) fn tally(&self, joined: Result<Viewing, JoinError>) -> Result<Viewing, JoinError> {
        let joins = &self.inner.recorder.tallies.joins;
        let tally = match &joined {
            Ok(_) => &joins.admitted,
            Err(JoinError::InvalidKey) => &joins.invalid_key,
            Err(JoinError::Bot) => &joins.bot,
            Err(JoinError::Origin) => &joins.origin,
            Err(JoinError::TooMany(_)) => &joins.too_many,
            Err(JoinError::Store(_)) => &joins.unavailable,
            Err(JoinError::Memory) => &joins.no_memory,
            Err(
                JoinError::NoSession
                | JoinError::TooLong { .. }
                | JoinError::Nul { .. }
                | JoinError::TooDeep { .. }
                | JoinError::AnotherVideo(_),
            ) => &joins.invalid,
        };
        tally.add(1);
        joined
    }

    /// Decides whether a viewer may join, and under which session, page and user-agent class.
    pub(super) async fn admit(&self, mut join: Join) -> Result<Admitted, JoinError> {
        let session_data = join.session_data.take().map(|data| canonical(&Value::Object(data)));
        check_fields(&join, session_data.as_deref())?;
        let valid = self.inner.keyring.valid(&join.key).await?.ok_or(JoinError::InvalidKey)?;
        let page = join.page.as_deref().and_then(Source::parse);
        if !valid.settings.allows(page.as_ref(), join.origin.as_deref()) {
            return Err(JoinError::Origin);
        }
        let user_agent = self.user_agent_class(&join)?;
        let id = SessionId::new(&join.key, &join.session);
        let charge = self.charge((&join.key, id), join.address, &valid)?;
        let arrival = join.arrival.only(&self.inner.arrival_parts);
        let arrival = page.iter().fold(arrival, Arrival::outside);
        let source = page
            .and_then(|page| valid.settings.reduce(page).reduced(self.inner.page_detail))
            .and_then(|page| self.inner.quotas.pages.admit(&join.key, &charge, page));
        let salt = join.key.salt(&join.session);
        let clock_shift_ms = join.key.clock_shift_ms(&join.session);
        let subject =
            Subject { key: join.key, video: join.video, source, user_agent, session_data, arrival };
        let (charge, sends_heartbeats) = (Some(charge), join.sends_heartbeats);
        Ok(Admitted { id, salt, clock_shift_ms, subject, charge, sends_heartbeats })
    }

    /// The class of the viewer's user agent: that of an unknown one for bots, if they count.
    fn user_agent_class(&self, join: &Join) -> Result<UserAgentClass, JoinError> {
        let headers =
            Headers { user_agent: join.user_agent.as_deref(), brands: join.brands.as_deref() };
        let classification = join.classification.unwrap_or_else(|| self.classify(headers));
        match (classification, self.inner.bots) {
            (Classification::Viewer(user_agent), _) => Ok(user_agent),
            (Classification::Bot, Bots::Count) => Ok(UserAgentClass::default()),
            (Classification::Bot, Bots::Refuse) => Err(JoinError::Bot),
        }
    }

    /// Charges a join to its key and its address. A session in memory is charged once: joining it again after a lost
    /// connection is free.
    fn charge(
        &self,
        (key, id): (&ApiKey, SessionId),
        address: Option<u64>,
        valid: &Valid,
    ) -> Result<Charge, RateExceeded> {
        let charge = self.inner.quotas.charge(key, address, Arc::clone(&valid.limits));
        if !self.inner.recorder.has(id) {
            charge.take(Kind::Joins)?;
        }
        Ok(charge)
    }
}

/// Checks that stores can keep all fields of a join.
fn check_fields(join: &Join, session_data: Option<&str>) -> Result<(), JoinError> {
    if join.session.is_empty() {
        return Err(JoinError::NoSession);
    }
    fits("session", Some(&join.session), SESSION_BYTES_MAX)?;
    fits("identifier", join.video.identifier(), IDENTIFIER_BYTES_MAX)?;
    if join.video.identifier().is_some_and(|identifier| identifier.contains('\0')) {
        return Err(JoinError::Nul { field: "identifier" });
    }
    check_json("metadata", join.video.metadata())?;
    check_json("session_data", session_data)
}

/// Checks the length of a field.
fn fits(field: &'static str, text: Option<&str>, bytes_max: usize) -> Result<(), JoinError> {
    match text {
        Some(text) if bytes_max < text.len() => Err(JoinError::TooLong { field, bytes_max }),
        _ => Ok(()),
    }
}

/// Checks the length, the depth and the characters of a field of JSON.
fn check_json(field: &'static str, json: Option<&str>) -> Result<(), JoinError> {
    fits(field, json, METADATA_BYTES_MAX)?;
    match json {
        Some(json) if is_too_deep(json) => Err(JoinError::TooDeep { field }),
        Some(json) if has_nul(json) => Err(JoinError::Nul { field }),
        _ => Ok(()),
    }
}
