//! Simulated viewers, with the messages of both generations of clients; deterministic for a seed.
//!
//! The popularity of videos follows a Zipf distribution. A session begins with a play at the start; then its viewer
//! seeks, pauses and resumes; it ends with a pause and a leave, so that its view time is known to the millisecond.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// The number of videos.
pub const VIDEOS: usize = 1_000;

/// The number of pages. Each page shows some of the videos.
const PAGES: usize = 25;

/// The minimum view time of a play: the default of reports.
pub const PLAY_MS_MIN: u64 = 1_000;

/// The mean number of actions of a viewer after the first play: some ten events.
const ACTIONS_MEAN: f64 = 6.0;

/// The longest segment, in hundredths of a second.
const SEGMENT_MAX: u32 = 3_000;

/// The shortest segment, and the minimum distance of a jump and of the next pause from the last pause. Closer ones,
/// from viewers who act within milliseconds, look like the mistakes that the server corrects for real clients: echoes
/// and landings.
const SEGMENT_MIN: u32 = 50;

/// Browsers on pages with videos, the most frequent first.
pub const USER_AGENTS: [&str; 12] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
    "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
    "Mozilla/5.0 (Linux; Android 13; SM-A536B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 OPR/112.0.0.0",
];

/// Prefix sums of the popularity of videos: the second video has half of the first's popularity, the third a third.
static POPULARITY: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut sum = 0.0;
    let sums = (1..=VIDEOS).map(|rank| {
        sum += 1.0 / rank as f64;
        sum
    });
    sums.collect()
});

/// The expected reports of the server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// The number of sessions with enough view time.
    pub plays: u64,
    /// The view time of all plays, in milliseconds.
    pub view_ms: u64,
    /// The plays of each page, by its URL without the query.
    pub pages: BTreeMap<String, u64>,
    /// The plays of the most popular video.
    pub hottest: u64,
}

impl Tally {
    /// Adds another tally.
    pub fn add(&mut self, other: Self) {
        self.plays += other.plays;
        self.view_ms += other.view_ms;
        self.hottest += other.hottest;
        for (page, plays) in other.pages {
            *self.pages.entry(page).or_default() += plays;
        }
    }

    fn count(&mut self, viewing: &Viewing) {
        if PLAY_MS_MIN <= viewing.view_ms {
            self.plays += 1;
            self.view_ms += viewing.view_ms;
            self.hottest += u64::from(viewing.video == 0);
            *self.pages.entry(page(viewing.video)).or_default() += 1;
        }
    }
}

/// The identifier of the most popular video.
#[must_use]
pub fn hottest() -> String {
    identifier(0)
}

fn identifier(video: usize) -> String {
    format!("video-{video}")
}

fn page(video: usize) -> String {
    let page = video % PAGES;
    format!("https://site-{}.example/watch/{page}", page % 5)
}

/// The viewers behind one connection.
#[derive(Debug)]
pub struct Viewers {
    random: StdRng,
    key: String,
    // The number of the connection.
    number: usize,
    begun: u32,
    /// The expected reports of all ended sessions.
    pub tally: Tally,
}

/// One session of a viewer.
#[derive(Debug)]
pub struct Viewing {
    topic: String,
    video: usize,
    // In hundredths of a second, like all positions of clients.
    duration: u32,
    position: u32,
    // The position of the last pause, or past the end.
    paused_at: u32,
    playing: bool,
    // The player's clock, in milliseconds.
    clock_ms: u64,
    actions: u32,
    view_ms: u64,
}

/// The next messages of a viewer.
#[derive(Debug, Default)]
pub struct Messages {
    /// The payloads of events, in their order.
    pub events: Vec<String>,
    /// Whether the session ends after them.
    pub ends: bool,
}

