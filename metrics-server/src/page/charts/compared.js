// A retention curve beside another one: of another period, device, page or video.

import { px, svg } from './draw.js';
import { condense } from './maths.js';
import { Retention } from './retention.js';
import { numberText } from './text.js';

const STEP_PX = 2; // Narrower steps are indistinguishable.

class Compared extends Retention {
  get #other() {
    return this.data.compare?.curve;
  }

  otherShares() {
    return this.#other?.steps.map(({ viewers }) => viewers / this.#other.sessions) ?? [];
  }

  // By share of its length, which may differ.
  paintOther() {
    if (!this.#other) return [];
    const { steps, sessions, length } = this.#other;
    const x = (position) => px(this.left + (position / length) * (this.right - this.left));
    const joined = condense(steps, (this.right - this.left) / STEP_PX);
    const tops = joined.map((it) => `V${this.y(it.viewers / sessions)}H${x(it.to)}`).join('');
    this.drawing.append(svg('path', { class: 'mc-before', d: `M${x(0)} ${this.y(joined[0].viewers / sessions)}${tops}` }));
    return [['mc-before', this.data.compare.name]];
  }

  // The share of viewers at the middle of a step, in parts of the length.
  #shareAt({ from, to }) {
    const place = (from + to) / 2 / this.data.length;
    const { steps, sessions, length } = this.#other;
    return (steps.find((it) => place * length < it.to) ?? steps.at(-1)).viewers / sessions;
  }

  otherTexts(step) {
    return this.#other ? [`${this.data.compare.name} ${this.share(this.#shareAt(step))}`] : [];
  }

  otherCells(step) {
    if (!this.#other) return [];
    if (!step) return [this.data.compare.name, this.words.points];
    const share = this.#shareAt(step);
    const points = (step.viewers / this.data.sessions - share) * 100;
    return [this.share(share), numberText(points, this.options.locale, { signDisplay: 'exceptZero', maximumFractionDigits: 0 })];
  }
}

/** A retention curve, with a dashed one if its data have `compare`: `{ name, curve }`, of which the curve has sessions. */
export const comparedRetention = (element, data, options) => new Compared(element, 'mc-retention').start(data, options);
