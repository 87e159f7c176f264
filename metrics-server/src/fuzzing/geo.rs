//! Database files of countries.

use std::net::IpAddr;

use metrics_core::arrival::ArrivalPart;

/// An address of 16 bytes, and the bytes of a database file in which it is looked up.
///
/// # Panics
///
/// If the country is none.
pub fn geo(bytes: &[u8]) {
    let Some((address, database)) = bytes.split_first_chunk::<16>() else { return };
    let v6 = IpAddr::from(*address);
    let v4 = IpAddr::from([address[12], address[13], address[14], address[15]]);
    for address in [v6, v4] {
        if let Some(country) = crate::geo::country_in(database.to_vec(), address) {
            assert_eq!(ArrivalPart::Country.reduce(&country), Some(country));
        }
    }
}
