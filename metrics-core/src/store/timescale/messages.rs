//! Recognizes errors of the server, of the driver and of rustls by their messages.
//!
//! The driver passes on most errors as text, without a code. All comparisons with such texts are in this file: check
//! them when a driver changes.

/// Whether the server rejects a value of the request. Recognizes English messages only.
pub(super) fn is_about_data(message: &str) -> bool {
    const ABOUT_DATA: [&str; 5] = ["invalid", "out of range", "exceeds", "stack depth", "Unicode"];
    ABOUT_DATA.iter().any(|text| message.contains(text))
}

/// Whether a TimescaleDB library is missing or has another version. Recognizes its name, which is the same in every
/// language.
pub(super) fn is_about_library(message: &str) -> bool {
    message.contains("$libdir/timescaledb")
        || message.contains("/timescaledb-")
        || (message.contains("\"timescaledb\"") && message.contains("version"))
}

/// Whether the server requires channel binding, and the TLS connection ends at another host.
pub(super) fn lacks_channel_binding(message: &str) -> bool {
    message.contains("channel binding")
}

/// Whether the server requests a password, and the URL has none.
pub(super) fn lacks_password(message: &str) -> bool {
    message.contains("password missing")
}

/// Whether the driver rejects the parameters of the URL.
pub(super) fn is_invalid_configuration(message: &str) -> bool {
    message.contains("invalid configuration")
}

/// Whether the server does not support TLS.
pub(super) fn lacks_tls(message: &str) -> bool {
    message.contains("server does not support TLS")
}

/// Whether TLS needs a host name, and the URL has an address only.
pub(super) fn lacks_host_name(message: &str) -> bool {
    message.contains("no hostname provided")
}

/// Whether the server's certificate is that of an authority. Such a certificate is made by the manual of PostgreSQL,
/// and a client trusts it as an authority at the same time.
pub(super) fn is_authority(message: &str) -> bool {
    message.contains("CaUsedAsEndEntity")
}
