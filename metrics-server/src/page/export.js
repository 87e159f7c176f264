// Exports a view as a file: the list of videos, or the plays of one video over time, with the filters and the period.

import { asked, resolve } from './dates.js';
import { h } from './dom.js';
import { columnsOf, questionOf } from './overview/list.js';
import { queried } from './state.js';

/** The address of the file of a view, whose period ends at `now`. Null for a screen without one. */
export function fileOf({ api, metrics }, state, now) {
  const columns = columnsOf(metrics);
  if (columns.length === 0 || !['overview', 'videos'].includes(state.screen)) return null;
  const period = resolve(state.period, 'none', now);
  const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const base = { ...asked(period), timezone, filters: queried(state.filters) };
  const question = questionOf(state, columns);
  if (state.screen === 'overview') return api.address('export/videos', { ...base, ...question, format: 'csv' });
  const q = { ...base, identifier: state.video, metrics: question.metrics, dimensions: [`time:1 ${period.bucket}`] };
  return api.address('export/query', { q, format: 'csv' });
}

/** The link to the file of a view, or null. */
export function exportLink(context, state) {
  const address = () => fileOf(context, state, new Date());
  if (!address()) return null;
  const link = h('a', { class: 'action', href: address(), download: true, title: 'CSV', 'data-menu': 'export' }, context.t('export_view'));
  // The period ends now, also if the page has been open for long.
  const renew = () => (link.href = address());
  link.addEventListener('pointerdown', renew);
  link.addEventListener('focus', renew);
  return link;
}
