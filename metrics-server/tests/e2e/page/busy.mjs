// A year of a busy site as NDJSON for `import sessions`: the same sessions for the same time and seed.

import { lots } from './lots.mjs';

const DAY_MS = 86_400_000;
const DAYS = 364;
const SEED = 18;

const SUBJECTS = ['Getting started', 'Product tour', 'Weekly webinar', 'Release notes', 'Customer story', 'Tips and tricks', 'Behind the scenes', 'Workshop', 'Interview', 'Launch film'];
// Titles of other scripts, and one that is longer than any column.
const TITLES = [
  'Launch film',
  'مرحبا بكم في الدورة الأولى',
  '🎬 Trailer 🚀',
  'שיעור ראשון: היכרות',
  '新製品のご紹介',
  'The complete and unabridged recording of the annual general meeting, with questions, answers, the break for lunch and the walk in the garden',
  'Résumé & <b>mark-up</b> "quoted"',
];
const DURATIONS = [6, 30, 45, 60, 90, 142, 180, 240, 420, 600, 1_200, 2_700, 3_600];
const PAGES = ['https://example.com/', 'https://example.com/pricing', 'https://example.com/docs/start', 'https://example.com/blog/launch', 'https://learn.example.org/course/1', 'https://learn.example.org/course/2', 'https://shop.example.net/products/lamp', 'https://example.com/about', 'https://example.com/careers', 'https://learn.example.org/library'];
const CLIENTS = [
  ['chrome', 'windows', 'desktop'],
  ['chrome', 'android', 'mobile'],
  ['safari', 'ios', 'mobile'],
  ['safari', 'mac', 'desktop'],
  ['chrome', 'mac', 'desktop'],
  ['firefox', 'linux', 'desktop'],
  ['edge', 'windows', 'desktop'],
  ['safari', 'ios', 'tablet'],
  ['firefox', 'windows', 'desktop'],
];
const LANGUAGES = ['en', 'en', 'en', 'de', 'nl', 'fr', null, null];

/** The videos, the most popular first: `{identifier, title, duration}`. */
export function busyVideos(count) {
  const lot = lots(SEED);
  return Array.from({ length: count }, (_, index) => ({
    identifier: `video-${String(index + 1).padStart(3, '0')}`,
    title: TITLES[index] ?? `${SUBJECTS[lot(SUBJECTS.length)]} ${index + 1}`,
    duration: DURATIONS[lot(DURATIONS.length)],
  }));
}

/** The lines of `sessions` sessions of `videos` videos in the year before `now`, sorted by video and start. */
export function busyLines({ now, key, sessions = 10_000, videos = 200 }) {
  const lot = lots(SEED + 1);
  // The square of an even distribution: few videos have most sessions.
  const skewed = (end) => Math.floor((lot(10_000) / 10_000) ** 2.2 * end);
  const all = busyVideos(videos).map((video) => ({ ...video, rows: [] }));
  for (let session = 0; session < sessions; session++) {
    const video = all[session < videos ? session : skewed(videos)];
    video.rows.push(sessionOf(video, now - momentsAgo(lot), lot, skewed, session));
  }
  return all.flatMap(({ rows }) => rows.sort((a, b) => (a.started_at < b.started_at ? -1 : 1)).map((row) => JSON.stringify({ ...row, key })));
}

// More in recent months, fewer at weekends and at night.
function momentsAgo(lot) {
  for (;;) {
    const days = Math.floor((1 - Math.sqrt(lot(100_000) / 100_000)) * DAYS * 1.3) % DAYS;
    const hour = lot(24);
    const isQuiet = days % 7 > 4;
    if (lot(100) < (isQuiet ? 35 : 100) * (hour < 7 ? 0.2 : 1)) return days * DAY_MS + hour * 3_600_000 + lot(3_600_000) + 120_000;
  }
}

function sessionOf({ identifier, title, duration }, startedAt, lot, skewed, session) {
  const [browser, platform, device] = CLIENTS[skewed(CLIENTS.length)];
  const segments = segmentsOf(duration, lot);
  const isSlow = device === 'mobile' || lot(6) === 0;
  const rebufferings = isSlow && lot(4) === 0 ? 1 + lot(3) : 0;
  const shown = segments.reduce((sum, [from, to]) => sum + to - from, 0);
  return {
    id: `busy-${session}`,
    started_at: new Date(startedAt).toISOString(),
    identifier,
    metadata: { title, course: `course-${identifier.charCodeAt(7) % 5}` },
    source: PAGES[skewed(PAGES.length)],
    browser,
    platform,
    device,
    duration,
    segments,
    startup_time: Math.round((0.2 + (lot(1_000) / 1_000) ** 3 * (isSlow ? 6 : 2)) * 1_000) / 1_000,
    rebufferings,
    rebuffering_time: rebufferings * (0.5 + lot(30) / 10),
    failures: lot(browser === 'firefox' ? 20 : 90) === 0 ? 1 : 0,
    seeks: segments.length - 1,
    language: shown > 1 ? LANGUAGES[lot(LANGUAGES.length)] : null,
  };
}

// Viewers leave early, at the middle, or stay; some replay a part or skip one.
function segmentsOf(duration, lot) {
  const stage = [0.05, 0.15, 0.3, 0.5, 0.75, 1, 1, 1][lot(8)];
  const share = stage * (stage === 1 ? 0.93 + lot(8) / 100 : 0.7 + lot(31) / 100);
  const end = Math.max(1, Math.round(share * duration * 10) / 10);
  const middle = Math.round(duration * 3) / 10;
  if (lot(5) === 0 && middle + 2 < end) return [[0, end], [middle, middle + 2]];
  if (lot(7) === 0 && middle + 2 < end) return [[0, middle], [middle + 2, end]];
  return [[0, end]];
}
