// A panel: a heading and an answer. Until there is an answer to its question, it shows dashes; an answer to another
// question is never shown under it, and an error stands where the answer would.

import { Latest } from './api.js';
import { focusKeeper, h } from './dom.js';

let ids = 0;

export class Panel {
  #latest = new Latest();
  #asked = null;
  #shown = null;
  #refocus = null;

  /** `{ title, name, heading }`: `title` is left out for panels whose content has headings of its own. */
  constructor(t, { title, name, tools = [] }) {
    this.#t = t;
    const id = `panel-${++ids}`;
    this.heading = title ? h('h2', { id }, title) : null;
    this.tools = h('div', { class: 'tools' }, tools);
    this.body = h('div', { class: 'body' });
    this.fault = h('div', { class: 'fault', role: 'status', hidden: true });
    const head = title ? h('div', { class: 'head' }, this.heading, this.tools) : null;
    this.element = h('section', { class: `panel ${name} waiting`, ...(title ? { 'aria-labelledby': id } : {}) }, head, this.fault, this.body);
  }

  #t;

  /**
   * Asks a question, named by `question`, and shows its answer. `isRefresh` keeps an answer to the same question on
   * the screen until there is a new one. Resolves with the answer, if it is shown.
   */
  async load(question, ask, show) {
    const name = JSON.stringify(question);
    if (this.#shown !== name) this.wait();
    this.#asked = name;
    try {
      const [answer] = await this.#latest.run(ask);
      if (answer === undefined) return undefined;
      this.fault.hidden = true;
      this.element.classList.remove('waiting', 'failed');
      this.#shown = name;
      const refocus = this.#refocus ?? focusKeeper(this.body);
      this.#refocus = null;
      show(answer);
      refocus();
      return answer;
    } catch (error) {
      this.fail(error, () => {
        if (this.#asked === name) this.load(question, ask, show);
      });
      return undefined;
    }
  }

  /** Shows dashes instead of an earlier answer. */
  wait() {
    this.#shown = null;
    this.fault.hidden = true;
    // A hidden element loses the focus.
    if (this.body.contains(document.activeElement)) this.#refocus = focusKeeper(this.body);
    this.element.classList.remove('failed');
    this.element.classList.add('waiting');
  }

  fail(error, retry) {
    const isStale = !this.element.classList.contains('waiting');
    const again = h('button', { type: 'button', on: { click: retry } }, this.#t('try_again'));
    this.fault.replaceChildren(h('p', {}, isStale ? `${error.message} ${this.#t('stale')}` : error.message), again);
    this.fault.hidden = false;
    this.element.classList.add('failed');
  }

  stop() {
    this.#latest.stop();
  }
}
