// The style sheet of the charts, for the document or a shadow root. A sheet that is constructed needs no inline style.

const CHART_CSS = `
.mc {
  --ink-: var(--ink);
  --muted-: var(--muted);
  --line-: var(--line);
  --surface-: var(--surface);
  --viewers-: var(--viewers);
  --replays-: var(--replays);
  --plays-: var(--plays);
  --focus-: var(--focus);
  --exits-: var(--exits, var(--muted-));
  --skips-: var(--skips, #9c6ade);
  position: relative;
  min-inline-size: 0;
  color: var(--ink-);
  font-variant-numeric: tabular-nums;
}
.mc-plot { position: relative; touch-action: pan-y; user-select: none; direction: ltr; }
.mc-plot svg { display: block; max-inline-size: 100%; block-size: auto; overflow: visible; }
.mc-plot.is-pick, .mc-plot.is-seek { cursor: pointer; }
.mc-cursor { position: absolute; inset: 0; border-radius: 4px; outline-offset: 3px; }
.mc-cursor:focus-visible { outline: 2px solid var(--focus-); }
.mc text { fill: var(--muted-); stroke: none; font-size: 12px; font-weight: 400; letter-spacing: 0; }
.mc .mc-strong { fill: var(--ink-); font-weight: 600; }
.mc .mc-hint { font-size: 14px; }
.mc-grid { stroke: var(--line-); shape-rendering: crispEdges; }
.mc-axis { stroke: var(--muted-); stroke-opacity: 0.5; shape-rendering: crispEdges; }
.mc-line { fill: none; stroke: var(--mc-color); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.mc-dense .mc-line { stroke-width: 1.25; }
.mc-area { fill: var(--mc-color); fill-opacity: 0.1; }
.mc-before { fill: none; stroke: var(--muted-); stroke-opacity: 0.75; stroke-width: 1.5; stroke-dasharray: 5 4; stroke-linejoin: round; }
.mc-partial { fill: none; stroke: var(--mc-color); stroke-width: 2; stroke-dasharray: 2 4; stroke-linecap: round; }
.mc-dot { fill: var(--mc-color); stroke: var(--surface-); stroke-width: 1.5; }
.mc-ring { fill: var(--surface-); stroke: var(--mc-color); stroke-width: 1.75; }
.mc-level { stroke: var(--mc-color); stroke-opacity: 0.6; stroke-dasharray: 1 3; }
.mc-guide { stroke: var(--muted-); stroke-opacity: 0.6; }
.mc-head { stroke: var(--ink-); stroke-width: 1.5; }
.mc-knob { fill: var(--ink-); stroke: var(--surface-); stroke-width: 2; }
.mc-bar { fill: var(--mc-color); }
.mc-heat rect { shape-rendering: crispEdges; }
.mc-viewers { --mc-color: var(--viewers-); }
.mc-replays { --mc-color: var(--replays-); }
.mc-plays { --mc-color: var(--plays-); }
.mc-exits { --mc-color: var(--exits-); }
.mc-bar.mc-exits { fill-opacity: 0.7; }
.mc-skips { --mc-color: var(--skips-); }
.mc-reading .mc-legend { visibility: hidden; }

.mc-table { margin-block-start: 0.25rem; font-size: 0.8125rem; color: var(--muted-); }
.mc-table summary { inline-size: fit-content; min-block-size: 24px; cursor: pointer; line-height: 24px; }
.mc-table[open] { max-block-size: 16rem; overflow: auto; }
.mc-table table { inline-size: 100%; border-collapse: collapse; }
.mc-table tr { border-block-start: 1px solid var(--line-); }
.mc-table :is(th, td) { padding: 0.15rem 0; padding-inline-start: 0.75rem; text-align: end; font-weight: normal; }
.mc-table :is(th, td):first-child { padding-inline-start: 0; text-align: start; }


.mc-moments { display: flex; flex-wrap: wrap; gap: 4px 6px; margin: 6px 0 0; padding: 0; list-style: none; }
.mc-moment { display: inline-flex; align-items: center; gap: 6px; min-block-size: 28px; padding: 0 10px 0 6px; border: 1px solid var(--line-); border-radius: 14px; background: none; color: var(--ink-); font: inherit; font-size: 0.8125rem; }
button.mc-moment { cursor: pointer; }
button.mc-moment:hover { border-color: var(--muted-); }
.mc-moment:focus-visible { outline: 2px solid var(--focus-); outline-offset: -2px; }
.mc-number { display: inline-grid; place-items: center; inline-size: 16px; block-size: 16px; border-radius: 50%; background: var(--ink-); color: var(--surface-); font-size: 10px; font-weight: 600; line-height: 1; print-color-adjust: exact; }
.mc-mark circle { fill: var(--ink-); stroke: var(--surface-); stroke-width: 1.5; }
.mc .mc-mark text { fill: var(--surface-); font-size: 10px; font-weight: 600; text-anchor: middle; }

@media (forced-colors: active) {
  .mc {
    --ink-: CanvasText;
    --muted-: CanvasText;
    --line-: CanvasText;
    --surface-: Canvas;
    --viewers-: CanvasText;
    --replays-: Highlight;
    --plays-: CanvasText;
    --focus-: Highlight;
    --exits-: CanvasText;
    --skips-: Highlight;
  }
  .mc-grid { stroke-opacity: 0.25; }
  .mc-plays { --mc-color: CanvasText !important; }
  .mc-number { forced-color-adjust: none; }
}
@media print {
  .mc-table { display: none; }
}
`;

const sheets = new Map();

/** Adds a style sheet, by default that of the charts, to the document or shadow root that holds `element`, once. */
export function adoptStyles(element, css = CHART_CSS) {
  // A row that is built before it is inserted comes into the document.
  const root = element.isConnected ? element.getRootNode() : document;
  if (!sheets.has(css)) {
    const made = new CSSStyleSheet();
    made.replaceSync(css);
    sheets.set(css, made);
  }
  const sheet = sheets.get(css);
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
}
