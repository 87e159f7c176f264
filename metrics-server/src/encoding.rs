//! `Accept-Encoding`: selects the encoding of a file for a client.

use hyper::header::{ACCEPT_ENCODING, HeaderMap};

/// The compression of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    /// No compression.
    Identity,
    Gzip,
    Brotli,
}

impl Encoding {
    /// Returns the encoding that the request prefers (RFC 9110, section 12.5.3), the smallest if it prefers several.
    ///
    /// A request that refuses all three gets the uncompressed file, as that section allows.
    pub(crate) fn preferred(request: &HeaderMap) -> Self {
        let any = weight(request, &["*"]).unwrap_or(0.0);
        let brotli = weight(request, &["br"]).unwrap_or(any);
        let gzip = weight(request, &["gzip", "x-gzip"]).unwrap_or(any);
        // A client that does not name `identity` accepts it, but prefers the encodings that it names.
        let identity = weight(request, &["identity"]).unwrap_or(0.0);
        if 0.0 < brotli && gzip <= brotli && identity <= brotli {
            Self::Brotli
        } else if 0.0 < gzip && identity <= gzip {
            Self::Gzip
        } else {
            Self::Identity
        }
    }

    /// The name of the encoding in `Content-Encoding`.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }
}

/// Returns the weight of a coding, which may have several names, if the request names it.
fn weight(request: &HeaderMap, names: &[&str]) -> Option<f32> {
    let lists = request.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).find_map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let name = parts.next()?;
        names.iter().any(|it| it.eq_ignore_ascii_case(name)).then(|| {
            let mut parameters = parts.filter_map(|part| part.split_once('='));
            let weight = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            weight.map_or(1.0, |(_, weight)| parsed(weight.trim()))
        })
    })
}

/// Parses a weight from 0 to 1. Any other text refuses the coding: a larger response is better than an unreadable one.
fn parsed(weight: &str) -> f32 {
    weight.parse().ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(lists: &[&str], expected: Encoding) {
        let mut request = HeaderMap::new();
        for list in lists {
            request.append(ACCEPT_ENCODING, HeaderValue::from_str(list).unwrap());
        }
        assert_eq!(Encoding::preferred(&request), expected, "{lists:?}");
    }

    #[test]
    fn the_smallest_of_the_preferred_encodings_is_chosen() {
        for (list, expected) in [
            ("gzip, deflate, br, zstd", Encoding::Brotli),
            ("gzip, deflate", Encoding::Gzip),
            ("GZIP", Encoding::Gzip),
            ("x-gzip", Encoding::Gzip),
            ("BR", Encoding::Brotli),
            ("*", Encoding::Brotli),
            ("deflate", Encoding::Identity),
            ("brotli", Encoding::Identity),
            ("identity", Encoding::Identity),
            ("", Encoding::Identity),
            (",,", Encoding::Identity),
        ] {
            check(&[list], expected);
        }
        check(&[], Encoding::Identity);
        check(&["deflate", "gzip"], Encoding::Gzip);
        check(&["gzip", "br"], Encoding::Brotli);
    }

    #[test]
    fn weights_are_respected() {
        for (list, expected) in [
            ("br;q=0.5, gzip;q=0.8", Encoding::Gzip),
            ("br;q=0.8, gzip;q=0.8", Encoding::Brotli),
            ("br ; q=0.9 , gzip ; q=0.8", Encoding::Brotli),
            ("br;Q=0.1, gzip", Encoding::Gzip),
            ("br;q=0, gzip", Encoding::Gzip),
            ("br;q=0.000, gzip;q=0.001", Encoding::Gzip),
            ("br;q=0, gzip;q=0", Encoding::Identity),
            ("br;q=0, *", Encoding::Gzip),
            ("*;q=0", Encoding::Identity),
            ("*;q=0, gzip;q=0.1", Encoding::Gzip),
            ("gzip, *;q=0.5", Encoding::Gzip),
            ("identity;q=1, *;q=0.5", Encoding::Identity),
            ("identity;q=0.5, gzip;q=0.2, br;q=0.5", Encoding::Brotli),
            ("identity, gzip, br", Encoding::Brotli),
            ("identity;q=0", Encoding::Identity),
            ("br;level=1;q=0.2, gzip;q=0.3", Encoding::Gzip),
        ] {
            check(&[list], expected);
        }
    }

    #[test]
    fn a_weight_that_is_none_refuses() {
        for weight in ["", "x", "nan", "inf", "-1", "1.5", "1e9", "0.5 0.5"] {
            check(&[&format!("br;q={weight}")], Encoding::Identity);
            check(&[&format!("br;q={weight}, gzip")], Encoding::Gzip);
        }
    }
}
