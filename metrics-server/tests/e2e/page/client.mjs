// A page's own client on top of Phoenix's: the part that works with every version of it.

// Instead of 30 seconds, so that several fit into a test.
const HEARTBEAT_MS = 200;
const ANSWER_MS = 5_000;

export class Client {
  #Socket;
  #transports;
  #messages = [];
  // How often the channel was joined, over all connections.
  joins = 0;

  /** `transports` maps the names that `join` accepts. */
  constructor(Socket, transports = {}) {
    this.#Socket = Socket;
    this.#transports = transports;
  }

  /** Connects and joins one session, or that of `topic`; resolves with the join's [status, response]. */
  join(url, params, { transport, ...options }, topic = `session:${crypto.randomUUID()}`) {
    const { source_url, key } = params;
    const chosen = transport ? { transport: this.#transports[transport] } : {};
    this.socket = new this.#Socket(url, { params: { source_url, key }, heartbeatIntervalMs: HEARTBEAT_MS, ...chosen, ...options });
    this.socket.onMessage((message) => this.#messages.push(message));
    this.socket.connect();
    this.channel = this.socket.channel(topic, params);
    return answer(this.channel.join().receive('ok', () => (this.joins += 1)));
  }

  push(payload) {
    return answer(this.channel.push('event', payload));
  }

  /** Leaves; resolves with the reply and the `phx_close` that the server sends after it. */
  async leave() {
    const { topic } = this.channel;
    const reply = await answer(this.channel.leave());
    const closed = await this.#arrived((message) => message.topic === topic && message.event === 'phx_close', 1);
    return { reply, closed: closed[0] };
  }

  /** The payloads of the first `count` answers to heartbeats. */
  async heartbeats(count) {
    const answers = await this.#arrived(({ topic }) => topic === 'phoenix', count);
    return answers.map((message) => message.payload);
  }

  async #arrived(matches, count) {
    const end = performance.now() + ANSWER_MS;
    for (;;) {
      const found = this.#messages.filter(matches);
      if (found.length >= count) return found.slice(0, count);
      if (performance.now() > end) throw new Error(`${found.length} of ${count} messages after ${ANSWER_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function answer(push) {
  return new Promise((resolve) => {
    for (const status of ['ok', 'error', 'timeout']) push.receive(status, (response) => resolve([status, response]));
  });
}
