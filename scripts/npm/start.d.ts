export interface StartOptions {
  /** The address of the server, with its path. */
  server: string;
  /** The API key. Without it, the options of `monitor` name one. */
  key?: string;
  /** Seconds between reports while a video plays. Default: reports follow pauses and jumps, and every 15 s. */
  live?: number;
  /** Measures only media that `monitor` is called for. */
  manual?: boolean;
  /** How much of the page's address is sent: `path` (the default), `host`, `none`, or patterns of paths. */
  page?: string;
}

/** Measures the media of the page. Call it in the browser, once: every later call returns what the first has started. */
export function start(options: StartOptions): Metrics;

// Nothing above is exported but what says so.
export {};
