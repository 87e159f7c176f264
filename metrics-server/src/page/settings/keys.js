// API keys: makes, names, revokes and restores them, and shows how much of their limits is used.

import { h } from '../dom.js';

// The order of the limits.
const LIMITS = ['videos', 'pages', 'joins', 'events', 'new_videos', 'new_pages'];

/** Calls `onKeys` with the keys whenever they have been loaded. */
export function keysSection(panel, context, onKeys) {
  const { t, fmt, api, may, keys: known } = context;
  const rows = h('ul', { class: 'keys' });
  const said = h('p', { role: 'status', class: 'said' });
  const form = newKey();
  panel.body.append(...[rows, may('create_keys') && form, said].filter(Boolean));

  const load = () => panel.load('keys', (signal) => api.get('api/v1/keys', signal), ({ keys }) => {
    known.clear();
    for (const { key, settings } of keys) known.set(key, settings.name || `${key.slice(0, 6)}…`);
    rows.replaceChildren(...keys.map(row));
    if (keys.length === 0) rows.append(h('li', { class: 'hint' }, t('keys_none')));
    context.known = Promise.resolve(keys.filter((it) => !it.disabled_at).map(({ key }) => key));
    onKeys(keys);
  });

  // Sends a change, and shows its error beside the key.
  async function change(action, done) {
    said.textContent = '';
    try {
      await action();
      await load();
      said.textContent = done;
    } catch (error) {
      said.textContent = error.message;
    }
  }

  function row({ key, created_at: created, disabled_at: disabled, settings, usage }) {
    const path = `api/v1/keys/${encodeURIComponent(key)}`;
    const name = h('input', { value: settings.name ?? '', maxlength: 100, dir: 'auto' });
    const hosts = h('input', { value: (settings.hosts ?? []).join(', '), placeholder: t('keys_hosts_all'), spellcheck: 'false', dir: 'ltr' });
    const save = (event) => {
      event.preventDefault();
      change(() => api.send('PATCH', path, { name: name.value.trim() || null, hosts: hostsOf(hosts.value) }), t('saved'));
    };
    const edit = h('form', { class: 'fields', on: { submit: save } }, h('label', {}, t('keys_name'), name), h('label', {}, t('keys_hosts'), hosts), may('change_keys') ? h('button', { type: 'submit' }, t('save')) : null);
    const patch = (revoked, done) => () => change(() => api.send('PATCH', path, { revoked }), done);
    const revoke = disabled
      ? h('button', { type: 'button', on: { click: patch(false, t('keys_restored')) } }, t('keys_restore'))
      : h('button', { type: 'button', class: 'danger', on: { click: () => confirm(t('keys_revoke_sure')) && patch(true, t('keys_revoked'))() } }, t('keys_revoke'));
    return h(
      'li',
      { class: disabled ? 'revoked' : '' },
      h('details', {},
        h('summary', {}, h('b', {}, h('bdi', {}, settings.name ?? t('keys_unnamed'))), h('code', { dir: 'ltr' }, key), h('small', {}, disabled ? t('keys_revoked_at', { date: fmt.day(new Date(disabled)) }) : t('keys_made_at', { date: fmt.day(new Date(created)) }))),
        edit,
        usage ? quotas(usage) : null,
        may('revoke_keys') ? h('div', { class: 'actions' }, revoke) : null),
    );
  }

  function quotas(usage) {
    const rows = LIMITS.filter((name) => usage[name]).map((name) => {
      const { used, allowed, per } = usage[name];
      const text = allowed === null ? t('quota_unlimited', { used }) : t('quota_used', { used, allowed: fmt.plain(allowed) });
      const meter = allowed ? h('meter', { value: Math.min(used, allowed), max: allowed, high: allowed * 0.9, 'aria-label': t(`quota_${name}`) }) : h('span');
      return [h('dt', {}, per ? t(`quota_per_${per}`, { name: t(`quota_${name}`) }) : t(`quota_${name}`)), h('dd', {}, meter, ` ${text}`)];
    });
    return h('dl', { class: 'quotas' }, rows.flat());
  }

  function newKey() {
    const name = h('input', { maxlength: 100, dir: 'auto', placeholder: t('keys_name_example') });
    const hosts = h('input', { placeholder: 'example.com, *.example.com', spellcheck: 'false', dir: 'ltr' });
    const make = (event) => {
      event.preventDefault();
      const body = { ...(name.value.trim() ? { name: name.value.trim() } : {}), ...(hostsOf(hosts.value) ? { hosts: hostsOf(hosts.value) } : {}) };
      change(async () => {
        await api.send('POST', 'api/v1/keys', body);
        made.reset();
      }, t('keys_made'));
    };
    const made = h('form', { class: 'fields new', on: { submit: make } }, h('label', {}, t('keys_name'), name), h('label', {}, t('keys_hosts'), hosts), h('button', { type: 'submit', class: 'primary' }, t('keys_make')));
    return made;
  }

  load();
  return { element: panel.element, destroy: () => panel.stop() };
}

// None removes the setting: then all sites may use the key.
function hostsOf(text) {
  const hosts = text.split(/[\s,]+/).filter(Boolean);
  return hosts.length ? hosts : null;
}
