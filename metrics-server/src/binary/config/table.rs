//! The table of settings. Flags, environment, `--help` and error messages follow from it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::header::HeaderName;
use metrics_core::arrival::ArrivalPart;
use metrics_core::limits::Limits;
use metrics_core::source::PageDetail;
use metrics_core::time_bucket::Span;
use metrics_core::{ApiKey, Bots};

use super::memory::read_memory;
use super::read::{
    chosen, optional, parsed, read_bot_networks, read_cors, read_database, read_dimensions,
    read_frames, read_geo, read_group_roles, read_hosts, read_limits, read_log_filter, read_logo,
    read_retention, read_token_secret, read_users, read_webhooks, switched, verbatim, within,
};
use super::setting::{About, Default, SERVER, Setting};
use super::{Database, LogFormat};
use crate::access::Role;
use crate::cors::Cors;
use crate::geo::Geo;
use crate::hosts::Hosts;
use crate::networks::Networks;
use crate::page::Logo;
use crate::token::Tokens;
use crate::users::Users;
use crate::webhooks::Webhooks;

/// The server and all commands that open a store.
const WITH_STORE: &[&str] =
    &[SERVER, "copy", "import", "blocks", "keys", "erase", "delete", "export", "query", "videos"];

/// The server and all commands.
const ALL: &[&str] = &[
    SERVER, "copy", "import", "blocks", "keys", "erase", "delete", "export", "query", "videos",
    "token", "user", "health", "webhooks",
];

/// Defines settings, and the table of all of them.
macro_rules! settings {
    ($($name:ident: $type:ty { read: $read:expr, $($about:tt)* })*) => {
        $(#[allow(clippy::needless_update, reason = "a setting may have all fields")]
        pub(super) static $name: Setting<$type> =
            Setting { about: About { $($about)*, ..About::NONE }, read: $read };)*

        /// All settings, in the order of `--help`.
        pub(super) static SETTINGS: &[&About] = &[$(&$name.about),*];
    };
}

