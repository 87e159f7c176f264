// Types of /metrics.js, which sets `window.metrics`, and of /metrics.mjs, which exports it.

export interface Options {
  /** What the video is called in reports. Default: `data-metrics-id`, or else the address of the media. */
  identifier?: string | number;
  /** What describes the video, over what its other `data-metrics-` attributes say. */
  metadata?: Record<string, unknown>;
  /** Describes the session, over its `data-metrics-session-` attributes. */
  sessionData?: Record<string, unknown>;
  /** The API key, if the script was given none. */
  key?: string;
}

/** Ends what `monitor` began. */
export type Stop = () => void;

/** Measures a media element, wherever it is, from now on; instead of what its attributes say. */
export function monitor(media: HTMLMediaElement, options?: Options): Stop;

export interface Metrics {
  monitor: typeof monitor;
}

export const metrics: Metrics;

declare global {
  interface Window {
    /** Once /metrics.js has run. */
    metrics: Metrics;
  }
}
