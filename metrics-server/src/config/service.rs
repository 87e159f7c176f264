//! Settings of what is answered to whom.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use metrics_core::ApiKey;

use super::exposure::Authentication;
use super::{ConfigError, Setting, read_cors, read_hosts, read_opt_out};
use crate::access::Access;
use crate::settings::Settings;

/// Reads them for a server that listens at an address, if it is to serve.
pub(super) fn read(
    environment: &impl Fn(&str) -> Option<OsString>,
    listen: Option<SocketAddr>,
) -> Result<Settings, ConfigError> {
    let variable = |name| Setting::variable(name, environment);
    let heed_opt_out = variable("METRICS_OPT_OUT").read("ignore or refuse", read_opt_out)?;
    let cors = variable("METRICS_CORS_ORIGINS")
        .read("origins like https://example.com, separated by commas, or *", read_cors)?;
    let forwarded_header = variable("METRICS_FORWARDED_HEADER")
        .read("the name of a header, like x-forwarded-for", |text| text.parse().ok())?;
    let forwarded_hops = variable("METRICS_FORWARDED_HOPS").read(
        "a number from 1 to 100, and METRICS_FORWARDED_HEADER be set",
        |text| {
            let hops = text.parse::<NonZeroUsize>().ok()?;
            (hops.get() <= 100 && forwarded_header.is_some()).then_some(hops)
        },
    )?;
    let connections_per_address = variable("METRICS_CONNECTIONS_PER_ADDRESS")
        .read("a number, 1 or more", |text| text.parse().ok().filter(|number| 0 < *number))?;
    let default_key = variable("METRICS_DEFAULT_KEY")
        .read_secret("an API key, 1 to 128 visible ASCII characters", |text| {
            ApiKey::new(text).ok()
        })?;
    let hosts = variable("METRICS_HOSTS").read(
        "host names without a port, like metrics.example.com, separated by commas, or *",
        read_hosts,
    )?;
    let credentials = Authentication::read(environment)?.at(listen)?;
    Ok(Settings {
        default_key,
        access: credentials.map(|it| Arc::new(it) as Arc<dyn Access>),
        heed_opt_out: heed_opt_out.unwrap_or(false),
        cors: cors.unwrap_or_default(),
        hosts: hosts.unwrap_or_default(),
        forwarded_header,
        forwarded_hops,
        connections_per_address,
        ..Settings::default()
    })
}
