// The charts of the page. Each fills an element and returns a handle: `{ update(data, options), destroy() }`.

export { bars } from './bars.js';
export { sparkline, timeLine } from './line.js';
export { binsOf, curveOf, momentsOf, retentionAt } from './maths.js';
export { WORDS } from './words.js';
