//! Countries of addresses, and database files that are damaged or replaced.

use std::error::Error as _;

use metrics_testing::{Records, country_database};
use proptest::prelude::*;

use super::*;

const NETWORKS: [(&str, &str); 4] = [
    ("203.0.113.0/24", "NL"),
    ("203.0.114.7/32", "DE"),
    ("2001:db8::/32", "BE"),
    ("198.51.100.0/25", "XX"),
];

fn database(bytes: Vec<u8>) -> Database {
    Reader::from_source(bytes).unwrap()
}

#[test]
fn an_address_has_the_country_of_its_network() {
    for records in [Records::Nested, Records::Flat] {
        let database = database(country_database(records, &NETWORKS));
        for (address, expected) in [
            ("203.0.113.0", Some("NL")),
            ("203.0.113.255", Some("NL")),
            ("::ffff:203.0.113.9", Some("NL")),
            ("203.0.114.7", Some("DE")),
            ("2001:db8:1::1", Some("BE")),
            // An unknown country, and addresses that no network has.
            ("198.51.100.1", None),
            ("198.51.100.200", None),
            ("203.0.114.8", None),
            ("127.0.0.1", None),
            ("2001:db9::1", None),
        ] {
            let found = country(&database, address.parse().unwrap());
            assert_eq!(found.as_deref(), expected, "{address} in {records:?}");
        }
    }
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("countries.mmdb");
    let refused = |expected: &str| {
        let err = Geo::open(&file).unwrap_err();
        assert!(err.to_string().ends_with(expected), "{err}");
        assert!(err.source().is_some());
    };
    refused("countries.mmdb cannot be read");
    let whole = country_database(Records::Nested, &NETWORKS);
    for damaged in [&b""[..], b"country,NL", &whole[..whole.len() / 2], &whole[..whole.len() - 40]]
    {
        std::fs::write(&file, damaged).unwrap();
        refused("is no database in the MaxMind DB format, or is damaged: download it again");
    }
    let huge = File::create(&file).unwrap();
    huge.set_len(FILE_BYTES_MAX + 1).unwrap();
    refused("countries.mmdb cannot be read");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_file_counts_and_a_damaged_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("countries.mmdb");
    let write = |networks: &[(&str, &str)]| {
        std::fs::write(&file, country_database(Records::Nested, networks)).unwrap();
    };
    write(&NETWORKS[..1]);
    let geo = Geo::open(&file).unwrap();
    let country = || geo.country("203.0.113.1".parse().unwrap());
    let later = async || {
        tokio::time::advance(LOOK_EVERY).await;
        geo.look().await;
        country()
    };
    assert_eq!(country().as_deref(), Some("NL"));
    write(&[("203.0.0.0/16", "FR"), ("2001:db8::/32", "BE")]);
    geo.look().await;
    assert_eq!(country().as_deref(), Some("NL"), "it looks every ten seconds");
    assert_eq!(later().await.as_deref(), Some("FR"));
    std::fs::write(&file, "nonsense").unwrap();
    assert_eq!(later().await.as_deref(), Some("FR"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(later().await.as_deref(), Some("FR"));
    write(&[]);
    assert_eq!(later().await, None);
}

proptest! {
    #[test]
    fn a_damaged_database_has_a_country_or_none(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        addresses in prop::collection::vec(any::<[u8; 16]>(), 1..20),
    ) {
        let mut bytes = country_database(Records::Nested, &NETWORKS);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let Ok(database) = Reader::from_source(bytes) else { return Ok(()) };
        let known = ["203.0.113.0", "203.0.114.7", "2001:db8::"].map(|it| it.parse().unwrap());
        for address in addresses.into_iter().map(IpAddr::from).chain(known) {
            if let Some(country) = country(&database, address) {
                prop_assert_eq!(ArrivalPart::Country.reduce(&country), Some(country));
            }
        }
    }
}
