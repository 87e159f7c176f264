// The types of `/metrics-components.js`.

/** What all elements share. Every attribute may change at any time; several changes are one request. */
export interface MetricsElementAttributes {
  /** The server's URL; by default the one that the module comes from. */
  server?: string;
  /** A token with the scope `read`; sent as `Authorization: Bearer`. */
  token?: string;
  /** The identifier of a video. */
  identifier?: string;
  /** A selection as JSON: `{"key": "…"}`, `{"video": {"course": 7}}`. */
  query?: string;
  /** `30 days` (the default), `today`, `all`, or JSON of two times. */
  timeframe?: string;
  /** Filters as JSON: `[["is", "device", ["mobile"]]]`. */
  filters?: string;
  /** An IANA time zone; by default the viewer's. */
  timezone?: string;
  /** The language of texts and numbers; by default that of the page. */
  lang?: string;
  /** Seconds between requests. Without it, the data is requested once. */
  refresh?: string | number;
}

interface MetricsElement extends HTMLElement {
  /** Requests the data anew. */
  reload(): void;
  addEventListener(type: 'metrics-error', listener: (event: CustomEvent<Error>) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
}

/** `<metrics-retention>`: where viewers of a video stay, replay, leave and skip. */
export interface MetricsRetention extends MetricsElement {}
/** `<metrics-heat-strip>`: how often each part of a video is watched. */
export interface MetricsHeatStrip extends MetricsElement {}
/** `<metrics-plays>`: plays over time. */
export interface MetricsPlays extends MetricsElement {}
/** `<metrics-watching>`: how many watch now. */
export interface MetricsWatching extends MetricsElement {}

export declare const MetricsRetention: { new (): MetricsRetention };
export declare const MetricsHeatStrip: { new (): MetricsHeatStrip };
export declare const MetricsPlays: { new (): MetricsPlays };
export declare const MetricsWatching: { new (): MetricsWatching };

/** The elements that move in step with a media element of the page, which `for` names by its id. */
export interface AlongMediaAttributes extends MetricsElementAttributes {
  for?: string;
}

export interface MetricsPlaysAttributes extends MetricsElementAttributes {
  /** The width of a bucket: `1 day` (the default), `1 hour`, `1 month` … */
  interval?: string;
  /** `previous_period` or `previous_year` draws a dashed line. */
  compare?: string;
}

declare global {
  interface HTMLElementTagNameMap {
    'metrics-retention': MetricsRetention;
    'metrics-heat-strip': MetricsHeatStrip;
    'metrics-plays': MetricsPlays;
    'metrics-watching': MetricsWatching;
  }
}
