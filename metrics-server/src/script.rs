//! `GET /metrics.js`: our own client, for pages that have no other.
//!
//! `script/metrics.js` is the source of the script that runs in the page. It is served without comments and white space, and
//! with short names of variables (`squeeze.rs`): as a script that sets `window.metrics`, and as the module `/metrics.mjs`,
//! which exports the same; with types at `/metrics.d.ts`. The web components (`/metrics-components.js`) are
//! `components/components.js` and the modules of the page's charts, joined to one. The build script (`build.rs`) makes these
//! files and compresses them, with brotli and gzip; none of it costs the running server anything.
//!
//! # What it measures
//!
//! A `Monitor` listens to one media element and to nothing else, so that it does not matter which player feeds it. It
//! reports where segments begin and end:
//!
//! * `play` opens a segment at the position of the element, and `pause` closes it. If `pause` comes before playback
//!   moves, the segment has length zero: the position of an element without data is only where playback is to begin.
//! * When `seeking` fires, `currentTime` has jumped already. The segment ends at the last observed position
//!   (`timeupdate`, four times a second), extended by the time that has passed since, at the playback rate, because the
//!   element was moving; so no timer is needed, and a page in the background is as exact. `seeked` opens the next
//!   segment.
//! * `waiting` in a segment that moves is a wait for data, up to the next sign of movement. Waits that a seek or the
//!   start causes do not count.
//! * `emptied` detaches the session if it has begun. A player that recovers from an error, casts or changes the
//!   quality empties the element and attaches the same video again. The session waits for the video for a minute,
//!   without a timer: the next flush ends the session. Only the first frame (`playing`, `seeked`) shows duration and
//!   position, so the first `play` after `emptied` is held back until then and keeps its timestamp. The session goes on
//!   if the name is the same, the durations do not differ, and playback goes on from the same position or the source
//!   has the same lasting URL. Otherwise a new session begins. Up to four sessions wait, so that a video goes on after
//!   the adverts of a break.
//! * The first `playing` reports the startup time, except for media that starts by itself: its `play` is late.
//! * `ratechange` has the playback rate as `rate`, rounded to 0.25 unless it is below. A session starts at rate 1;
//!   another rate is sent before its first `play`, and each change after.
//! * The text track that shows is sent after the first `play`, and when another one shows.
//! * An element that is `paused` although no `pause` came, as on iOS after fullscreen, closes its segment at the next
//!   `timeupdate`, heartbeat or sign of life.
//!
//! Playback before the script has loaded, as of videos with `autoplay`, is detected by `played` of the element.
//!
//! Media is found by a search, once and after each addition to the page, also in open shadow roots; and in those of
//! custom elements that are defined later. An element that leaves the page is no longer monitored. Attributes are read
//! when a segment opens: `data-metrics-ignore` may come and go with an advert.
//!
//! # How nothing is lost, or counted twice
//!
//! A `Session` keeps its events until they are acknowledged. Each has a timestamp of its own, by a clock that never
//! steps, so that the server recognizes a repeated event on any connection. At most 50 are in flight, and the server
//! remembers 256.
//!
//! The `Link` delivers the events. Nothing is sent before something plays. Then one websocket is opened for the page;
//! when it is lost, another is opened, after a backoff with jitter; each session joins again, repeats its
//! unacknowledged events, and goes on. If the first websocket does not open within 5 s, or later ones fail twice,
//! batches are posted while there is no websocket. If three fail and a batch gets through, websockets are blocked, and
//! no more are tried on that page, unless one that is opening at that time still works.
//!
//! A page that posts batches is not connected. So while a segment is open and there is no websocket, a session that
//! sent nothing for 15 s sends a `timeupdate` as a sign of life. A timer does so, because an element that waits for
//! data fires no `timeupdate`; the `timeupdate` of the element does so too, because browsers run timers of a page in
//! the background once a minute. The first event of each batch has the member `heartbeat`: the seconds between two
//! signs of life (15). With `data-live` all sessions send `timeupdate`, at the interval that it gives: with each event
//! the server writes the part of an open segment that has been played, and reports follow.
//!
//! When the page is hidden, unacknowledged events are sent with beacons as well, as that may be the last chance. When
//! the page goes away, each open segment is closed before. Browsers allow a page to send 64 KiB after it is gone, some
//! 400 events: unacknowledged events beyond that are lost with the page. A page that a browser keeps and shows again
//! begins new sessions: as if the browser had loaded it again, so that reports do not depend on the cache of the
//! browser.
//!
//! # What ends it
//!
//! The script acts on the [codes](crate::Code) of refusals, never on their texts. `invalid_key`, `origin_not_allowed`,
//! `bot` and `opted_out` (see [`Settings::refuse_opted_out`](crate::Settings::refuse_opted_out)) end everything on the page;
//! the console shows the code of the first two, and `missing_key`, once. Codes that concern the content of an event or
//! a join drop it. After any other refusal in a channel the script connects again later. A batch that is answered with
//! 4xx is dropped, also without a code; 408, 425, 429 and a body that came late are sent again. An error in a listener
//! stays in it.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    LOCATION, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::encoding::Encoding;
use crate::response::{self, Body};

