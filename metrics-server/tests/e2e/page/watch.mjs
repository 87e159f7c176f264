// Samples the segments that a <video> shows, in the page and apart from the client under test: a segment runs from where
// playback begins to where it stops, and a seek begins a new one.

// The last sample before a loop wraps is less than this before the end, also on a busy machine.
const WRAP_SECONDS = 0.5;

// Each of these events may be the first one during playback.
const BEGINNINGS = ['play', 'playing', 'seeked', 'loadedmetadata'];

class Watch {
  #video;
  #segments = [];
  #open = null;
  #sources = 0;

  constructor(video) {
    this.#video = video;
    for (const type of BEGINNINGS) video.addEventListener(type, () => this.#begin());
    video.addEventListener('pause', () => this.end());
    video.addEventListener('seeking', () => this.#seek());
    video.addEventListener('emptied', () => this.#change());
    const tick = () => {
      this.#sample();
      requestAnimationFrame(tick);
    };
    this.#begin();
    tick();
  }

  /** The segments so far as [from, to] in seconds of video, including the open one. */
  shown() {
    return this.segments().map(({ from, to }) => [from, to]);
  }

  /** The same segments, with the times in Unix milliseconds at which they began and ended, and the index of the source. */
  segments() {
    this.#sample();
    return [...this.#segments, this.#open].filter((segment) => segment && segment.to > segment.from);
  }

  /** Ends the segment exactly here, before a caller changes the position or the source. */
  end() {
    this.#sample();
    this.#close();
  }

  #begin() {
    const { paused, seeking, readyState, currentTime } = this.#video;
    // `currentTime` is no position before the metadata is there.
    if (paused || seeking || readyState === 0) return;
    const now = Date.now();
    this.#open ??= { from: currentTime, to: currentTime, at: now, until: now, source: this.#sources };
  }

  // While the video seeks, `currentTime` is already the target.
  #sample() {
    const { seeking, readyState, currentTime } = this.#video;
    if (!this.#open || seeking || readyState === 0) return;
    Object.assign(this.#open, { to: currentTime, until: Date.now() });
  }

  // A loop wraps with a seek, between two samples.
  #seek() {
    const { loop, duration } = this.#video;
    if (this.#open && loop && duration - this.#open.to < WRAP_SECONDS) this.#open.to = duration;
    this.#close();
  }

  #change() {
    this.#close();
    this.#sources += 1;
  }

  #close() {
    if (this.#open) this.#segments.push(this.#open);
    this.#open = null;
  }
}

window.watches = {};
window.watch = (video) => (window.watches[video.id] = new Watch(video));
document.querySelectorAll('video').forEach(window.watch);
