// Random scripts of viewers: their actions on a video, and failures of the network and the server meanwhile.
//
// A script is a list of actions. Each waits for `wait` milliseconds and then performs `act`, one of `window.acts`
// (see page/viewer.mjs) or of the runner (see runner.mjs). People do far less in the same time.

import { lots } from '../../page/lots.mjs';

const SCRIPT_MS_MIN = 10_000;
const SCRIPT_MS_MAX = 20_000;
const WAIT_MS_MIN = 300;
const WAIT_MS_MAX = 2_700;
// Seeks stay this far from the end of the video, so that most scripts end it only on purpose.
const SEEK_SECONDS_MAX = 26;
const NEAR_END_SECONDS = 28.5;
// The time from there to the end, and a little longer.
const END_MS = 1_900;
const RATES = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2];
const STEPS = [-10, -5, -2, 5, 10];
const OTHER_SOURCE = '/other/video.webm';

// The weight of each action, by whether the video plays.
const WHILE_PLAYING = {
  pause: 6, seek: 5, step: 4, drag: 3, rate: 2, loop: 1, replay: 1, source: 1, reload: 1, cut: 1, restart: 1,
};
const WHILE_PAUSED = {
  play: 7, seek: 3, step: 2, chapter: 4, drag: 2, rate: 1, source: 1, reload: 1, cut: 1, restart: 1,
};
// A second one of these shows nothing new about a client.
const ONCE = ['loop', 'replay', 'source', 'reload', 'restart'];

/** The script of this seed: always the same. */
export function randomScript(seed) {
  return new Writer(lots(seed)).write();
}

class Writer {
  #actions = [];
  #milliseconds = 0;
  #isPlaying = false;
  #done = new Set();

  constructor(lot) {
    this.lot = lot;
  }

  write() {
    const length = this.#between(SCRIPT_MS_MIN, SCRIPT_MS_MAX);
    this.play();
    while (this.#milliseconds < length) this.#draw();
    if (this.#isPlaying && this.lot(3) === 0) this.#add('pause');
    this.#add(this.#one(['close', 'close', 'leave']));
    return this.#actions;
  }

  #draw() {
    const drawn = this.#isPlaying ? WHILE_PLAYING : WHILE_PAUSED;
    const weights = Object.entries(drawn).filter(([act]) => !this.#done.has(act));
    let left = this.lot(weights.reduce((sum, [, weight]) => sum + weight, 0));
    const [act] = weights.find(([, weight]) => (left -= weight) < 0);
    if (ONCE.includes(act)) this.#done.add(act);
    this[act]();
  }

  play() {
    this.#isPlaying = true;
    this.#add('play');
  }

  pause() {
    this.#isPlaying = false;
    this.#add('pause');
  }

  seek() {
    this.#add('seek', { to: this.#position() });
  }

  step() {
    this.#add('step', { by: this.#one(STEPS) });
  }

  chapter() {
    this.#isPlaying = true;
    this.#add('chapter', { to: this.#position() });
  }

  drag() {
    const [from, to] = [this.#position(), this.#position()];
    const [steps, every] = [this.#between(4, 15), this.#between(15, 60)];
    this.#add('drag', { from, to, steps, every, pausing: this.lot(2) === 0 });
    this.#milliseconds += steps * every;
  }

  rate() {
    this.#add('rate', { rate: this.#one(RATES) });
  }

  loop() {
    this.#add('loop', { on: true });
    this.#add('seek', { to: NEAR_END_SECONDS }, 0);
    this.#add('loop', { on: false }, END_MS + this.lot(WAIT_MS_MAX));
  }

  replay() {
    this.#add('seek', { to: NEAR_END_SECONDS });
    this.#add('play', {}, END_MS + this.lot(WAIT_MS_MAX));
  }

  source() {
    this.#isPlaying = this.lot(4) > 0;
    this.#add('source', { path: OTHER_SOURCE, playing: this.#isPlaying });
  }

  reload() {
    this.#isPlaying = true;
    this.#add('reload');
    this.#add('play');
  }

  cut() {
    this.#add('cut', { milliseconds: this.#between(1_000, 3_000) });
  }

  restart() {
    this.#add('restart', { milliseconds: this.#between(300, 1_500) });
  }

  #add(act, given = {}, wait = this.#between(WAIT_MS_MIN, WAIT_MS_MAX)) {
    this.#actions.push({ wait, act, ...given });
    this.#milliseconds += wait;
  }

  #position() {
    return this.lot(SEEK_SECONDS_MAX * 100) / 100;
  }

  #between(least, most) {
    return least + this.lot(most - least + 1);
  }

  #one(values) {
    return values[this.lot(values.length)];
  }
}
