//! Sessions like those of a busy site: the same ones for the same seed, ordered by time.
//!
//! The server's state machine makes each session from the events that a player would send, so that its row equals one
//! that a server writes. A session depends on its number alone, so that any number of threads can make them.

use std::ops::Range;
use std::sync::Arc;

use metrics_core::arrival::Arrival;
use metrics_core::key::SessionId;
use metrics_core::session::{Moment, Reach, Session, Writers};
use metrics_core::store::{Instance, SessionWrite, Subject};
use metrics_core::user_agent::{Browser, Device, Platform, UserAgentClass};
use metrics_core::{Action, ApiKey, PlayerEvent, Source, Video};
use serde_json::json;

/// The number of videos.
pub const VIDEOS: usize = 1_000;

/// The number of videos whose metadata names the course `knots`.
pub const KNOTS: usize = 50;

/// The key of the site.
pub const KEY: &str = "HDsj3NfKQTNwn5Ix9g+cfQ==";

/// The server instance that recorded the open sessions.
pub const INSTANCE: Instance = Instance(0x5eed_5eed);

/// The Zipf exponent of the videos' popularity: with 1,000 videos the first has a tenth of all sessions.
const ZIPF: f64 = 0.915;

/// Twelve months.
const DAYS: i64 = 365;

const HOUR_MS: i64 = 3_600_000;

/// The traffic of each hour of the day, in UTC: an audience in Europe.
const BUSY_HOURS: [f64; 24] = [
    0.35, 0.22, 0.15, 0.12, 0.12, 0.18, 0.35, 0.60, 0.80, 0.90, 0.95, 1.00, 1.10, 1.05, 1.00, 1.00,
    1.05, 1.15, 1.35, 1.60, 1.75, 1.60, 1.20, 0.70,
];

/// The traffic of each day of the week, from Monday on.
const BUSY_DAYS: [f64; 7] = [0.95, 0.90, 0.90, 0.95, 1.00, 1.20, 1.25];

/// The percentages of sessions with one segment, two, and so on: 2.5 on average.
const SEGMENTS: [f64; 6] = [30.0, 27.0, 20.0, 12.0, 7.0, 4.0];

/// User-agent classes, and the percentage of sessions of each.
const CLIENTS: [(Browser, Platform, Device, f64); 14] = [
    (Browser::Chrome, Platform::Android, Device::Mobile, 24.0),
    (Browser::Safari, Platform::Ios, Device::Mobile, 22.0),
    (Browser::Chrome, Platform::Windows, Device::Desktop, 21.0),
    (Browser::Edge, Platform::Windows, Device::Desktop, 8.0),
    (Browser::Safari, Platform::Mac, Device::Desktop, 7.0),
    (Browser::Chrome, Platform::Mac, Device::Desktop, 4.0),
    (Browser::Firefox, Platform::Windows, Device::Desktop, 4.0),
    (Browser::Safari, Platform::Ios, Device::Tablet, 2.0),
    (Browser::Firefox, Platform::Linux, Device::Desktop, 2.0),
    (Browser::Brave, Platform::Windows, Device::Desktop, 1.5),
    (Browser::Opera, Platform::Windows, Device::Desktop, 1.5),
    (Browser::Other, Platform::Other, Device::Other, 1.0),
    (Browser::Chrome, Platform::Android, Device::Tablet, 1.0),
    (Browser::Chrome, Platform::Linux, Device::Desktop, 1.0),
];

/// All sessions of a site, made on demand.
#[derive(Debug)]
pub struct Dataset {
    seed: u64,
    sessions: u64,
    until_ms: i64,
    key: ApiKey,
    titles: Vec<Title>,
    // Cumulative weights: of the videos' popularity, and of the hours' traffic.
    popularity: Vec<f64>,
    hours: Vec<f64>,
}

/// A video, and the pages that hold it.
#[derive(Debug)]
struct Title {
    video: Video,
    duration_ms: u32,
    pages: Vec<Source>,
    // Whether its pages use a client that reports everything, with timestamps: half of them do. The other half reports
    // `play` and `pause`.
    is_verbose: bool,
}

