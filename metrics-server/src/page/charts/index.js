// The charts of the page. Each fills an element and returns a handle: `{ update(data, options), destroy() }`.

export { bars } from './bars.js';
export { histogram } from './histogram.js';
export { sparkline, timeLine } from './line.js';
export { binsOf, curveOf, momentsOf, retentionAt } from './maths.js';
export { heatStrip, retention } from './retention.js';
export { WORDS } from './words.js';
