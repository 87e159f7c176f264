// Simulated media, exact to the millisecond, for a page with more videos than a browser can decode.

import { lots } from './lots.mjs';

// The replies to heartbeats that have reached the page. A tool that observes its network sees them earlier.
let replies = 0;
window.heartbeatReplies = () => replies;
window.WebSocket = class extends WebSocket {
  constructor(...args) {
    super(...args);
    this.addEventListener('message', ({ data }) => (replies += JSON.parse(data)[2] === 'phoenix'));
  }
};

export class Media {
  // The view time, in milliseconds.
  shown = 0;

  constructor(identifier) {
    this.identifier = identifier;
    const members = { paused: true, ended: false, seeking: false, currentTime: 0, duration: 600, readyState: 4 };
    // The rate is 0, so that the client cannot extrapolate the position from the elapsed time.
    this.element = Object.assign(document.createElement('div'), members, { playbackRate: 0, autoplay: false });
  }

  dispatch(...types) {
    for (const type of types) this.element.dispatchEvent(new Event(type));
  }

  play() {
    this.element.paused = false;
    this.dispatch('play', 'playing');
  }

  pause() {
    this.element.paused = true;
    this.dispatch('pause');
  }

  seek(position) {
    Object.assign(this.element, { seeking: true, currentTime: position });
    this.dispatch('seeking');
    this.element.seeking = false;
    this.dispatch('seeked');
  }

  advance(milliseconds) {
    this.element.currentTime = Math.round(this.element.currentTime * 1000 + milliseconds) / 1000;
    this.shown += milliseconds;
    this.dispatch('timeupdate');
  }
}

let halted = false;
const media = [];

/** Starts a session for each identifier; their viewers act at random until `halt`. */
window.view = (identifiers, seed) => {
  for (const [index, identifier] of identifiers.entries()) {
    const one = new Media(identifier);
    media.push(one);
    one.stop = window.metrics.monitor(one.element, { identifier, metadata: { of: 'loss' } });
    one.play();
    watch(one, lots(seed + index));
  }
};

async function watch(one, lot) {
  for (;;) {
    // Faster than viewers, but a closing page can send 64 KiB at once, and the server accepts up to 4 times the time.
    const milliseconds = 50 + lot(500);
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    if (halted) return;
    one.advance(1 + lot(3 * milliseconds));
    const what = lot(4);
    if (what === 0) one.seek(lot(500_000) / 1000);
    if (what === 1) one.pause();
    if (what === 1) one.play();
  }
}

/** Stops all playback. Returns the view time of each identifier, in milliseconds. */
window.halt = () => {
  halted = true;
  return Object.fromEntries(media.map(({ identifier, shown }) => [identifier, shown]));
};

/** Ends all sessions by the page's own call. */
window.stop = () => media.forEach(({ stop }) => stop());