/// How long browsers and proxies cache a file that an update may replace: ten minutes. Then they revalidate it.
const FRESH: &str = "public, max-age=600";

/// How long they cache a file that never changes: a year, which stands for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The number of characters of a version in a URL.
const VERSION_CHARS: usize = 16;

/// The files that are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum File {
    Classic,
    Module,
    Types,
    /// The web components.
    Components,
    ComponentTypes,
}

/// The URL of a file: `/metrics.js`, or `/metrics.<version>.js`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address<'a> {
    file: File,
    version: Option<&'a str>,
}

/// A file as it is sent. The build script has compressed it.
struct Served {
    kind: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
    version: String,
}

/// Embeds one of the files that the build script writes.
macro_rules! served {
    ($kind:literal, $name:literal) => {
        Served::new(
            $kind,
            include_bytes!(concat!(env!("OUT_DIR"), "/", $name)),
            include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
            include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".br")),
        )
    };
}

static CLASSIC: LazyLock<Served> =
    LazyLock::new(|| served!("text/javascript; charset=utf-8", "metrics.js"));
static MODULE: LazyLock<Served> =
    LazyLock::new(|| served!("text/javascript; charset=utf-8", "metrics.mjs"));
static TYPES: LazyLock<Served> =
    LazyLock::new(|| served!("text/plain; charset=utf-8", "metrics.d.ts"));
static COMPONENTS: LazyLock<Served> =
    LazyLock::new(|| served!("text/javascript; charset=utf-8", "metrics-components.js"));
static COMPONENT_TYPES: LazyLock<Served> =
    LazyLock::new(|| served!("text/plain; charset=utf-8", "metrics-components.d.ts"));

impl<'a> Address<'a> {
    /// Parses a file name, without the slash before it.
    pub(crate) fn of(name: &'a str) -> Option<Self> {
        let components = name.strip_prefix("metrics-components.");
        let rest = components.or_else(|| name.strip_prefix("metrics."))?;
        let is_of_components = components.is_some();
        if rest == "d.ts" {
            let file = if is_of_components { File::ComponentTypes } else { File::Types };
            return Some(Self { file, version: None });
        }
        let (version, ending) = match rest.split_once('.') {
            Some((version, ending)) => (Some(version), ending),
            None => (None, rest),
        };
        let file = match ending {
            "js" if is_of_components => File::Components,
            "js" => File::Classic,
            "mjs" if !is_of_components => File::Module,
            _ => return None,
        };
        let is_version =
            |it: &str| it.len() == VERSION_CHARS && it.bytes().all(|byte| byte.is_ascii_hexdigit());
        version.is_none_or(is_version).then_some(Self { file, version })
    }

