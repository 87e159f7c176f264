//! Authentication settings: user and password, and the refusal to expose reports without them.

use std::net::SocketAddr;

use super::ConfigError;
use super::source::Source;
use super::table::{AUTH_ENABLED, PASSWORD, USER};
use crate::auth::Credentials;

/// The authentication that the environment configures for reports and keys.
pub(super) enum Authentication {
    /// Callers with these credentials.
    On(Credentials),
    /// Everybody: the operator has disabled authentication.
    Off,
    /// Everybody: the environment sets nothing.
    Unset,
}

impl Authentication {
    /// Reads `METRICS_AUTH_ENABLED`, `METRICS_USER` and `METRICS_PASSWORD`. The latter two imply the first, so that a
    /// server with a password never runs without authentication.
    pub(super) fn read(source: &Source<'_>) -> Result<Self, ConfigError> {
        let enabled = source.get(&AUTH_ENABLED)?;
        let (user, password) = (source.get(&USER)?, source.get(&PASSWORD)?);
        let reason = match (enabled, &user, &password) {
            (Some(false), None, None) => return Ok(Self::Off),
            (None, None, None) => return Ok(Self::Unset),
            (Some(false), _, _) => {
                "METRICS_AUTH_ENABLED is false, but METRICS_USER or METRICS_PASSWORD is set: unset \
                 METRICS_AUTH_ENABLED to require them, or unset them to give everybody access"
            }
            (_, Some(user), Some(password)) => match Credentials::new(user, password) {
                Some(credentials) => return Ok(Self::On(credentials)),
                None => "METRICS_USER must not have a colon",
            },
            (Some(true), _, _) => {
                "METRICS_AUTH_ENABLED is true: METRICS_USER, without a colon, and METRICS_PASSWORD must be set"
            }
            (None, _, _) => {
                "METRICS_USER and METRICS_PASSWORD must both be set, or neither: together they enable authentication"
            }
        };
        Err(ConfigError::Refused(reason.to_owned()))
    }

    /// Returns the required user and password, if any.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Refused`] if a server at `listen` would expose its reports and keys to other machines and the
    /// operator has not disabled authentication.
    pub(super) fn at(self, listen: Option<SocketAddr>) -> Result<Option<Credentials>, ConfigError> {
        match (self, listen) {
            (Self::On(credentials), _) => Ok(Some(credentials)),
            (Self::Unset, Some(listen)) if !listen.ip().to_canonical().is_loopback() => {
                Err(ConfigError::Refused(format!(
                    "at {listen} other machines could read all reports and change keys: set METRICS_USER and \
                     METRICS_PASSWORD, or METRICS_AUTH_ENABLED=false if everybody may, or listen at 127.0.0.1:{}",
                    listen.port()
                )))
            }
            (Self::Off | Self::Unset, _) => Ok(None),
        }
    }
}
