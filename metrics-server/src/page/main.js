// The page: one screen at a time, chosen by the address, under a bar of navigation.

import { Api } from './api.js';
import { controls } from './controls.js';
import { h } from './dom.js';
import { formats } from './format.js';
import * as live from './live.js';
import { naming } from './names.js';
import * as overview from './overview.js';
import * as quality from './quality.js';
import * as settings from './settings.js';
import { format, parse } from './state.js';
import * as videos from './videos.js';
import { LANGUAGES, chooseLanguage, chosenLanguage, localeOf, translate } from './words.js';
import { WORDS } from './words/all.js';

const root = document.documentElement;
const language = chosenLanguage();
const locale = localeOf(language);
const list = (text) => text.split(' ').filter(Boolean);
// The rights of the caller, as in the response of `GET api/v1/me`; null if the server does not know them.
const me = JSON.parse(root.dataset.me);
const t = translate(WORDS[language], locale);
const api = new Api(t);
const may = (...names) => !me || names.some((name) => me.may.includes(name));
const permitted = me?.within?.metrics;

/** What screens share: texts, formats, requests, and the way to another view. */
const context = {
  t,
  locale,
  language,
  api,
  fmt: formats(locale, { s: t('unit_s'), min: t('unit_min'), h: t('unit_h') }),
  // What the server can be asked; newer servers have more.
  metrics: new Set(list(root.dataset.metrics).filter((name) => !permitted || permitted.includes(name))),
  dimensions: new Set(list(root.dataset.dimensions)),
  exampleKey: root.dataset.exampleKey,
  // The names of keys, and a promise of the valid ones.
  keys: new Map(),
  known: null,
  names: null,
  titles: new Map(),
  learnTitles,
  me,
  may,
  state: () => state,
  link: (changes) => format({ ...state, at: 1, ...changes }),
  go: (changes) => (location.hash = format({ ...state, at: 1, ...changes })),
  // Without a step in the history, for what changes while the reader types.
  replace(changes) {
    history.replaceState(null, '', format({ ...state, at: 1, ...changes }));
    show();
  },
  announce: (text) => (status.textContent = text),
};
context.names = naming(t, locale, context.keys, context.titles);

const SCREENS = Object.fromEntries(
  [
    ['overview', overview, may('reports')],
    ['videos', videos, may('reports')],
    ['live', live, true],
    ['quality', quality, may('reports') && !permitted],
    ['settings', settings, may('reports', 'list_keys')],
  ].flatMap(([name, screen, isThere]) => (isThere ? [[name, screen]] : [])),
);

const [main, status, place] = [h('main', { id: 'main', tabindex: -1 }), h('p', { class: 'unseen', role: 'status' }), h('div', { class: 'screen' })];
const bar = controls(context);
// A screen may know a better title than the address.
context.title = (text) => {
  bar.title(text);
  if (state.screen === 'videos') context.titles.set(state.video, text);
  document.title = `${text} – ${root.dataset.name}`;
};
let state = parse(location.hash);
let shown = { name: null, screen: null };

// A video is reached from the overview.
const links = Object.keys(SCREENS).filter((name) => name !== 'videos').map((name) => [name, h('a', {}, t(`screen_${name}`))]);

function frame() {
  root.lang = language;
  const { name, logo } = root.dataset;
  const brand = h('a', { class: 'brand', href: '#/' }, h('img', { src: logo, alt: '', width: 24, height: 24 }), h('span', {}, name));
  const theme = h('select', { 'aria-label': t('theme'), on: { change: () => window.chooseTheme(theme.value) } }, ['', 'light', 'dark'].map((value) => h('option', { value, selected: (root.dataset.theme ?? '') === value }, t(`theme_${value || 'system'}`))));
  const languages = Object.entries(LANGUAGES).map(([value, text]) => h('option', { value, lang: value, selected: value === language }, text));
  const tongue = h('select', { 'aria-label': t('language'), on: { change: () => chooseLanguage(tongue.value) } }, languages);
  const skip = h('a', { class: 'skip', href: '#main', on: { click: (event) => (event.preventDefault(), main.focus()) } }, t('skip'));
  const nav = h('nav', { 'aria-label': t('screens') }, links.map(([, link]) => link));
  document.body.prepend(
    skip,
    h('header', { class: 'top' }, brand, nav),
    main,
    h('footer', {}, h('p', {}, t('promise')), h('div', { class: 'choices' }, tongue, theme)),
    status,
  );
  main.append(bar.element, place);
}

function show() {
  const before = state;
  state = parse(location.hash);
  // A sentence about another view.
  status.textContent = '';
  const name = state.screen in SCREENS ? state.screen : Object.keys(SCREENS)[0];
  state.screen = name;
  for (const [it, link] of links) {
    link.href = format({ ...state, screen: it, video: null, at: 1, search: '' });
    link.toggleAttribute('aria-current', it === name || (it === 'overview' && name === 'videos'));
    if (link.hasAttribute('aria-current')) link.setAttribute('aria-current', 'page');
  }
  bar.update(state);
  document.title = `${state.video === null ? t(`screen_${name}`) : context.names.value('video', state.video)} – ${root.dataset.name}`;
  // The focus was on what led here, which is gone.
  if (shown.name && (shown.name !== name || before.video !== state.video)) {
    bar.focus();
    scrollTo(0, 0);
  }
  if (shown.name !== name) {
    shown.screen?.destroy();
    place.replaceChildren();
    shown = { name, screen: SCREENS[name].create(place, context) };
  }
  shown.screen.update(state);
}

// Resolves with whether any title was learned. Each is asked for once.
async function learnTitles(videos) {
  const unknown = videos.filter((it) => it !== null && !context.titles.has(it));
  if (unknown.length === 0 || !may('reports')) return false;
  for (const it of unknown) context.titles.set(it, it);
  const query = { metrics: ['plays'], timeframe: 'all', filters: [['is', 'video', unknown]], limit: unknown.length };
  const { results } = await api.ask('videos', query).catch(() => ({ results: [] }));
  for (const { name, title } of results) context.titles.set(name, title || name);
  return results.length > 0;
}

// Resolves with the valid keys.
async function learnKeys() {
  const { keys } = may('list_keys') ? await api.get('api/v1/keys').catch(() => ({ keys: [] })) : { keys: [] };
  for (const { key, name } of me?.keys ?? []) context.keys.set(key, name || `${key.slice(0, 6)}…`);
  for (const { key, settings } of keys) context.keys.set(key, settings.name || `${key.slice(0, 6)}…`);
  bar.update(state);
  return keys.filter(({ disabled_at: disabled }) => !disabled).map(({ key }) => key);
}

frame();
addEventListener('hashchange', show);
// Reports come first: a browser opens few connections to a server.
show();
context.known = learnKeys();
