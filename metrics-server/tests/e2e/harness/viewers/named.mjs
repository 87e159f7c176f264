// Scripts of viewers that do one thing each, and the errors of clients that do not report all of it.

// Where the viewer goes on, far from the start and the end.
const CHAPTER = 18;
const NEAR_END = 28;
const CUT_MS = 2_000;
const KILLED_MS = 500;
// Phoenix connects 1 s after it lost its websocket, and 5 s after that.
const RECONNECTED_MS = 7_500;

const then = (wait, act, given) => ({ wait, act, ...given });
const play = then(300, 'play');
const pauseAfter = (milliseconds) => then(milliseconds, 'pause');
const close = then(600, 'close');
const chapter = [play, pauseAfter(2_500), then(600, 'chapter', { to: CHAPTER })];
const slider = (pausing) => then(2_500, 'drag', { from: 25, to: CHAPTER, steps: 10, every: 31, pausing });

export const NAMED_SCRIPTS = {
  'play 4 s, pause, close': [play, pauseAfter(4_000), close],
  'play 4 s, close': [play, then(4_000, 'close')],
  'seek while playing': [play, then(2_500, 'seek', { to: CHAPTER }), pauseAfter(3_000), close],
  'seek back 5 s while playing': [
    then(0, 'seek', { to: 6 }), play, then(2_500, 'step', { by: -5 }), pauseAfter(3_000), close,
  ],
  'paused, seek + play (chapter), pause': [...chapter, pauseAfter(3_000), close],
  'paused, seek + play, close': [...chapter, then(3_000, 'close')],
  'paused, seek, 1 s later play, pause': [
    play, pauseAfter(2_500), then(600, 'seek', { to: CHAPTER }), then(1_000, 'play'), pauseAfter(3_000), close,
  ],
  'slider drag as Chrome does it': [play, slider(true), pauseAfter(3_000), close],
  'slider drag without pausing': [play, slider(false), pauseAfter(3_000), close],
  'rate 2 for 4 s': [play, then(2_000, 'rate', { rate: 2 }), pauseAfter(4_000), close],
  'loop, two wraps': [
    then(0, 'loop', { on: true }), then(300, 'seek', { to: NEAR_END }), play, then(3_000, 'seek', { to: NEAR_END }),
    pauseAfter(3_000), close,
  ],
  'to the end, again from 0': [then(0, 'seek', { to: NEAR_END }), play, then(2_600, 'play'), pauseAfter(2_500), close],
  'page busy for 0.7 s': [play, then(2_500, 'busy', { milliseconds: 700 }), pauseAfter(3_000), close],
  'next source while playing': [
    play, then(2_500, 'source', { path: '/other/video.webm', playing: true }), pauseAfter(3_000), close,
  ],
  // 0.1.5 reports a position below 1 s as 0.
  'pause and play within the first second': [play, pauseAfter(700), then(600, 'play'), pauseAfter(2_500), close],
  'connection lost for 2 s': [play, then(2_000, 'cut', { milliseconds: CUT_MS }), pauseAfter(RECONNECTED_MS), close],
  'server killed': [play, then(2_000, 'restart', { milliseconds: KILLED_MS }), pauseAfter(RECONNECTED_MS), close],
  'paused long after a chapter': [...chapter, pauseAfter(3_000), then(5_000, 'close')],
};

/**
 * The least and the greatest error of a named script, by the client, where the client does not report playback:
 *
 * - 0.1.5 takes a step of more than 0.5 s between two `timeupdate`s for a jump, and sends nothing until the next `playing`;
 * - after a chapter link it sends no `pause`: the segment runs on while the page stays open;
 * - @maveio/data sends no `pause` when the source changes;
 * - both lose up to 0.25 s at each jump: 0.1.5 before it, @maveio/data after it.
 */
export const UNREPORTED = {
  m015: {
    'paused, seek + play (chapter), pause': [-0.5, 1.5],
    'rate 2 for 4 s': [-9, 0.5],
    'loop, two wraps': [-0.75, 0.5],
    'page busy for 0.7 s': [-4.5, 0.5],
    'paused long after a chapter': [-0.5, 6],
  },
  d011: {
    'loop, two wraps': [-0.75, 0.5],
    'next source while playing': [-3, 0.5],
  },
};
