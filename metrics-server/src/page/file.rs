//! The files of the page: compressed, with conditional requests, and ranges of videos.

use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_RANGE, RANGE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};

use super::SAME_ORIGIN;
use crate::encoding::Encoding;
use crate::error::Error;
use crate::response::{self, Body};

/// For files that must match each other, also after an update: browsers revalidate them each time.
const REVALIDATE: &str = "no-cache";

/// For large files without dependents.
const ONE_DAY: &str = "max-age=86400";

/// All files of the page, which `build.rs` finds and compresses.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

/// A file that is part of the binary.
struct File {
    /// The path under `/page/`.
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// As gzip and as brotli. `None` for media, which are compressed already.
    compressed: Option<[&'static [u8]; 2]>,
}

/// The requested part of a file.
#[derive(Debug, Eq, PartialEq)]
enum Part {
    All,
    Range(Range<usize>),
    /// The range begins past the end.
    Nothing,
}

/// Responds with the file of this name, or the part that the headers request.
pub(crate) fn answer(
    name: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<Body>, Error> {
    let file = FILES.iter().find(|file| file.name == name).ok_or(Error::NotFound)?;
    file.answer(method, headers)
}

impl File {
    const fn text(
        name: &'static str,
        kind: &'static str,
        [bytes, gzip, brotli]: [&'static [u8]; 3],
    ) -> Self {
        Self { name, kind, bytes, compressed: Some([gzip, brotli]) }
    }

    const fn media(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, kind, bytes, compressed: None }
    }

    fn answer(&self, method: &Method, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        let encoding = match self.compressed {
            Some(_) => Encoding::preferred(headers),
            None => Encoding::Identity,
        };
        let etag = self.etag(encoding);
        if response::is_known(headers, &etag) {
            return Ok(self.headed(response::empty(StatusCode::NOT_MODIFIED), &etag));
        }
        let bytes = match (encoding, self.compressed) {
            (Encoding::Gzip, Some([gzip, _])) => gzip,
            (Encoding::Brotli, Some([_, brotli])) => brotli,
            _ => self.bytes,
        };
        let length = bytes.len();
        let (status, range) = match self.part(method, headers, &etag) {
            Part::All => (StatusCode::OK, 0..length),
            Part::Range(range) => (StatusCode::PARTIAL_CONTENT, range),
            Part::Nothing => return Err(Error::PastTheEnd { length }),
        };
        let mut response = self.headed(response::empty(status), &etag);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if let Some(name) = encoding.name() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            headers
                .insert(CONTENT_RANGE, HeaderValue::try_from(content_range).expect("it is ASCII"));
        }
        *response.body_mut() = Body::from(Bytes::from_static(bytes).slice(range));
        Ok(response)
    }

    /// The part that a request names. Only media have parts.
    fn part(&self, method: &Method, headers: &HeaderMap, etag: &str) -> Part {
        let is_of_this = headers.get(IF_RANGE).is_none_or(|it| it == etag);
        let has_parts = self.compressed.is_none() && method == Method::GET && is_of_this;
        let requested = headers.get(RANGE).filter(|_| has_parts);
        let requested = requested.and_then(|range| range.to_str().ok());
        requested.map_or(Part::All, |range| part(range, self.bytes.len()))
    }

    /// The entity tag of these bytes: a cache must not mix up the encodings of a file.
    fn etag(&self, encoding: Encoding) -> String {
        // The hash is the same on all servers of a build, which suffices to identify a file.
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        let (hash, name) = (hasher.finish(), encoding.name());
        name.map_or_else(|| format!("\"{hash:016x}\""), |name| format!("\"{hash:016x}-{name}\""))
    }

    /// Adds the headers that a response has with or without the file.
    fn headed(&self, mut response: Response<Body>, etag: &str) -> Response<Body> {
        let is_media = self.compressed.is_none();
        let headers = response.headers_mut();
        let kept = if is_media { ONE_DAY } else { REVALIDATE };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
        headers.insert(ETAG, HeaderValue::try_from(etag).expect("it is ASCII"));
        if is_media {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        } else {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let (name, value) = SAME_ORIGIN;
        headers.insert(name, HeaderValue::from_static(value));
        response
    }
}

/// Parses a `Range` header for a file of `length` bytes. Several ranges, or an invalid range, select the whole file.
fn part(range: &str, length: usize) -> Part {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|it| it.split_once('-')) else {
        return Part::All;
    };
    // A number that overflows is beyond the end of every file.
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(usize::MAX))
    };
    match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => Part::Nothing,
        (None, Some(count)) if first.is_empty() => Part::Range(length - length.min(count)..length),
        (Some(start), Some(end)) if end < start => Part::All,
        (Some(start), Some(_)) if length <= start => Part::Nothing,
        (Some(start), Some(end)) => Part::Range(start..end.saturating_add(1).min(length)),
        (Some(start), None) if last.is_empty() && length <= start => Part::Nothing,
        (Some(start), None) if last.is_empty() => Part::Range(start..length),
        _ => Part::All,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Removing indentation would change a template literal of several lines.
    #[test]
    fn no_script_has_a_text_of_several_lines() {
        for file in FILES.iter().filter(|file| file.name.ends_with(".js")) {
            let text = std::str::from_utf8(file.bytes).unwrap();
            // Style sheets may have several lines: their indentation has no meaning.
            let mut parts = text.split("_CSS = `\n");
            let first = parts.next().unwrap_or_default();
            let behind = parts.map(|part| part.split_once("\n`;\n").expect("a style sheet ends").1);
            let mut lines = first.lines().chain(behind.flat_map(str::lines));
            assert!(lines.all(|line| line.matches('`').count() % 2 == 0), "{}", file.name);
        }
    }

    #[test]
    fn each_encoding_is_the_same_text_under_its_own_tag() {
        for file in FILES {
            let Some([gzip, brotli]) = file.compressed else { continue };
            let (mut from_gzip, mut from_brotli) = (Vec::new(), Vec::new());
            flate2::read::GzDecoder::new(gzip).read_to_end(&mut from_gzip).unwrap();
            brotli::Decompressor::new(brotli, 4096).read_to_end(&mut from_brotli).unwrap();
            assert!(from_gzip == file.bytes && from_brotli == file.bytes, "{}", file.name);
            let tags =
                [Encoding::Identity, Encoding::Gzip, Encoding::Brotli].map(|it| file.etag(it));
            assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[1] != tags[2], "{tags:?}");
        }
    }

    #[test]
    fn a_range_is_the_part_that_is_there() {
        for (range, expected) in [
            ("bytes=0-", Part::Range(0..10)),
            ("bytes=0-0", Part::Range(0..1)),
            ("bytes=3-5", Part::Range(3..6)),
            ("bytes=9-", Part::Range(9..10)),
            ("bytes=3-99999999999999999999", Part::Range(3..10)),
            ("bytes=-4", Part::Range(6..10)),
            ("bytes=-99", Part::Range(0..10)),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
    }

    #[test]
    fn past_the_end_there_is_nothing() {
        for range in ["bytes=10-", "bytes=10-12", "bytes=99999999999999999999-", "bytes=-0"] {
            assert_eq!(part(range, 10), Part::Nothing, "{range}");
        }
    }

    #[test]
    fn an_invalid_range_is_ignored() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-3",
            "bytes=a-b",
            "bytes=1-b",
            "bytes=+1-2",
            "bytes=--4",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=1",
            "bytes= 1-2",
        ] {
            assert_eq!(part(range, 10), Part::All, "{range}");
        }
    }
}
