// The style sheet of the screen of a video.

export const VIDEO_CSS = `
.vs { display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 1.25rem; }
.vs > * { grid-column: 1 / -1; }
.vs h2, .vs h3, .vs p, .vs dl, .vs dd { margin: 0; }
.vs h2 { font-size: 1.25rem; line-height: 1.3; overflow-wrap: anywhere; text-align: start; }
.vs h3 { font-size: 0.875rem; font-weight: 600; }
.vs-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0.15rem 0.75rem; }
.vs-head p { color: var(--muted, #5f646b); overflow-wrap: anywhere; }
.vs-card { min-inline-size: 0; padding: 1rem; border: 1px solid var(--line, #e3e3de); border-radius: 0.75rem; background: var(--surface, #fff); }
.vs-card > :is(h3, .vs-bar) { padding-block-end: 0.5rem; }
.vs-bar { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 0.4rem 1rem; }
.vs-bar label { color: var(--muted, #5f646b); }
.vs-bar select { min-block-size: 28px; max-inline-size: 14rem; margin-inline-start: 0.4rem; padding: 0.1rem 0.4rem; border: 1px solid var(--muted, #5f646b); border-radius: 0.4rem; background: var(--surface, #fff); color: inherit; font: inherit; }
.vs-startup h3 { padding-block: 0.75rem 0.25rem; }
.vs-note { padding-block-end: 0.4rem; color: var(--muted, #5f646b); font-size: 0.8125rem; }
.vs-figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.75rem 1.25rem; }
.vs .vs-figures div { padding: 0; border: 0; }
.vs-figures dt { color: var(--muted, #5f646b); }
.vs-figures dd { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 0.5rem; font-size: 1.375rem; font-weight: 600; line-height: 1.3; letter-spacing: -0.015em; font-variant-numeric: tabular-nums; }
.vs-quality dd:not(.vs-compared) { font-size: 1.0625rem; }
.vs .vs-compared { font-size: 0.8125rem; font-weight: 400; letter-spacing: 0; color: var(--muted, #5f646b); overflow-wrap: anywhere; }
.vs-change { font-size: 0.8125rem; font-weight: 500; letter-spacing: 0; color: var(--muted, #5f646b); }
.vs-change.is-good { color: var(--plays, #0f766e); }
.vs-change.is-bad { color: var(--error, #b42318); }
.vs-third { grid-column: span 6; }
.vs-stage { max-inline-size: 100%; }
.vs-frame { display: grid; margin-inline: auto; padding-block-end: 0.4rem; }
.vs-frame video { display: block; inline-size: 100%; max-block-size: 24rem; aspect-ratio: 16 / 9; object-fit: contain; border-radius: 0.4rem; background: color-mix(in srgb, var(--ink, #1b1d20) 7%, transparent); cursor: pointer; }
.vs-frame button { justify-self: start; margin-block-start: 0.4rem; min-block-size: 28px; min-inline-size: 6rem; padding: 0 0.75rem; border: 1px solid var(--ink, #1b1d20); border-radius: 0.4rem; background: var(--ink, #1b1d20); color: var(--surface, #fff); font: inherit; cursor: pointer; }
.vs-frame button:focus-visible, .vs-bar select:focus-visible { outline: 2px solid var(--focus, #2563eb); outline-offset: 2px; }
.vs-error { display: flex; flex-wrap: wrap; align-items: center; gap: 0.75rem; color: var(--error, #b42318); }
.vs-error button { min-block-size: 28px; padding: 0 0.75rem; border: 1px solid currentColor; border-radius: 0.4rem; background: none; color: inherit; font: inherit; cursor: pointer; }
.vs-empty { color: var(--muted, #5f646b); }
.vs [hidden] { display: none !important; }
@media (max-width: 48rem) {
  .vs { gap: 0.9rem; }
  .vs-third { grid-column: 1 / -1; }
}
@media print {
  .vs-frame, .vs-bar label { display: none; }
  .vs-card { break-inside: avoid; }
}
`;