    /// Responds with the file. `headers` are those of the request.
    pub(crate) fn serve(self, headers: &HeaderMap) -> Response<Body> {
        let served = self.file.served();
        match self.version {
            // A page that names a version which an update has replaced is still measured.
            Some(version) if version != served.version => self.file.moved(),
            Some(_) => served.response(headers, FOR_EVER),
            None => served.response(headers, FRESH),
        }
    }
}

impl File {
    fn served(self) -> &'static Served {
        match self {
            Self::Classic => &CLASSIC,
            Self::Module => &MODULE,
            Self::Types => &TYPES,
            Self::Components => &COMPONENTS,
            Self::ComponentTypes => &COMPONENT_TYPES,
        }
    }

    /// Redirects to the current version. The location is relative, because a proxy may prepend a path.
    fn moved(self) -> Response<Body> {
        let location = match self {
            Self::Classic => "metrics.js",
            Self::Module => "metrics.mjs",
            Self::Types => "metrics.d.ts",
            Self::Components => "metrics-components.js",
            Self::ComponentTypes => "metrics-components.d.ts",
        };
        let mut response = response::empty(StatusCode::FOUND);
        let headers = response.headers_mut();
        headers.insert(LOCATION, HeaderValue::from_static(location));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(FRESH));
        response
    }
}

impl Served {
    fn new(
        kind: &'static str,
        plain: &'static [u8],
        gzip: &'static [u8],
        brotli: &'static [u8],
    ) -> Self {
        let mut version = String::new();
        for byte in Sha256::digest(plain).iter().take(VERSION_CHARS / 2) {
            // Writing to a `String` cannot fail.
            let _written = write!(version, "{byte:02x}");
        }
        Self { kind, plain, gzip, brotli, version }
    }

    fn response(&self, headers: &HeaderMap, keep: &'static str) -> Response<Body> {
        let encoding = Encoding::preferred(headers);
        let etag = self.etag(encoding);
        let known = response::is_known(headers, &etag);
        let mut response =
            response::empty(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let policy = HeaderName::from_static("cross-origin-resource-policy");
        headers.insert(policy, HeaderValue::from_static("cross-origin"));
        if let Ok(etag) = HeaderValue::try_from(etag) {
            headers.insert(ETAG, etag);
        }
        if !known {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
            if let Some(name) = encoding.name() {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
            }
            *response.body_mut() = Body::from(Bytes::from_static(self.body(encoding)));
        }
        response
    }

    fn body(&self, encoding: Encoding) -> &'static [u8] {
        match encoding {
            Encoding::Identity => self.plain,
            Encoding::Gzip => self.gzip,
            Encoding::Brotli => self.brotli,
        }
    }