settings! {
    LISTEN: std::net::SocketAddr {
        read: parsed,
        flag: "--listen",
        variable: "METRICS_LISTEN",
        value: "ADDRESS:PORT",
        default: Default::Value("127.0.0.1:3000"),
        accepted: "an address and a port like 127.0.0.1:3000",
        help: "Address and port to listen on; `[::]:3000` listens on all addresses, port 0 chooses a free one",
        commands: &[SERVER, "health"]
    }
    DATABASE: Database {
        read: read_database,
        flag: "--database-url",
        variable: "DATABASE_URL",
        value: "URL",
        default: Default::Value("sqlite:metrics.db"),
        accepted: "sqlite:PATH, a file like sqlite:metrics.db, or postgres://USER@HOST/DATABASE",
        help: "The database of sessions: `sqlite:PATH`, a file that is created if it is missing, or \
               `postgres://USER@HOST/DATABASE`, a TimescaleDB or PostgreSQL. Set a URL with a password by the variable, \
               because flags show in the list of processes",
        commands: WITH_STORE,
        is_secret: true
    }
    DATABASE_CONNECTIONS: u32 {
        read: |text| within(text, 5..=1_000),
        flag: "--database-connections",
        variable: "METRICS_DATABASE_CONNECTIONS",
        value: "NUMBER",
        default: Default::Value("10"),
        accepted: "a number from 5 to 1000",
        help: "The largest number of connections to PostgreSQL, 5 to 1000",
        commands: WITH_STORE
    }
    WAIT_FOR_STORE: bool {
        read: switched,
        flag: "--wait-for-store",
        variable: "METRICS_WAIT_FOR_STORE",
        default: Default::Value("false"),
        accepted: "true or false",
        help: "If the database cannot be reached at the start, wait until it can; the variable is true or false",
        commands: WITH_STORE
    }
    SPOOL: Option<PathBuf> {
        read: |text| optional(text, |text| Some(PathBuf::from(text))),
        flag: "--spool",
        variable: "METRICS_SPOOL",
        value: "DIRECTORY",
        default: Default::Words("beside the SQLite file, or ."),
        accepted: "a directory",
        help: "The directory for sessions that the server spills if it stops while the database is unavailable"
    }
    MEMORY: Option<usize> {
        read: |text| optional(text, read_memory),
        flag: "--memory",
        variable: "METRICS_MEMORY",
        value: "SIZE",
        default: Default::Words("three quarters of the memory that the process may use"),
        accepted: "a size like 256 MiB, 2 GB or a number of bytes, at least 96 MiB: a quarter of it is for bodies \
                   of requests, and one needs up to 20 MiB while it is read",
        help: "The budget of memory held for clients, like `256 MiB`, `2 GB` or a number of bytes, at least 96 \
               MiB. The server needs a third of it in addition, at least 64 MiB. SQLite caches an eighth of it",
        commands: WITH_STORE
    }
    RETENTION: Option<Span> {
        read: |text| optional(text, read_retention),
        flag: "--retention",
        variable: "METRICS_RETENTION",
        value: "SPAN",
        default: Default::Words("for ever"),
        accepted: "a time of a day or more, like 25 months",
        help: "How long sessions are kept, like `25 months`, at least a day. The server deletes older ones every \
               hour, unless the clock jumps, at most a quarter of all sessions in an hour; `delete` deletes all \
               at once",
        commands: &[SERVER, "delete"]
    }
    PAGE: bool {
        read: |text| chosen(text, &[("on", true), ("off", false)]),
        flag: "--page",
        variable: "METRICS_PAGE",
        value: "on|off",
        default: Default::Value("on"),
        accepted: "on or off",
        help: "Whether the server has a page at /, with charts and examples: `on` or `off`"
    }
    PAGE_NAME: Option<String> {
        read: |text| optional(text, |text| (text.chars().count() <= 60).then(|| text.to_owned())),
        variable: "METRICS_PAGE_NAME",
        default: Default::Words("metrics"),
        accepted: "a text of at most 60 characters",
        help: "The name of the page, beside its logo and in its title"
    }
    PAGE_LOGO: Option<Logo> {
        read: read_logo,
        variable: "METRICS_PAGE_LOGO",
        accepted: "a file",
        help: "A file with the logo of the page: SVG, PNG, JPEG or WebP of at most 128 KiB"
    }
    PAGE_FRAMES: Vec<String> {
        read: read_frames,
        variable: "METRICS_PAGE_FRAMES",
        accepted: "origins like https://example.com or https://*.example.com, separated by commas, or *",
        help: "Origins whose pages may embed the page in a frame, separated by commas, or *"
    }
    MIGRATE_ONLY: bool {
        read: switched,
        flag: "--migrate-only",
        help: "Migrate the tables, and exit. Commands migrate by themselves"
    }
    NO_MIGRATE: bool {
        read: switched,
        flag: "--no-migrate",
        help: "Do not migrate the tables: exit with an error if they are not up to date",
        commands: WITH_STORE
    }
    USER: Option<String> {
        read: verbatim,
        variable: "METRICS_USER",
        help: "The user for reports, keys and the page, without a colon"
    }
    PASSWORD: Option<String> {
        read: verbatim,
        variable: "METRICS_PASSWORD",
        help: "The password for reports, keys and the page; not a flag, because flags show in the list of processes",
        is_secret: true
    }
    USERS: Option<Users> {
        read: read_users,
        variable: "METRICS_USERS",
        accepted: "a file of users",
        help: "A file of users who may sign in, one per line: NAME ROLE HASH, and a JSON object to narrow what the user \
               may read. It is read again when it is replaced; `metrics-server user hash` makes a HASH"
    }
    USER_HEADER: Option<HeaderName> {
        read: |text| optional(text, |text| text.parse().ok()),
        variable: "METRICS_USER_HEADER",
        accepted: "the name of a header, like remote-user",
        help: "The header in which a proxy of METRICS_TRUSTED_PROXIES names the user whom it has authenticated, like \
               remote-user"
    }
    TRUSTED_PROXIES: Option<Networks> {
        read: |text| optional(text, |text| text.replace(',', "\n").parse().ok()),
        variable: "METRICS_TRUSTED_PROXIES",
        accepted: "networks like 10.0.0.0/8, separated by commas",
        help: "The networks of proxies that authenticate users, separated by commas, like 127.0.0.1 or 10.0.0.0/8"
    }
    GROUPS_HEADER: Option<HeaderName> {
        read: |text| optional(text, |text| text.parse().ok()),
        variable: "METRICS_GROUPS_HEADER",
        accepted: "the name of a header, like remote-groups",
        help: "The header in which that proxy names the groups of the user, like remote-groups"
    }
    GROUP_ROLES: Vec<(String, Role)> {
        read: read_group_roles,
        variable: "METRICS_GROUP_ROLES",
        accepted: "pairs like admins=owner, separated by commas; the roles are owner, editor and viewer",
        help: "The roles of groups, separated by commas, like admins=owner,staff=viewer. The first group that the user \
               is in counts; * is everybody"
    }
    AUTH_ENABLED: Option<bool> {
        read: |text| optional(text, |text| switched(text).ok()),
        variable: "METRICS_AUTH_ENABLED",
        default: Default::Words("true with the above"),
        accepted: "true or false",
        help: "`true` or `false`: whether reports, keys and the page require user and password. Without a password, a server \
               that listens beyond this machine starts only with `false`"
    }
    TOKEN_SECRET: Option<Tokens> {
        read: |text| optional(text, |text| Tokens::new(text)),
        variable: "METRICS_TOKEN_SECRET",
        accepted: "a secret of at least 32 bytes",
        help: "The secret that signs access tokens, at least 32 bytes: without one, tokens are refused. All \
               instances have the same",
        commands: &[SERVER, "token"],
        is_secret: true
    }
    TOKEN_SECRET_FILE: Option<Tokens> {
        read: read_token_secret,
        variable: "METRICS_TOKEN_SECRET_FILE",
        accepted: "a file with a secret of at least 32 bytes",
        help: "A file with that secret; white space around it does not count",
        commands: &[SERVER, "token"]
    }
    DEFAULT_KEY: Option<ApiKey> {
        read: |text| optional(text, |text| ApiKey::new(text).ok()),
        variable: "METRICS_DEFAULT_KEY",
        accepted: "an API key, 1 to 128 visible ASCII characters",
        help: "The API key of batches that name none",
        is_secret: true
    }
    BOTS: Bots {
        read: |text| chosen(text, &[("refuse", Bots::Refuse), ("count", Bots::Count)]),
        variable: "METRICS_BOTS",
        default: Default::Value("refuse"),
        accepted: "refuse or count",
        help: "`refuse` known bots, automated browsers included, or `count` them"
    }
    BOT_NETWORKS: Arc<Networks> {
        read: read_bot_networks,
        variable: "METRICS_BOT_NETWORKS",
        accepted: "a file",
        help: "A file of networks whose clients count as bots, one per line like 203.0.113.0/24, with comments \
               after #"
    }
    VIDEOS_PER_KEY: Option<u32> {
        read: |text| optional(text, |text| within(text, 1..=u32::MAX).ok()),
        variable: "METRICS_VIDEOS_PER_KEY",
        default: Default::Words("100000"),
        accepted: "a number, 1 or more",
        help: "The largest number of videos per key; sessions of further videos are refused"
    }
    PAGES_PER_KEY: Option<u32> {
        read: |text| optional(text, |text| within(text, 1..=u32::MAX).ok()),
        variable: "METRICS_PAGES_PER_KEY",
        default: Default::Words("50000"),
        accepted: "a number, 1 or more",
        help: "The largest number of pages per key; further ones count as the page / of their site"
    }
    LIMITS: Limits {
        read: read_limits,
        variable: "METRICS_LIMITS",
        default: Default::Value(
            "joins=120000/minute, joins_per_address=3000/minute, events=1200000/minute, events_per_address=60000/minute, \
             new_videos=20000/day, new_videos_per_address=2000/day, new_pages=20000/day, new_pages_per_address=2000/day",
        ),
        accepted: "rate limits",
        help: "Rate limits, separated by commas: joins, events, new_videos, new_pages, each also with _per_address, like \
               new_videos=20000/day or joins=none. Limits that are not named keep their defaults"
    }
    PAGES: PageDetail {
        read: |text| chosen(text, &[
            ("path", PageDetail::Path),
            ("host", PageDetail::Host),
            ("none", PageDetail::None),
        ]),
        variable: "METRICS_PAGES",
        default: Default::Value("path"),
        accepted: "path, host or none",
        help: "The stored part of a page's URL: `path`, `host` (all pages of a site are its page /) or `none`",
        commands: &[SERVER, "import"]
    }
    DIMENSIONS: Vec<ArrivalPart> {
        read: read_dimensions,
        variable: "METRICS_DIMENSIONS",
        default: Default::Value("referrer,utm_source,utm_medium,utm_campaign,country"),
        accepted: "referrer, utm_source, utm_medium, utm_campaign and country, or some of them, separated by commas, or none",
        help: "Where viewers come from: the dimensions that are recorded, separated by commas, or `none`",
        commands: &[SERVER, "import"]
    }
    OPT_OUT: bool {
        read: |text| chosen(text, &[("ignore", false), ("refuse", true)]),
        variable: "METRICS_OPT_OUT",
        default: Default::Value("ignore"),
        accepted: "ignore or refuse",
        help: "`refuse` viewers who send `Sec-GPC: 1` or `DNT: 1`, or `ignore` these headers"
    }
    CORS_ORIGINS: Cors {
        read: read_cors,
        variable: "METRICS_CORS_ORIGINS",
        accepted: "origins like https://example.com, separated by commas, or *",
        help: "Origins whose pages may read reports and exports, separated by commas, or *"
    }
    HOSTS: Hosts {
        read: read_hosts,
        variable: "METRICS_HOSTS",
        accepted: "host names without a port, like metrics.example.com, separated by commas, or *",
        help: "Host names of a server without a password, beside addresses and localhost, separated by commas; \
               *.example.com stands for all names below, * for all"
    }
    FORWARDED_HEADER: Option<HeaderName> {
        read: |text| optional(text, |text| text.parse().ok()),
        variable: "METRICS_FORWARDED_HEADER",
        accepted: "the name of a header, like x-forwarded-for",
        help: "The header in which a reverse proxy names the address of a client, like x-forwarded-for. Set it only if \
               clients reach the server through the proxy alone"
    }
    FORWARDED_HOPS: Option<NonZeroUsize> {
        read: |text| optional(text, |text| {
            text.parse().ok().filter(|hops: &NonZeroUsize| hops.get() <= 100)
        }),
        variable: "METRICS_FORWARDED_HOPS",
        default: Default::Words("1"),
        accepted: "a number from 1 to 100, and METRICS_FORWARDED_HEADER be set",
        help: "The number of proxies, one behind the other, that add an element to that header; with 1 the last \
               element counts, with 2 the second to last"
    }
    COUNTRY_HEADER: Option<HeaderName> {
        read: |text| optional(text, |text| text.parse().ok()),
        variable: "METRICS_COUNTRY_HEADER",
        accepted: "the name of a header, like cf-ipcountry, and METRICS_FORWARDED_HEADER be set",
        help: "The header in which that proxy names the country of a client, two letters, like cf-ipcountry"
    }
    GEO: Option<Arc<Geo>> {
        read: read_geo,
        variable: "METRICS_GEO",
        accepted: "a file",
        help: "A database file of the countries of addresses, in the MaxMind DB format (.mmdb); it is read again when it \
               is replaced"
    }
    MAX_CONNECTIONS: Option<usize> {
        read: |text| optional(text, |text| within(text, 1..=1_000_000).ok()),
        variable: "METRICS_MAX_CONNECTIONS",
        default: Default::Words("one per 64 KiB of --memory, at most 100000"),
        accepted: "a number from 1 to 1000000",
        help: "The largest number of open connections"
    }
    CONNECTIONS_PER_ADDRESS: Option<usize> {
        read: |text| optional(text, |text| within(text, 1..=usize::MAX).ok()),
        variable: "METRICS_CONNECTIONS_PER_ADDRESS",
        default: Default::Words("a quarter of these, at least 64"),
        accepted: "a number, 1 or more",
        help: "The largest number of connections of an address, or of a /64 network of IPv6; with \
               METRICS_FORWARDED_HEADER, of its requests and websockets. This machine is exempt"
    }
    WEBHOOKS: Option<Webhooks> {
        read: read_webhooks,
        variable: "METRICS_WEBHOOKS",
        accepted: "a file of rules",
        help: "A file of rules that watch sessions and tell receivers by signed requests, as JSON; it is read again when \
               it is replaced",
        commands: &[SERVER, "webhooks"]
    }
    LOG_FORMAT: LogFormat {
        read: |text| chosen(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        variable: "METRICS_LOG_FORMAT",
        default: Default::Value("text"),
        accepted: "text or json",
        help: "The format of the log: `text`, or `json` with an object per line",
        commands: ALL
    }
    LOG_FILTER: String {
        read: read_log_filter,
        variable: "RUST_LOG",
        default: Default::Value("info"),
        accepted: "a level like info, or filters per module",
        help: "The level of the log: off, error, warn, info, debug or trace, also per module",
        commands: ALL
    }
}

#[cfg(test)]
mod tests;
