// The video, its heat strip and its retention curve, which move in step.

import { comparedRetention } from './charts/compared.js';
import { html } from './charts/draw.js';
import { heatStrip } from './charts/retention.js';

/** The stage of a video in `host`. Without a source, or if the browser cannot play it, only the charts show. */
export class Stage {
  #frame;
  #video = null;
  #button;
  #curve = null;
  #heat = null;

  constructor(host, { words, chartWords, locale }) {
    this.words = words;
    this.options = { words: chartWords, locale };
    this.#button = html('button', { type: 'button' });
    this.#button.addEventListener('click', () => this.#toggle());
    this.#frame = html('div', { class: 'vs-frame' });
    this.#frame.hidden = true;
    this.heat = html('div');
    this.curve = html('div');
    host.append(html('div', { class: 'vs-stage' }, this.#frame, this.heat, this.curve));
  }

  /** Plays `source` above the charts; null: no video. */
  load(source) {
    if (this.#video?.src === (source ?? undefined)) return;
    this.#video?.pause();
    this.#video?.removeAttribute('src');
    this.#video = null;
    this.#frame.hidden = true;
    if (!source) return;
    const video = html('video', { src: source, preload: 'metadata', playsinline: '', 'data-metrics-ignore': '', tabindex: -1 });
    this.#video = video;
    video.addEventListener('loadedmetadata', () => {
      if (video !== this.#video) return;
      this.#frame.replaceChildren(video, this.#button);
      this.#frame.hidden = false;
      this.#connect();
      this.#follow();
    });
    video.addEventListener('error', () => {
      if (video !== this.#video) return;
      this.load(null);
      this.#connect();
    });
    video.addEventListener('click', () => this.#toggle());
    for (const type of ['play', 'pause', 'seeked', 'timeupdate', 'ended']) video.addEventListener(type, () => this.#follow());
  }

  /** Shows a curve, or hides the charts: null. */
  show(curve) {
    this.heat.hidden = !curve;
    this.curve.hidden = !curve;
    if (!curve) return;
    const options = { ...this.options, flow: true, moments: true, onLayout: (layout) => this.#align(layout), onSeek: this.#seek };
    if (this.#curve) this.#curve.update(curve, options);
    else this.#curve = comparedRetention(this.curve, curve, options);
    if (this.#heat) this.#heat.update(curve, options);
    else this.#heat = heatStrip(this.heat, curve, options);
    this.#follow();
  }

  destroy() {
    this.load(null);
    this.#curve?.destroy();
    this.#heat?.destroy();
  }

  get #seek() {
    return this.#frame.hidden ? undefined : (position) => this.#seekTo(position);
  }

  // Charts get or lose the playhead when a video turns out to be playable or not.
  #connect() {
    for (const chart of [this.#curve, this.#heat]) chart?.update(chart.data, { onSeek: this.#seek });
  }

  #seekTo(position) {
    this.#video.currentTime = position / this.#perSecond;
    this.#curve?.moveTo(position);
    this.#heat?.moveTo(position);
  }

  // Of the positions of the charts: hundredths of the length, or seconds.
  get #perSecond() {
    return this.#curve?.data.isPercent ? 100 / this.#video.duration : 1;
  }

  #toggle() {
    if (this.#video.paused) this.#video.play().catch(() => {});
    else this.#video.pause();
  }

  // In each frame while it plays.
  #follow() {
    const video = this.#video;
    if (!video || this.#frame.hidden) return this.#moveTo(null);
    const isPlaying = !video.paused && !video.ended;
    const name = isPlaying ? this.words.pause : this.words.play;
    if (this.#button.textContent !== name) this.#button.textContent = name;
    if (!video.seeking) this.#moveTo(video.currentTime);
    if (isPlaying && !this.isFollowed) {
      this.isFollowed = true;
      requestAnimationFrame(() => {
        this.isFollowed = false;
        this.#follow();
      });
    }
  }

  #moveTo(seconds) {
    const position = seconds === null ? null : seconds * this.#perSecond;
    this.#curve?.moveTo(position);
    this.#heat?.moveTo(position);
  }

  // Video, strip and curve have the same time axis. The axis begins at the left in every language.
  #align({ left, right }) {
    for (const part of [this.#frame, this.heat]) {
      part.style.paddingLeft = `${left}px`;
      part.style.paddingRight = `${right}px`;
    }
  }
}
