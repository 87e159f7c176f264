// The screen of a video: passes the view of the address on to `video.js`.

import { asked, resolve } from './dates.js';
import { h } from './dom.js';
import { queried, toggled } from './state.js';
import { videoScreen } from './video.js';

export function create(place, { t, api, locale, names, go, title, state: current }) {
  const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const container = h('div', {});
  place.append(container);
  let screen = null;

  function viewOf(state) {
    const period = resolve(state.period, state.compare, new Date());
    const { timeframe, compare } = asked(period);
    return {
      identifier: state.video,
      body: { identifier: state.video, timeframe, timezone, filters: queried(state.filters) },
      interval: `1 ${period.bucket}`,
      isPartial: period.isPartial,
      ...(compare ? { compare, comparedName: t(`compare_${state.compare}`) } : {}),
      ...(state.with ? { against: state.with } : {}),
    };
  }

  return {
    update(state) {
      const view = viewOf(state);
      if (screen) return screen.update(view);
      screen = videoScreen(container, {
        state: view,
        ask: api.ask,
        locale,
        timezone,
        nameOf: names.value,
        onFilter: (name, value) => go({ filters: toggled(current().filters, name, value) }),
        onAgainst: (text) => go({ with: text || null }),
        onTitle: (text) => title(text),
        onVideo: (name) => go({ video: name }),
      });
    },
    destroy: () => screen?.destroy(),
  };
}
