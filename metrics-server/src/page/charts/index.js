// The charts of the page. Each fills an element and returns a handle: `{ update(data, options), destroy() }`.

export { bars } from './bars.js';
export { binsOf } from './bins.js';
export { histogram } from './histogram.js';
export { timeLine } from './line.js';
export { curveOf, linePoints, momentsOf, unitOf } from './maths.js';
export { heatStrip, retention } from './retention.js';
export { sparkline } from './spark.js';
export { WORDS } from './words.js';
