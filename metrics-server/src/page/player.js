// The two videos and their controls. The scrubber is as wide as the chart below it, so positions line up.

import { clock } from './words.js';

const element = (id) => document.getElementById(id);

/** Calls `onChange` with `moved` when the position changes, and with `changed` when a segment begins or ends. */
export class Player {
  #videos = ['tide', 'dusk'].map(element);
  #video = null;
  #isDragged = false;

  constructor(onChange) {
    this.onChange = onChange;
    for (const video of this.#videos) this.#prepare(video);
    for (const part of element('player').querySelectorAll('[hidden]:not(video)')) part.hidden = false;
    element('play').addEventListener('click', () => this.toggle());
    element('sound').addEventListener('click', () => this.#toggleSound());
    const scrub = element('scrub');
    scrub.addEventListener('input', () => {
      this.#isDragged = true;
      this.#show(Number(scrub.value));
    });
    // Once, on release: each position on the way would count as a segment.
    scrub.addEventListener('change', () => {
      this.#isDragged = false;
      this.seek(Number(scrub.value));
    });
  }

  /** Null if the selected video is not one of the two. */
  get video() {
    return this.#video;
  }

  get isPlaying() {
    return Boolean(this.#video && !this.#video.paused && !this.#video.ended);
  }

  show(id) {
    for (const video of this.#videos) {
      if (video.id !== id) video.pause();
      video.hidden = video.id !== id;
    }
    this.#video = this.#videos.find((video) => video.id === id) ?? null;
    element('player').hidden = !this.#video;
    if (!this.#video) return;
    this.#video.preload = 'metadata';
    this.#draw();
  }

  toggle() {
    // The video itself shows errors.
    if (this.isPlaying) this.#video.pause();
    else this.#video.play().catch(() => {});
  }

  seek(position) {
    if (!this.#video) return;
    this.#video.currentTime = position;
    this.#draw();
  }

  #prepare(video) {
    // Native controls are for browsers without scripts.
    video.controls = false;
    video.addEventListener('click', () => this.toggle());
    for (const type of ['play', 'pause', 'seeked', 'ended']) {
      video.addEventListener(type, () => {
        if (video === this.#video) this.onChange('changed');
      });
    }
    for (const type of ['loadedmetadata', 'timeupdate', 'seeked', 'play', 'pause', 'ended']) {
      video.addEventListener(type, () => {
        if (video === this.#video) this.#draw();
      });
    }
    video.addEventListener('playing', () => this.#follow(video));
  }

  // Draws the position in each frame during playback.
  #follow(video) {
    if (video !== this.#video || video.paused || video.ended) return;
    this.#draw();
    requestAnimationFrame(() => this.#follow(video));
  }

  #toggleSound() {
    const muted = !this.#video.muted;
    for (const video of this.#videos) video.muted = muted;
    element('sound').setAttribute('aria-pressed', String(!muted));
  }

  #draw() {
    const { currentTime, duration } = this.#video;
    const length = duration || 1;
    const play = element('play');
    play.className = this.isPlaying ? 'pause' : '';
    play.textContent = this.isPlaying ? 'Pause' : 'Play';
    element('length').textContent = clock(duration || 0);
    const scrub = element('scrub');
    scrub.max = length;
    if (!this.#isDragged) {
      scrub.value = currentTime;
      this.#show(currentTime);
    }
    this.#drawPlayed(length);
  }

  #show(position) {
    element('position').textContent = clock(position);
    element('scrub').setAttribute('aria-valuetext', `${clock(position)} of ${clock(this.#video.duration || 0)}`);
    this.onChange('moved', position);
  }

  // The ranges played on this page.
  #drawPlayed(length) {
    const { played } = this.#video;
    let path = '';
    for (let i = 0; i < played.length; i++) path += `M${played.start(i)} 0H${played.end(i)}V1H${played.start(i)}z`;
    const drawing = element('played');
    drawing.setAttribute('viewBox', `0 0 ${length} 1`);
    drawing.setAttribute('preserveAspectRatio', 'none');
    let shape = drawing.firstChild;
    if (!shape) shape = drawing.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'path'));
    if (shape.getAttribute('d') !== path) shape.setAttribute('d', path);
  }
}
