// Bins of values, for histograms.

import { clamp, ticksTo } from './maths.js';

/** Equal bins over `values`, at most `room`, on round edges. Values beyond the last edge are in the last bin. */
export function binsOf(values, { room = 24, most = Math.max(...values, 0), unit = 'seconds' } = {}) {
  const [, step] = ticksTo(Math.max(most, 1e-3), { unit: most < room ? 'number' : unit, room });
  const count = Math.max(1, Math.ceil(most / step - 1e-9));
  const bins = Array.from({ length: count }, (_, index) => ({ from: index * step, to: (index + 1) * step, count: 0 }));
  for (const value of values) bins[clamp(Math.floor(value / step), 0, count - 1)].count += 1;
  return bins;
}