impl Dataset {
    /// `sessions` sessions in the twelve months up to `until_ms`.
    ///
    /// # Panics
    ///
    /// Never: its key is valid.
    #[must_use]
    pub fn new(seed: u64, sessions: u64, until_ms: i64) -> Self {
        let key = ApiKey::new(KEY).expect("a valid key");
        let titles = (0..VIDEOS).map(|rank| Title::new(seed, rank)).collect();
        let popularity = sums((1..=VIDEOS).map(|rank| (rank as f64).powf(-ZIPF)));
        let first = until_ms.div_euclid(HOUR_MS) - DAYS * 24;
        let hours = sums((0..DAYS * 24).map(|hour| {
            let hour = first + hour;
            let (day, hour) = (hour.div_euclid(24), hour.rem_euclid(24));
            // The epoch was a Thursday.
            BUSY_HOURS[hour as usize] * BUSY_DAYS[(day + 3).rem_euclid(7) as usize]
        }));
        Self { seed, sessions, until_ms, key, titles, popularity, hours }
    }

    /// The key of all sessions.
    #[must_use]
    pub fn key(&self) -> &ApiKey {
        &self.key
    }

    /// The sessions with these numbers, ordered by time.
    #[must_use]
    pub fn sessions(&self, numbers: Range<u64>) -> Arc<[SessionWrite]> {
        numbers.map(|number| self.session(number)).collect()
    }

    fn session(&self, number: u64) -> SessionWrite {
        let mut rng = Rng::new(self.seed, number);
        let started_at_ms = self.start_ms(number, rng.unit());
        let title = &self.titles[rng.among(&self.popularity)];
        let (browser, platform, device, _) = CLIENTS[rng.weighed(CLIENTS.map(|client| client.3))];
        let subject = Subject {
            key: self.key.clone(),
            video: title.video.clone(),
            source: Some(title.pages[rng.below(title.pages.len())].clone()),
            user_agent: UserAgentClass { browser, platform, device },
            session_data: rng.chance(0.05).then(|| {
                let (plan, variant) = (["free", "pro"], ["a", "b"]);
                format!(
                    "{{\"plan\":\"{}\",\"variant\":\"{}\"}}",
                    plan[rng.below(2)],
                    variant[rng.below(2)]
                )
            }),
            arrival: Arrival::default(),
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&rng.next().to_le_bytes());
        id[8..].copy_from_slice(&rng.next().to_le_bytes());
        let (session, writers, open) =
            Viewer::new(title, rng, started_at_ms, self.until_ms).watch();
        let reach =
            if open { Reach::Until(Moment::received(self.until_ms)) } else { Reach::LastEvent };
        SessionWrite {
            id: SessionId::from_bytes(id),
            subject: Arc::new(subject),
            expected: 0,
            stored: session.store_with(reach, &writers),
            watched_at: open.then_some(INSTANCE),
        }
    }

    /// A time, in Unix milliseconds, by which `sessions` sessions have started.
    #[must_use]
    pub fn reached_ms(&self, sessions: u64) -> i64 {
        self.start_ms(sessions.min(self.sessions.saturating_sub(1)), 0.0)
    }

    /// When the session with this number starts, in Unix milliseconds; `within` spreads it between its neighbours.
    fn start_ms(&self, number: u64, within: f64) -> i64 {
        let all = self.hours.last().copied().unwrap_or_default();
        let at = (number as f64 + within) / self.sessions as f64 * all;
        let hour = self.hours.partition_point(|sum| *sum <= at).min(self.hours.len() - 1);
        let before = if hour == 0 { 0.0 } else { self.hours[hour - 1] };
        let share = (at - before) / (self.hours[hour] - before);
        let first_ms = self.until_ms - DAYS * 24 * HOUR_MS;
        first_ms + hour as i64 * HOUR_MS + (share * HOUR_MS as f64) as i64
    }
}

impl Title {
    fn new(seed: u64, rank: usize) -> Self {
        let mut rng = Rng::new(!seed, rank as u64);
        let identifier = identifier(rank);
        let metadata = match rank % 20 {
            9 => Some(json!({"course": "knots", "lesson": rank / 20, "level": 1 + rank % 3})),
            4 => Some(json!({"course": "sails", "lesson": rank / 20})),
            _ => None,
        };
        let metadata = metadata.and_then(|it| it.as_object().cloned());
        let page =
            |path: &str| Source::parse(&format!("https://www.example.com/{path}{identifier}"));
        let pages = ["watch/", "course/", "blog/2024/"].into_iter().filter_map(page);
        let duration_s = (30.0_f64.ln() + rng.unit() * (3_600.0_f64 / 30.0).ln()).exp();
        Self {
            pages: pages.take(1 + rng.below(3)).collect(),
            video: Video::new(Some(identifier), metadata).expect("it has an identifier"),
            duration_ms: (duration_s * 1_000.0) as u32,
            is_verbose: rng.chance(0.5),
        }
    }
}

/// The identifier of the video that is less popular than `rank` others.
#[must_use]
pub fn identifier(rank: usize) -> String {
    format!("video-{rank:04}")
}

