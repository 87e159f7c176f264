//! Database files of countries, in the MaxMind DB format.

use std::net::IpAddr;

/// The kinds of records.
#[derive(Clone, Copy, Debug)]
pub enum Records {
    /// `{"country": {"iso_code": "NL"}}`, as in databases of MaxMind.
    Nested,
    /// `{"country_code": "NL"}`.
    Flat,
}

#[derive(Clone, Copy)]
enum Link {
    Nothing,
    Node(u32),
    // In the data section.
    Record(u32),
}

/// Makes a file with the country of each network, like `("203.0.113.0/24", "NL")`.
#[must_use]
pub fn country_database(records: Records, networks: &[(&str, &str)]) -> Vec<u8> {
    let (mut nodes, mut data) = (vec![[Link::Nothing; 2]], Vec::new());
    for (network, country) in networks {
        let record = Link::Record(data.len() as u32);
        match records {
            Records::Nested => {
                data.push(map(1));
                data.extend(text("country"));
                data.push(map(1));
                data.extend(text("iso_code"));
            }
            Records::Flat => {
                data.push(map(1));
                data.extend(text("country_code"));
            }
        }
        data.extend(text(country));
        let (address, len) = network.split_once('/').expect("a network");
        let len: u32 = len.parse().expect("a length");
        // The tree is of IPv6, in which IPv4 addresses begin with 96 zeros.
        let (bits, len) = match address.parse().expect("an address") {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 96 + len),
            IpAddr::V6(address) => (address.into(), len),
        };
        insert(&mut nodes, bits, len, record);
    }
    let mut file = Vec::new();
    let count = nodes.len() as u32;
    for link in nodes.into_iter().flatten() {
        let number = match link {
            Link::Nothing => count,
            Link::Node(node) => node,
            Link::Record(offset) => count + 16 + offset,
        };
        file.extend(&number.to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(metadata(count));
    file
}

fn insert(nodes: &mut Vec<[Link; 2]>, bits: u128, len: u32, record: Link) {
    let mut node = 0;
    for depth in 0..len {
        let side = (bits >> (127 - depth) & 1) as usize;
        if depth + 1 == len {
            nodes[node][side] = record;
            return;
        }
        node = match nodes[node][side] {
            Link::Node(next) => next as usize,
            _ => {
                nodes.push([Link::Nothing; 2]);
                nodes[node][side] = Link::Node(nodes.len() as u32 - 1);
                nodes.len() - 1
            }
        };
    }
}

fn metadata(nodes: u32) -> Vec<u8> {
    let mut metadata = b"\xab\xcd\xefMaxMind.com".to_vec();
    let number = |number: u16| [&[0xa2], &number.to_be_bytes()[..]].concat();
    let members: [(&str, Vec<u8>); 9] = [
        ("node_count", [&[0xc4], &nodes.to_be_bytes()[..]].concat()),
        ("record_size", number(24)),
        ("ip_version", number(6)),
        ("database_type", text("Test-Country")),
        // An array without elements.
        ("languages", vec![0x00, 0x04]),
        ("binary_format_major_version", number(2)),
        ("binary_format_minor_version", number(0)),
        // A number of 8 bytes.
        ("build_epoch", [&[0x08, 0x02], &1_700_000_000_u64.to_be_bytes()[..]].concat()),
        ("description", vec![map(0)]),
    ];
    metadata.push(map(members.len() as u8));
    for (name, value) in members {
        metadata.extend(text(name));
        metadata.extend(value);
    }
    metadata
}

/// The first byte of a map.
fn map(members: u8) -> u8 {
    7 << 5 | members
}

/// A text of at most 28 bytes.
fn text(text: &str) -> Vec<u8> {
    [&[2 << 5 | text.len() as u8], text.as_bytes()].concat()
}
