// Types of /metrics.js, which sets `window.metrics`, and of /metrics.mjs, which exports it.

export interface Options {
  /** The identifier of the video in reports. Default: `data-metrics-id`, else the URL of the media. */
  identifier?: string | number;
  /** Metadata of the video. Takes precedence over its other `data-metrics-` attributes. */
  metadata?: Record<string, unknown>;
  /** Data of the session. Takes precedence over the `data-metrics-session-` attributes. */
  sessionData?: Record<string, unknown>;
  /** The API key, if the script has none of its own. */
  key?: string;
}

/** Stops the measurement that `monitor` started. */
export type Stop = () => void;

/** Measures a media element from now on, inside or outside of the page. The options replace its attributes. */
export function monitor(media: HTMLMediaElement, options?: Options): Stop;

export interface Metrics {
  monitor: typeof monitor;
}

export const metrics: Metrics;

declare global {
  interface Window {
    /** Defined once /metrics.js has run. */
    metrics: Metrics;
  }
}