/// A viewer, and the events that the player reports.
struct Viewer<'a> {
    title: &'a Title,
    rng: Rng,
    now_ms: i64,
    until_ms: i64,
    // The error of the player's clock.
    off_ms: i64,
    salt: u64,
    session: Option<Session>,
    writers: Writers,
}

impl<'a> Viewer<'a> {
    fn new(title: &'a Title, mut rng: Rng, now_ms: i64, until_ms: i64) -> Self {
        let off_ms = rng.below(4_000) as i64 - 2_000;
        let salt = rng.next();
        let (session, writers) = (None, Writers::default());
        Self { title, rng, now_ms, until_ms, off_ms, salt, session, writers }
    }

    /// Watches, and returns the session, its inputs, and whether the video is still playing.
    fn watch(mut self) -> (Session, Writers, bool) {
        let duration_ms = self.title.duration_ms;
        let segments = 1 + self.rng.weighed(SEGMENTS);
        let starts_inside = self.rng.chance(0.15);
        let mut at_ms =
            if starts_inside { self.rng.below(duration_ms as usize / 2) as u32 } else { 0 };
        for segment in 1..=segments {
            if duration_ms < at_ms + 1_000 {
                at_ms = 0;
            }
            self.play(at_ms, segment == 1);
            let length_ms = self.length_ms(duration_ms - at_ms);
            if self.until_ms <= self.now_ms + i64::from(length_ms) {
                return (self.session.expect("it has begun"), self.writers, true);
            }
            self.now_ms += i64::from(length_ms);
            at_ms += length_ms;
            if segment < segments {
                self.pause(at_ms);
                at_ms = self.jump(at_ms);
            }
        }
        self.end(at_ms);
        (self.session.expect("it has begun"), self.writers, false)
    }

    /// The length of the next segment, at most the rest of the video.
    fn length_ms(&mut self, left_ms: u32) -> u32 {
        if self.rng.chance(0.2) {
            return left_ms.min(500 + self.rng.below(9_500) as u32);
        }
        if self.rng.chance(0.12) {
            return left_ms;
        }
        let share = self.rng.unit();
        left_ms.min(1_000 + (share * share * f64::from(left_ms)) as u32)
    }

    fn play(&mut self, at_ms: u32, first: bool) {
        self.emit(Action::Play { from: seconds(at_ms) });
        if !self.title.is_verbose {
            return;
        }
        self.now_ms += 60 + self.rng.below(if first { 900 } else { 120 }) as i64;
        self.emit(Action::Playing);
        if self.rng.chance(0.5) {
            self.emit(Action::Other { name: "canplaythrough".to_owned() });
        }
        if first && self.rng.chance(0.1) {
            self.emit(Action::FullscreenEnter);
        }
        if self.rng.chance(0.04) {
            self.emit(Action::RebufferingStart { from: None });
            self.now_ms += 100 + self.rng.below(4_000) as i64;
            self.emit(Action::RebufferingEnd);
        }
    }

    fn pause(&mut self, at_ms: u32) {
        self.emit(Action::Pause { to: seconds(at_ms) });
    }

    /// Resumes after a pause: at the same position, further on, or earlier.
    fn jump(&mut self, at_ms: u32) -> u32 {
        let duration_ms = self.title.duration_ms;
        if self.rng.chance(0.4) {
            self.now_ms += 1_000 + self.rng.below(60_000) as i64;
            return at_ms;
        }
        self.now_ms += 300;
        if self.title.is_verbose {
            self.emit(Action::Seeked);
            self.emit(Action::Other { name: "canplay".to_owned() });
        }
        if self.rng.chance(0.55) {
            return at_ms + self.rng.below(duration_ms as usize / 4) as u32;
        }
        at_ms.saturating_sub(self.rng.below(duration_ms as usize / 3) as u32)
    }

    fn end(&mut self, at_ms: u32) {
        if self.title.duration_ms <= at_ms || self.rng.chance(0.35) {
            self.pause(at_ms);
            if self.title.is_verbose && self.title.duration_ms <= at_ms {
                self.emit(Action::Other { name: "ended".to_owned() });
            }
        }
        // A closed page sends no event: its connection is gone.
        let at = Moment::received(self.now_ms + 40);
        let leaves = self.rng.chance(0.15);
        let session = self.session.as_mut().expect("it has begun");
        if if leaves { session.leave(at) } else { session.lose(at) } {
            self.writers.count_input(INSTANCE.0);
        }
    }

