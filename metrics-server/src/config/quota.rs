//! Settings of limits, of pages, and of networks of bots.

use std::ffi::OsString;
use std::sync::Arc;

use metrics_core::limits::Limits;
use metrics_core::source::PageDetail;

use super::{ConfigError, Setting};
use crate::networks::Networks;

/// These settings.
pub(super) struct Quota {
    pub(super) limits: Limits,
    pub(super) page_detail: PageDetail,
    pub(super) bot_networks: Arc<Networks>,
}

impl Quota {
    pub(super) fn read(
        environment: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            limits: limits(environment)?,
            page_detail: page_detail(environment)?,
            bot_networks: Arc::new(bot_networks(environment)?),
        })
    }
}

/// The limits of keys that set none.
fn limits(environment: &impl Fn(&str) -> Option<OsString>) -> Result<Limits, ConfigError> {
    let variable = |name| Setting::variable(name, environment);
    let number = |text: &str| text.parse().ok().filter(|number| 0 < *number);
    let mut limits = Limits::default();
    if let Some(text) = variable("METRICS_LIMITS").text()? {
        for limit in text.split(',').map(str::trim).filter(|limit| !limit.is_empty()) {
            let (name, value) = limit.split_once('=').unwrap_or((limit, ""));
            let set = limits.set(name.trim(), value);
            set.map_err(|err| ConfigError::Refused(format!("METRICS_LIMITS: {err}")))?;
        }
    }
    if let Some(videos) = variable("METRICS_VIDEOS_PER_KEY").read("a number, 1 or more", number)? {
        limits.videos = videos;
    }
    if let Some(pages) = variable("METRICS_PAGES_PER_KEY").read("a number, 1 or more", number)? {
        limits.pages = pages;
    }
    Ok(limits)
}

/// How much of pages is kept.
fn page_detail(environment: &impl Fn(&str) -> Option<OsString>) -> Result<PageDetail, ConfigError> {
    let read = |text: &str| match text {
        "path" => Some(PageDetail::Path),
        "host" => Some(PageDetail::Host),
        "none" => Some(PageDetail::None),
        _ => None,
    };
    let setting = Setting::variable("METRICS_PAGES", environment);
    Ok(setting.read("path, host or none", read)?.unwrap_or_default())
}

/// Networks whose clients are treated as bots, from the file that names them.
fn bot_networks(environment: &impl Fn(&str) -> Option<OsString>) -> Result<Networks, ConfigError> {
    let name = "METRICS_BOT_NETWORKS";
    let Some(file) = Setting::variable(name, environment).text()? else {
        return Ok(Networks::default());
    };
    let refused = |err: &dyn std::error::Error| {
        ConfigError::Refused(format!("{name} is {file:?}, which cannot be read: {err}"))
    };
    let text = std::fs::read_to_string(&file).map_err(|err| refused(&err))?;
    text.parse().map_err(|err: crate::networks::InvalidNetwork| refused(&err))
}