impl Viewers {
    /// Creates the viewers of the connection with this number.
    #[must_use]
    pub fn new(seed: u64, number: usize, key: &str) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed.wrapping_mul(1 << 20).wrapping_add(number as u64)),
            key: key.to_owned(),
            number,
            begun: 0,
            tally: Tally::default(),
        }
    }

    /// Returns a mask for the frames of the connection.
    pub fn mask(&mut self) -> [u8; 4] {
        self.random.random()
    }

    /// Returns a browser for the connection.
    pub fn user_agent(&mut self) -> &'static str {
        // The smaller of two numbers: the first browsers are the most frequent.
        let (one, other) = (self.below(USER_AGENTS.len()), self.below(USER_AGENTS.len()));
        USER_AGENTS[one.min(other)]
    }

    /// Returns the time to the next event of a random process, in units of the mean interval.
    pub fn gap(&mut self) -> f64 {
        -f64::ln(1.0 - self.random.random::<f64>())
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.random_range(0..limit)
    }

    /// Begins a session.
    pub fn begin(&mut self) -> Viewing {
        let drawn = self.random.random::<f64>() * POPULARITY[VIDEOS - 1];
        let video = POPULARITY.partition_point(|sum| *sum <= drawn).min(VIDEOS - 1);
        self.begun += 1;
        let (number, begun, random) = (self.number, self.begun, self.random.next_u64());
        let topic = format!("session:{random:016x}-{number:04x}-{begun:012x}");
        let actions = (self.gap() * ACTIONS_MEAN).ceil() as u32;
        Viewing {
            topic,
            video,
            // Each video has its own duration, between one minute and half an hour.
            duration: 6_000 + (video as u32).wrapping_mul(7_919) % 174_000,
            position: 0,
            paused_at: u32::MAX,
            playing: false,
            // Clocks of browsers are off by up to an hour.
            clock_ms: 1_700_000_000_000 + self.random.random_range(0..3_600_000),
            actions,
            view_ms: 0,
        }
    }

    /// Returns the next messages of a session.
    pub fn act(&mut self, viewing: &mut Viewing) -> Messages {
        let mut messages = Messages::default();
        if viewing.actions == 0 {
            self.finish(viewing, &mut messages);
            return messages;
        }
        viewing.actions -= 1;
        match (viewing.playing, self.below(10)) {
            (false, _) => viewing.play(&mut messages),
            (true, 0..6) => {
                self.watch(viewing, &mut messages);
                let before = viewing.position;
                while viewing.position.abs_diff(before) < SEGMENT_MIN {
                    viewing.position = self.random.random_range(0..viewing.duration - SEGMENT_MAX);
                }
                if viewing.is_of_old_client() {
                    viewing.push("seeked", None, &mut messages);
                }
                viewing.play(&mut messages);
            }
            (true, 6..9) => self.watch(viewing, &mut messages),
            (true, _) => viewing.push("volumechange", None, &mut messages),
        }
        messages
    }

    /// Ends a session early or on time.
    pub fn finish(&mut self, viewing: &mut Viewing, messages: &mut Messages) {
        if viewing.playing {
            self.watch(viewing, messages);
        }
        messages.ends = true;
        self.tally.count(viewing);
    }

    /// Plays for a while, and pauses.
    fn watch(&mut self, viewing: &mut Viewing, messages: &mut Messages) {
        let left = viewing.duration - viewing.position;
        let mut length = left;
        if SEGMENT_MIN < left {
            let is_apart = |length: u32| {
                SEGMENT_MIN <= (viewing.position + length).abs_diff(viewing.paused_at)
            };
            let mut draw = || self.random.random_range(SEGMENT_MIN..SEGMENT_MAX).min(left);
            length = draw();
            while !is_apart(length) {
                length = draw();
            }
        }
        viewing.position += length;
        viewing.paused_at = viewing.position;
        viewing.clock_ms += u64::from(length) * 10;
        viewing.view_ms += u64::from(length) * 10;
        viewing.playing = false;
        viewing.push("pause", Some("to"), messages);
        viewing.clock_ms += 50;
        if viewing.position == viewing.duration {
            viewing.position = 0;
        }
    }

    /// Returns the payload of the session's join.
    #[must_use]
    pub fn join(&self, viewing: &Viewing) -> String {
        let Viewing { video, .. } = viewing;
        let (key, page) = (&self.key, page(*video));
        let metadata =
            format!(r#"{{"title":"Video {video}","course":{{"id":{},"lang":"en"}}}}"#, video % 40);
        if viewing.is_of_old_client() {
            let identifier = identifier(*video);
            format!(
                r#"{{"identifier":"{identifier}","metadata":{metadata},"session_data":{{"cohort":"b","plan":"pro"}},"source_url":"{page}?utm_source=mail","key":"{key}"}}"#
            )
        } else {
            format!(
                r#"{{"identifier":null,"metadata":{metadata},"source_url":"{page}?utm_source=mail#player","key":"{key}"}}"#
            )
        }
    }
}

impl Viewing {
    /// Returns the topic of the session's channel.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether the page has the older client, which sends timestamps, and positions as text: half of the pages have it.
    fn is_of_old_client(&self) -> bool {
        self.video.is_multiple_of(2)
    }

    fn play(&mut self, messages: &mut Messages) {
        self.clock_ms += 200;
        self.playing = true;
        self.push("play", Some("from"), messages);
    }

    fn push(&mut self, name: &str, position: Option<&str>, messages: &mut Messages) {
        // No two events of a session have the same time.
        self.clock_ms += 1;
        let seconds = |hundredths: u32| {
            let (seconds, rest) = (hundredths / 100, hundredths % 100);
            if self.is_of_old_client() {
                format!("\"{seconds}.{rest:02}\"")
            } else {
                format!("{seconds}.{rest:02}")
            }
        };
        let mut event = format!("{{\"name\":\"{name}\"");
        let mut member = |name: &str, value: &str| {
            // Writing to a text cannot fail.
            write!(event, ",\"{name}\":{value}").expect("a text");
        };
        if let Some(name) = position {
            member(name, &seconds(self.position));
            member("duration", &seconds(self.duration));
        }
        if self.is_of_old_client() {
            member("timestamp", &self.clock_ms.to_string());
        }
        event.push('}');
        messages.events.push(event);
    }
}
