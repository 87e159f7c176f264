// What a server without sessions shows: how to begin.

import { ROOT } from '../api.js';
import { copyable, h } from '../dom.js';

/** Fills `place`. A server with the example key offers a demonstration. */
export async function welcome(place, { t, known, exampleKey, link }) {
  place.className = 'panel welcome';
  place.replaceChildren(h('h2', {}, t('welcome')));
  const keys = await known;
  const key = keys.find((it) => it !== exampleKey) ?? (exampleKey || null);
  if (!key) {
    place.append(h('p', {}, t('keys_none')), h('p', {}, h('a', { class: 'button', href: link({ screen: 'settings' }) }, t('welcome_key'))));
    return;
  }
  const snippet = `<script defer src="${new URL('metrics.js', ROOT)}" data-key="${key}"></script>`;
  place.append(
    h('p', {}, t('welcome_text')),
    copyable(`${snippet}\n<video src="intro.mp4" controls data-metrics-id="intro"></video>`, t),
    h('p', {}, h('a', { class: 'button', href: new URL('demo', ROOT) }, t('welcome_demo'))),
  );
}