    /// The entity tag of these bytes: a cache must not mix up the encodings of a file.
    fn etag(&self, encoding: Encoding) -> String {
        let Self { version, .. } = self;
        match encoding.name() {
            Some(name) => format!("\"{version}-{name}\""),
            None => format!("\"{version}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::code::Code;

    /// The maximum size of the web components, compressed.
    const COMPONENTS_MAX: usize = 15 * 1_024;

    #[test]
    fn a_script_has_an_address_and_one_for_each_version() {
        for (name, file, version) in [
            ("metrics.js", File::Classic, None),
            ("metrics.mjs", File::Module, None),
            ("metrics.d.ts", File::Types, None),
            ("metrics-components.js", File::Components, None),
            ("metrics-components.d.ts", File::ComponentTypes, None),
            ("metrics-components.0123456789abcdef.js", File::Components, Some("0123456789abcdef")),
            ("metrics.0123456789abcdef.js", File::Classic, Some("0123456789abcdef")),
            ("metrics.0123456789abcdef.mjs", File::Module, Some("0123456789abcdef")),
        ] {
            assert_eq!(Address::of(name), Some(Address { file, version }), "{name}");
        }
        for name in [
            "metrics",
            "metrics.",
            "metrics.css",
            "metrics-components",
            "metrics-components.mjs",
            "metrics..js",
            "metrics.min.js",
            "metrics.0123456789abcdeg.js",
            "metrics.0123456789abcdef.d.ts",
            "metrics.0123456789abcdef.0123456789abcdef.js",
        ] {
            assert_eq!(Address::of(name), None, "{name}");
        }
    }

    #[test]
    fn minification_removes_no_code_of_the_script() {
        for line in include_str!("script/metrics.js").lines() {
            assert_eq!(line.matches('`').count() % 2, 0, "a text over several lines: {line}");
            let code = line.trim_start();
            assert!(code.starts_with("//") || !code.contains(" // "), "no line of its own: {line}");
            assert!(!code.contains("/*"), "a comment that is not left out: {line}");
        }
        for (file, end) in
            [(File::Classic, "}\n"), (File::Module, "export const{monitor}=metrics;\n")]
        {
            let served = str::from_utf8(file.served().plain).unwrap();
            assert!(served.ends_with(end) && served.lines().count() == 1, "{served}");
        }
    }

    /// A misspelt code would change which events a page sends again, and nothing else would show the mistake.
    #[test]
    fn the_script_acts_on_codes_that_exist() {
        let mut named = 0;
        let lines = include_str!("script/metrics.js").lines().map(str::trim);
        for line in lines.filter(|line| line.contains("code") && !line.starts_with("//")) {
            let words = line.split(|c: char| !c.is_ascii_lowercase() && c != '_');
            let words = words.filter(|word| *word != "phx_reply");
            // The words without an underscore inside are beginnings of several codes, or no codes.
            for word in words.map(|it| it.trim_end_matches('_')).filter(|it| it.contains('_')) {
                let is_code = Code::ALL.iter().any(|code| code.as_str().starts_with(word));
                assert!(is_code, "{word} in {line}");
                named += 1;
            }
        }
        assert_eq!(named, 6);
    }

    #[test]
    fn each_encoding_is_the_same_text_under_its_own_tag() {
        let all =
            [File::Classic, File::Module, File::Types, File::Components, File::ComponentTypes];
        for file in all {
            let served = file.served();
            let (mut gzip, mut brotli) = (Vec::new(), Vec::new());
            flate2::read::GzDecoder::new(served.gzip).read_to_end(&mut gzip).unwrap();
            brotli::Decompressor::new(served.brotli, 4096).read_to_end(&mut brotli).unwrap();
            assert_eq!((&*gzip, &*brotli), (served.plain, served.plain), "{file:?}");
            assert!(served.brotli.len() < served.gzip.len(), "{file:?}");
            assert!(served.gzip.len() < served.plain.len(), "{file:?}");
            let tags =
                [Encoding::Identity, Encoding::Gzip, Encoding::Brotli].map(|it| served.etag(it));
            assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[1] != tags[2], "{tags:?}");
        }
    }

    #[test]
    fn the_components_are_one_small_module() {
        let served = File::Components.served();
        let text = str::from_utf8(served.plain).unwrap();
        assert!(served.brotli.len() <= COMPONENTS_MAX, "{} bytes", served.brotli.len());
        assert!(!text.contains("\nimport ") && !text.contains("'./"), "a module is missing");
        let exports: Vec<_> = text.lines().filter(|line| line.starts_with("export ")).collect();
        assert_eq!(exports.len(), 4, "{exports:?}");
    }

    #[test]
    fn each_file_has_a_version_of_its_own() {
        let [classic, module] = [File::Classic, File::Module].map(File::served);
        assert_ne!(classic.version, module.version);
        assert_eq!(classic.version.len(), VERSION_CHARS);
        assert_eq!(
            Address::of(&format!("metrics.{}.js", classic.version)).unwrap().file,
            File::Classic
        );
    }
}
