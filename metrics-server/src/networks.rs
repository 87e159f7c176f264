//! Networks of addresses: lists in CIDR notation, with lookup by address.

use std::net::IpAddr;
#[cfg(feature = "binary")]
use std::net::Ipv6Addr;

/// The maximum number of networks of a list. The largest clouds publish some 10,000.
const NETWORKS_MAX: usize = 1_000_000;

/// A list of networks, IPv4 and IPv6.
///
/// ```
/// use metrics_server::Networks;
///
/// let networks: Networks = "203.0.113.0/24 # a cloud\n\n2001:db8::/32".parse().unwrap();
/// assert!(networks.contains("203.0.113.7".parse().unwrap()));
/// assert!(!networks.contains("203.0.114.7".parse().unwrap()));
/// assert!("203.0.113.0/33".parse::<Networks>().is_err());
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks {
    // The first and the last address of each network, mapped to IPv6; sorted and disjoint.
    ranges: Vec<(u128, u128)>,
}

/// The error of parsing a list of networks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidNetwork {
    /// A line is no network.
    #[error(
        "line {line} is {text:?}: it must be a network like 203.0.113.0/24 or 2001:db8::/32, or empty; # begins a comment"
    )]
    Line {
        /// The number of the line, from 1 on.
        line: usize,
        /// The beginning of the line.
        text: String,
    },
    /// There are too many networks.
    #[error("there are more than {NETWORKS_MAX} networks: join neighbours to larger ones")]
    TooMany,
}

impl Networks {
    /// Whether an address is in one of the networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        let after = self.ranges.partition_point(|(first, _)| *first <= bits);
        after.checked_sub(1).is_some_and(|at| bits <= self.ranges[at].1)
    }

    /// Whether an address of this machine is in one of the networks.
    #[cfg(feature = "binary")]
    pub(crate) fn has_loopback(&self) -> bool {
        let one = bits(Ipv6Addr::LOCALHOST.into());
        let [first, last] = [[127, 0, 0, 0], [127, 255, 255, 255]].map(|it| bits(it.into()));
        let has =
            |(from, to): (u128, u128)| self.ranges.iter().any(|it| it.0 <= to && from <= it.1);
        has((one, one)) || has((first, last))
    }
}

impl std::str::FromStr for Networks {
    type Err = InvalidNetwork;

    /// Parses one network per line. `#` begins a comment, and an address without a length is a network of its own.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let mut ranges = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let network = line.split('#').next().unwrap_or_default().trim();
            if network.is_empty() {
                continue;
            }
            if NETWORKS_MAX <= ranges.len() {
                return Err(InvalidNetwork::TooMany);
            }
            let shown = || network.chars().take(80).collect();
            let invalid = || InvalidNetwork::Line { line: index + 1, text: shown() };
            ranges.push(range(network).ok_or_else(invalid)?);
        }
        ranges.sort_unstable();
        let mut apart: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match apart.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => apart.push((first, last)),
            }
        }
        Ok(Self { ranges: apart })
    }
}

/// The first and the last address of a network.
fn range(network: &str) -> Option<(u128, u128)> {
    let (address, length) = match network.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (network, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        // Without a sign.
        Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None => longest,
    };
    let host_bits: u32 = u32::checked_sub(longest, length)?;
    let hosts = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
    let bits = bits(address);
    Some((bits & !hosts, bits | hosts))
}

/// An address as a number. IPv4 is mapped to `::ffff:0:0/96`, as dual-stack sockets do.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_has_networks_of_both_kinds() {
        let networks: Networks =
            "# clouds\n10.0.0.0/8\n10.1.0.0/16 # inside\n192.0.2.7\n\n2001:db8::/32\n  ::1/128  "
                .parse()
                .unwrap();
        for (address, expected) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("::ffff:10.2.3.4", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!Networks::default().contains("10.0.0.1".parse().unwrap()));
        let all: Networks = "0.0.0.0/0\n::/0".parse().unwrap();
        assert!(all.contains("255.255.255.255".parse().unwrap()));
    }

    #[test]
    fn a_line_that_is_no_network_is_named() {
        for network in
            ["10.0.0.0/33", "10.0.0/8", "::/129", "a", "10.0.0.0/", "10.0.0.0/+8", "1.2.3.4/8/8"]
        {
            let refused = format!("10.0.0.0/8\n\n{network} # no").parse::<Networks>();
            assert_eq!(refused, Err(InvalidNetwork::Line { line: 3, text: network.to_owned() }));
        }
    }

    proptest! {
        #[test]
        fn addresses_are_in_networks_as_bit_by_bit(
            lines in proptest::collection::vec((any::<u8>(), any::<u8>(), 0..=32_u8), 0..6),
            address in (any::<u8>(), any::<u8>()),
        ) {
            let address = std::net::Ipv4Addr::new(address.0, address.1, 0, 1);
            let text: String =
                lines.iter().map(|(a, b, length)| format!("{a}.{b}.0.0/{length}\n")).collect();
            let networks: Networks = text.parse().unwrap();
            let naive = lines.iter().any(|(a, b, length)| {
                let network = u32::from_be_bytes([*a, *b, 0, 0]);
                (0..u32::from(*length)).all(|bit| (network ^ address.to_bits()) >> (31 - bit) & 1 == 0)
            });
            prop_assert_eq!(networks.contains(address.into()), naive);
        }

        #[test]
        fn any_text_is_a_list_or_refused(text in "[0-9a-f.:/# \n]{0,60}|\\PC{0,40}") {
            let _ = text.parse::<Networks>();
        }
    }

    #[cfg(feature = "binary")]
    #[test]
    fn networks_with_addresses_of_this_machine_are_found() {
        let has = |text: &str| text.parse::<Networks>().unwrap().has_loopback();
        for text in [
            "127.0.0.1",
            "127.8.0.0/16",
            "10.0.0.0/8\n::1",
            "0.0.0.0/0",
            "::/0",
            "::ffff:127.0.0.2",
        ] {
            assert!(has(text), "{text}");
        }
        for text in ["", "126.255.255.255", "128.0.0.0/8", "10.0.0.0/8\n2001:db8::/32", "::2"] {
            assert!(!has(text), "{text}");
        }
    }
}