    fn emit(&mut self, action: Action) {
        let mut event =
            PlayerEvent::new(action).with_duration(f64::from(self.title.duration_ms) / 1_000.0);
        let mut at = Moment::received(self.now_ms + 30);
        if self.title.is_verbose {
            self.now_ms += 1;
            at.timestamp_ms = Some(self.now_ms + self.off_ms);
            event.timestamp_ms = at.timestamp_ms;
        }
        let event = event.check(self.salt).expect("positions are finite");
        let changed = match &mut self.session {
            Some(session) => session.apply(&event, at),
            None => {
                self.session = Session::begin(&event, Moment { received_ms: self.now_ms, ..at });
                true
            }
        };
        if changed {
            self.writers.count_input(INSTANCE.0);
        }
    }
}

/// A position as players report it, in hundredths of a second.
fn seconds(ms: u32) -> f64 {
    f64::from(ms / 10) / 100.0
}

/// The cumulative sums of `numbers`.
fn sums(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    numbers
        .scan(0.0, |sum, number| {
            *sum += number;
            Some(*sum)
        })
        .collect()
}

/// Pseudo-random numbers, the same on every machine and with every version of a library: `SplitMix64`.
#[derive(Debug)]
struct Rng(u64);

impl Rng {
    fn new(seed: u64, number: u64) -> Self {
        let mut rng = Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        Self(rng.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An integer in `[0, end)`.
    fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }

    fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// A random index of `sums`, weighted by the increase at the index.
    fn among(&mut self, sums: &[f64]) -> usize {
        let at = self.unit() * sums.last().copied().unwrap_or_default();
        sums.partition_point(|sum| *sum <= at).min(sums.len() - 1)
    }

    /// A random index of `weights`, by weight.
    fn weighed<const N: usize>(&mut self, weights: [f64; N]) -> usize {
        let mut at = self.unit() * weights.iter().sum::<f64>();
        weights
            .iter()
            .position(|weight| {
                at -= weight;
                at < 0.0
            })
            .unwrap_or(N - 1)
    }
}

#[cfg(test)]
mod tests {
    use metrics_core::interval::Segments;

    use super::*;

    const UNTIL_MS: i64 = 1_700_000_000_000;

    #[test]
    fn sessions_are_the_same_in_one_part_or_several_and_ordered_by_time() {
        let (one, other) = (Dataset::new(7, 300, UNTIL_MS), Dataset::new(7, 300, UNTIL_MS));
        let all = one.sessions(0..300);
        let parts = [0..100, 100..300].map(|part| other.sessions(part));
        for (session, again) in all.iter().zip(parts.iter().flat_map(|part| part.iter())) {
            assert_eq!((session.id, &session.stored), (again.id, &again.stored));
            assert_eq!(session.subject, again.subject);
        }
        assert!(all.is_sorted_by_key(|session| session.stored.started_at_ms));
        let year_ms = DAYS * 24 * HOUR_MS;
        let starts = all.iter().map(|session| session.stored.started_at_ms);
        assert!(starts.clone().all(|start| (UNTIL_MS - year_ms..=UNTIL_MS).contains(&start)));
        assert_ne!(all[0].id, Dataset::new(8, 300, UNTIL_MS).sessions(0..1)[0].id);
    }

    #[test]
    fn a_tenth_of_all_watch_the_first_video_and_sessions_have_one_to_six_segments() {
        let sessions = Dataset::new(1, 20_000, UNTIL_MS).sessions(0..20_000);
        let first = identifier(0);
        let is_first =
            |session: &&SessionWrite| session.subject.video.identifier() == Some(first.as_str());
        let of_first = sessions.iter().filter(is_first).count();
        assert!((1_800..=2_200).contains(&of_first), "{of_first}");

        let len = |session: &SessionWrite| {
            Segments::decode(&session.stored.segments).map(|segments| segments.len())
        };
        let lens: Vec<usize> = sessions.iter().map(len).collect::<Result<_, _>>().unwrap();
        let mean = lens.iter().sum::<usize>() as f64 / lens.len() as f64;
        assert!((2.2..=2.8).contains(&mean), "{mean}");
        assert!(lens.iter().all(|len| (1..=6).contains(len)));
    }

    #[test]
    fn some_videos_are_of_the_course_knots() {
        let dataset = Dataset::new(1, 1, UNTIL_MS);
        let of_knots = |title: &&Title| {
            title.video.metadata().is_some_and(|metadata| metadata.contains("\"knots\""))
        };
        assert_eq!(dataset.titles.iter().filter(of_knots).count(), KNOTS);
        assert!(dataset.titles.iter().all(|title| (1..=3).contains(&title.pages.len())));
    }
}
