// Records the messages of pages through proxies and the steps of a test, to find the cause of a wrong count.

export class Trace {
  #start = performance.now();
  #lines = [];

  constructor(proxies) {
    for (const [number, proxy] of [...new Set(proxies)].entries()) {
      proxy.record = ({ kind, socket, text = '' }) => this.#add(`proxy ${number} ${kind} ${socket ?? ''}`, text);
    }
  }

  /** Notes an action of the test; it belongs to the sessions of `identifiers`, or to all. */
  note(text, identifiers) {
    this.#add(text, '', identifiers);
  }

  /** The lines of the only session of `identifier`, in order. */
  of(identifier) {
    // A batch names the identifier as well; a message of a websocket only the topic of its join.
    const join = this.#lines.find(({ text }) => text.includes('"phx_join"') && text.includes(`"${identifier}"`));
    const topic = /"session:[^"]+"/.exec(join?.text)?.[0];
    const isOf = ({ text, identifiers }) =>
      text ? text.includes(`"${identifier}"`) || (topic && text.includes(topic)) : identifiers?.includes(identifier) ?? true;
    return this.#lines.filter((line) => isOf(line)).map(({ at, what, text }) => `${at} ${what} ${text}`);
  }

  #add(what, text, identifiers) {
    this.#lines.push({ at: Math.round(performance.now() - this.#start), what, text, identifiers });
  }
}
