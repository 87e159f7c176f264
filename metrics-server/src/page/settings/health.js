// The health of the server, and how much it holds.

import { ROOT } from '../api.js';
import { h } from '../dom.js';

const CHECK_MS = 10_000;

export function health(panel, { t, fmt, api }) {
  const list = h('dl', { class: 'facts' });
  panel.body.append(list);
  let timer = 0;
  let isStopped = false;

  async function ready(signal) {
    const response = await fetch(new URL('health/ready', ROOT), { signal });
    return response.json();
  }

  async function check() {
    const ask = async (signal) => {
      const [state, all] = await Promise.all([ready(signal).catch(() => ({ status: 'offline' })), api.ask('query', { metrics: ['sessions', 'view_time'], timeframe: 'all' }, signal)]);
      return { state, metrics: all.results[0]?.metrics ?? [0, 0] };
    };
    await panel.load('health', ask, ({ state, metrics }) => {
      const fact = (name, value, kind = '') => [h('dt', {}, t(name)), h('dd', { class: kind }, value)];
      const isWell = state.status === 'ok';
      list.replaceChildren(
        ...fact('health_state', isWell ? t('health_well') : t('health_unwell', { reason: state.reason ?? state.status }), isWell ? 'well' : 'unwell'),
        ...fact('health_sessions', fmt.count(metrics[0])),
        ...fact('metric_view_time', fmt.length(metrics[1])),
      );
    });
    if (!isStopped) timer = setTimeout(check, CHECK_MS);
  }
  check();
  return {
    element: panel.element,
    destroy() {
      isStopped = true;
      clearTimeout(timer);
      panel.stop();
    },
  };
}
