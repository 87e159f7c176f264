// A <video> of an open page, operated as its viewer does.

import { within } from './eventually.mjs';

export class Player {
  constructor(page, id) {
    this.page = page;
    this.id = id;
  }

  /** Returns once pictures move: a seek before that would be lost. */
  play() {
    return this.#run('play', async (video) => {
      const playing = new Promise((resolve) => video.addEventListener('playing', resolve, { once: true }));
      await video.play();
      await playing;
    });
  }

  pause() {
    return this.#run('pause', async (video) => {
      const paused = new Promise((resolve) => video.addEventListener('pause', resolve, { once: true }));
      video.pause();
      await paused;
    });
  }

  seek(position) {
    return this.#run('seek', async (video, to) => {
      const seeked = new Promise((resolve) => video.addEventListener('seeked', resolve, { once: true }));
      // Early in a frame, so that the event comes before the next: @maveio/data reads the position in every frame,
      // and uses the last one as the position before a seek.
      await new Promise(requestAnimationFrame);
      video.currentTime = to;
      await seeked;
    }, position);
  }

  /** Waits until the video reaches `position`. */
  reach(position) {
    return this.#run(`reaching ${position} s`, async (video, end) => {
      while (video.currentTime < end) await new Promise(requestAnimationFrame);
    }, position);
  }

  /** The segments shown so far: a list of [from, to], in seconds of video. */
  shown() {
    return this.page.evaluate((id) => window.watches[id].shown(), this.id);
  }

  #run(what, action, argument) {
    const call = this.page.locator(`video#${this.id}`).evaluate(action, argument);
    return within(30_000, `video ${this.id}: ${what}`, call);
  }
}

/** The length of all segments, replays counted again. */
export function length(stretches) {
  return stretches.reduce((sum, [from, to]) => sum + to - from, 0);
}
