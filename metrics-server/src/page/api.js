// The page's requests: one place that sends them, ends superseded ones, and makes sentences of errors.

/** The server's URL. The page's own may lack the final slash. */
export const ROOT = new URL('../', import.meta.url);

const ANSWER_MS_MAX = 30_000; // The server's own timeout of a report.
// Of a share link.
const TOKEN = new URLSearchParams(location.search).get('token');
const authorization = TOKEN ? { authorization: `Bearer ${TOKEN}` } : {};

/** An error whose message is a sentence for people. `cause` is the server's code, or `offline`. */
export class ApiError extends Error {
  constructor(message, cause, status) {
    super(message, { cause });
    this.status = status;
  }
}

export class Api {
  #t;

  constructor(t) {
    this.#t = t;
  }

  /** Posts JSON to `api/v1/<path>`. */
  ask = (path, body, signal) => this.#send('POST', `api/v1/${path}`, body, signal);

  get(path, signal) {
    return this.#send('GET', path, undefined, signal);
  }

  send(method, path, body) {
    return this.#send(method, path, body);
  }

  /** The address of `api/v1/<path>`, with parameters in JSON where they are no texts. */
  address(path, parameters = {}) {
    const url = new URL(`api/v1/${path}`, ROOT);
    for (const [name, value] of Object.entries({ ...parameters, ...(TOKEN ? { token: TOKEN } : {}) })) {
      url.searchParams.set(name, typeof value === 'string' ? value : JSON.stringify(value));
    }
    return url;
  }

  async #send(method, path, body, signal) {
    const ends = [AbortSignal.timeout(ANSWER_MS_MAX), ...(signal ? [signal] : [])];
    const response = await fetch(new URL(path, ROOT), {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...authorization },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any(ends),
    }).catch((error) => {
      if (signal?.aborted) throw error;
      throw new ApiError(this.#t('error_offline'), 'offline');
    });
    const text = await response.text().catch((error) => {
      if (signal?.aborted) throw error;
      throw new ApiError(this.#t('error_offline'), 'offline');
    });
    const answer = parsed(text);
    if (!response.ok) throw new ApiError(this.#sentence(response.status, answer?.error), answer?.code, response.status);
    return answer ?? {};
  }

  #sentence(status, error) {
    if (status === 401) return this.#t('error_sign_in');
    if (status === 403) return this.#t('error_forbidden');
    if (status === 429 || status === 503) return this.#t('error_busy');
    return this.#t('error_server', { error: error ?? String(status) });
  }
}

/** Keeps one request under way: each new one ends the one before it. */
export class Latest {
  #controller = new AbortController();

  /** Calls `ask` with a signal. Resolves with `[answer]`, or with nothing if another call superseded this one. */
  async run(ask) {
    this.stop();
    const { signal } = (this.#controller = new AbortController());
    try {
      const answer = await ask(signal);
      return signal.aborted ? [] : [answer];
    } catch (error) {
      if (signal.aborted) return [];
      throw error;
    }
  }

  stop() {
    this.#controller.abort();
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
