// Files of all that is stored, and of the tables that the page shows.

import { PERIODS, asked, resolve } from '../dates.js';
import { h } from '../dom.js';

const FORMATS = ['csv', 'ndjson'];

// The parameters of each file, for a timeframe.
const FILES = {
  sessions: (frame) => ['export/sessions', frame],
  videos: (frame) => ['export/videos', { ...frame, metrics: ['plays', 'view_time', 'average_percentage_viewed', 'completion_rate'], limit: 10_000 }],
  days: (frame) => ['export/query', { q: { ...frame, metrics: ['plays', 'view_time', 'average_percentage_viewed', 'completion_rate'], dimensions: ['time:1 day'], limit: 10_000 } }],
  pages: (frame) => ['export/query', { q: { ...frame, metrics: ['plays', 'view_time', 'average_percentage_viewed'], dimensions: ['page'], limit: 10_000 } }],
};

export function exporter(panel, { t, api }) {
  const option = (prefix) => (value) => h('option', { value }, t(`${prefix}${value}`));
  const file = h('select', {}, Object.keys(FILES).map(option('export_')));
  const period = h('select', {}, PERIODS.map(option('period_')));
  const kind = h('select', {}, FORMATS.map((value) => h('option', { value }, value.toUpperCase())));
  period.value = 'all';
  const link = h('a', { class: 'button', download: true }, t('download'));
  const show = () => {
    const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const { timeframe } = asked(resolve(period.value, 'none', new Date()));
    const [path, parameters] = FILES[file.value]({ timeframe, ...(file.value === 'sessions' ? {} : { timezone }) });
    link.href = api.address(path, { ...parameters, format: kind.value });
  };
  const form = h('form', { class: 'fields', on: { change: show, submit: (event) => event.preventDefault() } }, h('label', {}, t('export_what'), file), h('label', {}, t('period'), period), h('label', {}, t('export_format'), kind), link);
  panel.body.append(h('p', { class: 'muted' }, t('export_text')), form);
  panel.element.classList.remove('waiting');
  // The period ends now, also if the page has been open for long.
  link.addEventListener('pointerdown', show);
  link.addEventListener('focus', show);
  show();
  return { element: panel.element };
}
