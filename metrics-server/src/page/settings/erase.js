// Erases sessions: at first it only counts them, and what it counted is what it erases.

import { h } from '../dom.js';

export function eraser(panel, { t, api, keys, fmt }) {
  const text = (attributes) => h('input', { autocomplete: 'off', spellcheck: 'false', dir: 'auto', ...attributes });
  const identifier = text({ name: 'identifier' });
  const page = text({ name: 'page', placeholder: 'https://example.com/account/', dir: 'ltr' });
  const key = h('select', { name: 'key' });
  const [from, to] = [h('input', { type: 'date', name: 'from' }), h('input', { type: 'date', name: 'to' })];
  const said = h('p', { role: 'status', class: 'said' });
  const erase = h('button', { type: 'button', class: 'danger', hidden: true });
  let counted = null;

  const field = (name, input) => h('label', {}, t(name), input);
  const count = h('button', { type: 'submit' }, t('erase_count'));
  const form = h('form', { class: 'fields' }, field('erase_video', identifier), field('erase_page', page), field('by_key', key), field('from', from), field('to', to), count);
  panel.body.append(h('p', { class: 'muted' }, t('erase_text')), form, said, erase);
  panel.element.classList.remove('waiting');

  function selection() {
    return {
      ...(identifier.value.trim() ? { identifier: identifier.value.trim() } : {}),
      ...(page.value.trim() ? { page: page.value.trim() } : {}),
      ...(key.value ? { query: { key: key.value } } : {}),
      ...(from.value || to.value ? { timeframe: [from.value || '1970-01-01', to.value || '9999-12-31'] } : {}),
    };
  }

  function forget() {
    counted = null;
    erase.hidden = true;
    said.textContent = '';
  }

  form.addEventListener('input', forget);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    forget();
    const selected = selection();
    if (Object.keys(selected).length === 0) return void (said.textContent = t('erase_nothing_selected'));
    try {
      const { sessions } = await api.send('POST', 'api/v1/erase', selected);
      // The fields may have changed meanwhile.
      if (JSON.stringify(selection()) !== JSON.stringify(selected)) return;
      said.textContent = t('erase_counted', { count: sessions });
      counted = { selected, sessions };
      erase.textContent = t('erase_do', { count: sessions });
      erase.hidden = sessions === 0;
    } catch (error) {
      said.textContent = error.message;
    }
  });
  erase.addEventListener('click', async () => {
    if (!counted || !confirm(t('erase_sure', { count: counted.sessions }))) return;
    const { selected, sessions } = counted;
    forget();
    erase.disabled = true;
    try {
      const answer = await api.send('POST', 'api/v1/erase', { ...selected, dry_run: false, expect: sessions });
      said.textContent = t('erase_done', { count: answer.sessions });
    } catch (error) {
      said.textContent = error.message;
    }
    erase.disabled = false;
  });

  return {
    element: panel.element,
    update() {
      const before = key.value;
      key.replaceChildren(h('option', { value: '' }, t('all_keys')), ...[...keys].map(([value, name]) => h('option', { value, selected: value === before }, name)));
    },
    fmt,
  };
}
