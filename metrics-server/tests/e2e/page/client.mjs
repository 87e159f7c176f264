// A page's own client on top of Phoenix's, with what its generations have in common.

// Instead of 30 seconds, so that a test sees some.
const HEARTBEAT_MS = 200;
const ANSWER_MS = 5_000;

export class Client {
  #Socket;
  #messages = [];

  constructor(Socket) {
    this.#Socket = Socket;
  }

  /** Connects and joins one session; resolves with the join's [status, response]. */
  join(url, params, options) {
    const { source_url, key } = params;
    this.socket = new this.#Socket(url, { params: { source_url, key }, heartbeatIntervalMs: HEARTBEAT_MS, ...options });
    this.socket.onMessage((message) => this.#messages.push(message));
    this.socket.connect();
    this.channel = this.socket.channel(`session:${crypto.randomUUID()}`, params);
    return answer(this.channel.join());
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
