//! The files of the page, with conditional and range requests.

use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};

use super::SAME_ORIGIN;
use crate::error::Error;
use crate::minify::minify;
use crate::response::{self, Body};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// For files that must match each other, also after an update: browsers revalidate them each time.
const REVALIDATE: &str = "no-cache";

/// For large files without dependents.
const ONE_DAY: &str = "max-age=86400";

static FILES: LazyLock<[File; 28]> = LazyLock::new(|| {
    [
        File::text("page.css", "text/css; charset=utf-8", include_str!("page.css")),
        File::text("theme.js", SCRIPT, include_str!("theme.js")),
        File::text("page.js", SCRIPT, include_str!("page.js")),
        File::text("reports.js", SCRIPT, include_str!("reports.js")),
        File::text("charts.js", SCRIPT, include_str!("charts.js")),
        File::text("player.js", SCRIPT, include_str!("player.js")),
        File::text("video.js", SCRIPT, include_str!("video.js")),
        File::text("video-data.js", SCRIPT, include_str!("video-data.js")),
        File::text("video-stage.js", SCRIPT, include_str!("video-stage.js")),
        File::text("video-styles.js", SCRIPT, include_str!("video-styles.js")),
        File::text("video-words.js", SCRIPT, include_str!("video-words.js")),
        File::text("words.js", SCRIPT, include_str!("words.js")),
        File::text("charts/bars.js", SCRIPT, include_str!("charts/bars.js")),
        File::text("charts/bins.js", SCRIPT, include_str!("charts/bins.js")),
        File::text("charts/curve-words.js", SCRIPT, include_str!("charts/curve-words.js")),
        File::text("charts/draw.js", SCRIPT, include_str!("charts/draw.js")),
        File::text("charts/histogram.js", SCRIPT, include_str!("charts/histogram.js")),
        File::text("charts/index.js", SCRIPT, include_str!("charts/index.js")),
        File::text("charts/line.js", SCRIPT, include_str!("charts/line.js")),
        File::text("charts/maths.js", SCRIPT, include_str!("charts/maths.js")),
        File::text("charts/retention.js", SCRIPT, include_str!("charts/retention.js")),
        File::text("charts/spark.js", SCRIPT, include_str!("charts/spark.js")),
        File::text("charts/styles.js", SCRIPT, include_str!("charts/styles.js")),
        File::text("charts/text.js", SCRIPT, include_str!("charts/text.js")),
        File::text("charts/words.js", SCRIPT, include_str!("charts/words.js")),
        File::text("icon.svg", "image/svg+xml", include_str!("icon.svg")),
        File::video("tide.webm", include_bytes!("tide.webm")),
        File::video("dusk.webm", include_bytes!("dusk.webm")),
    ]
});

/// A file that is part of the binary.
struct File {
    name: &'static str,
    kind: &'static str,
    cached: &'static str,
    bytes: Bytes,
    etag: String,
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
    fn text(name: &'static str, kind: &'static str, text: &str) -> Self {
        Self::new(name, kind, REVALIDATE, minify(text).into())
    }

    fn video(name: &'static str, bytes: &'static [u8]) -> Self {
        Self::new(name, "video/webm", ONE_DAY, Bytes::from_static(bytes))
    }

    fn new(name: &'static str, kind: &'static str, cached: &'static str, bytes: Bytes) -> Self {
        // The hash is the same on all servers of a build, which suffices to identify a file.
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        Self { name, kind, cached, bytes, etag: format!("\"{:016x}\"", hasher.finish()) }
    }

    fn answer(&self, method: &Method, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        if response::is_known(headers, &self.etag) {
            return Ok(self.headed(response::empty(StatusCode::NOT_MODIFIED)));
        }
        let length = self.bytes.len();
        let is_of_this = headers.get(IF_RANGE).is_none_or(|etag| etag == self.etag.as_str());
        let requested = headers.get(RANGE).filter(|_| method == Method::GET && is_of_this);
        let requested = requested.and_then(|range| range.to_str().ok());
        let (status, range) = match requested.map_or(Part::All, |range| part(range, length)) {
            Part::All => (StatusCode::OK, 0..length),
            Part::Range(range) => (StatusCode::PARTIAL_CONTENT, range),
            Part::Nothing => return Err(Error::PastTheEnd { length }),
        };
        let mut response = self.headed(response::empty(status));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if status == StatusCode::PARTIAL_CONTENT {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            headers
                .insert(CONTENT_RANGE, HeaderValue::try_from(content_range).expect("it is ASCII"));
        }
        *response.body_mut() = Body::from(self.bytes.slice(range));
        Ok(response)
    }

    /// Adds the headers that a response has with or without the file.
    fn headed(&self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.cached));
        headers.insert(ETAG, HeaderValue::try_from(&self.etag).expect("it is ASCII"));
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
    use super::*;

    /// Removing indentation would change a template literal of several lines.
    #[test]
    fn no_script_has_a_text_of_several_lines() {
        for file in FILES.iter().filter(|file| file.name.ends_with(".js")) {
            let text = std::str::from_utf8(&file.bytes).unwrap();
            // Style sheets may have several lines: their indentation has no meaning.
            let mut parts = text.split("_CSS = `\n");
            let first = parts.next().unwrap_or_default();
            let behind = parts.map(|part| part.split_once("\n`;\n").expect("a style sheet ends").1);
            let mut lines = first.lines().chain(behind.flat_map(str::lines));
            assert!(lines.all(|line| line.matches('`').count() % 2 == 0), "{}", file.name);
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
