// Settings: keys, how to measure a page, files of all data, erasure, and the health of the server.

import { h } from './dom.js';
import { Panel } from './panel.js';
import { eraser } from './settings/erase.js';
import { exporter } from './settings/exports.js';
import { health } from './settings/health.js';
import { installation } from './settings/install.js';
import { keysSection } from './settings/keys.js';

export function create(place, context) {
  const { t, may, me } = context;
  const panel = (name) => new Panel(t, { title: t(`settings_${name}`), name });
  const parts = [];
  const board = h('div', { class: 'board settings' });
  place.append(board);

  const install = may('list_keys') ? installation(panel('install'), context) : null;
  const keys = install ? keysSection(panel('keys'), context, install.useKeys) : null;
  parts.push(keys, install);
  if (may('reports') && !me?.within?.metrics) parts.push(exporter(panel('exports'), context));
  if (may('erase')) parts.push(eraser(panel('erase'), context));
  parts.push(health(panel('health'), context));
  board.append(...parts.filter(Boolean).map(({ element }) => element));

  return {
    update: () => parts.forEach((part) => part?.update?.()),
    destroy: () => parts.forEach((part) => part?.destroy?.()),
  };
}
