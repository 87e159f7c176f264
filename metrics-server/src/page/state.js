// The state of the page as its address: a link is a view. Pure, so tests run it without a browser.
//
// `#/videos/intro?period=7d&device=mobile&not.browser=edge`: a screen, perhaps a video, and parameters. The server never
// receives it, because it is the fragment. An empty value of a filter stands for sessions without a value.

import { isPeriod } from './dates.js';

export const SCREENS = ['overview', 'videos', 'live', 'quality', 'settings'];
export const COMPARISONS = ['previous', 'year', 'none'];

/** The state of an address without parameters. */
export const DEFAULTS = { screen: 'overview', video: null, period: '30d', compare: 'previous', filters: [], search: '', sort: '-plays', at: 1, metric: 'plays', by: 'browser', with: null };

const NOT = 'not.';
const FILTERS_MAX = 20;
const VALUES_MAX = 50;
const TEXT_MAX = 2_048;

const READERS = {
  period: (text) => (isPeriod(text) ? text : undefined),
  compare: (text) => (COMPARISONS.includes(text) ? text : undefined),
  search: (text) => text.slice(0, TEXT_MAX),
  sort: (text) => (/^-?[a-z0-9_]{1,40}$/.test(text) ? text : undefined),
  at: (text) => (/^[1-9]\d{0,5}$/.test(text) ? Number(text) : undefined),
  metric: (text) => (/^[a-z0-9_]{1,40}$/.test(text) ? text : undefined),
  by: (text) => text.slice(0, TEXT_MAX) || undefined,
  with: (text) => text.slice(0, TEXT_MAX) || undefined,
};

/** Reads a fragment, with or without its `#`. Unknown screens and values are those of `DEFAULTS`. */
export function parse(fragment) {
  const [path, query = ''] = split(fragment.replace(/^#?\/?/, ''), '?');
  const [screen, video = ''] = split(path, '/');
  const state = { ...DEFAULTS, filters: [] };
  if (SCREENS.includes(screen)) state.screen = screen;
  if (screen === 'videos' && video) state.video = decoded(video);
  else if (screen === 'videos') state.screen = 'overview';
  for (const [name, value] of new URLSearchParams(query)) {
    if (Object.hasOwn(READERS, name)) {
      const read = READERS[name](value);
      if (read !== undefined) state[name] = read;
    } else addFilter(state.filters, name, value);
  }
  return state;
}

/** Writes the fragment of a state, with its `#`. What is as in `DEFAULTS` is left out. */
export function format(state) {
  const query = new URLSearchParams();
  for (const name of Object.keys(READERS)) {
    if (state[name] !== DEFAULTS[name] && state[name] !== null && state[name] !== undefined) query.set(name, state[name]);
  }
  for (const { name, not, values } of state.filters) {
    for (const value of values) query.append(`${not ? NOT : ''}${name}`, value ?? '');
  }
  const video = state.screen === 'videos' && state.video !== null ? `/${encodeURIComponent(state.video)}` : '';
  const path = state.screen === 'overview' ? '' : `${state.screen}${video}`;
  return `#/${path}${query.size ? `?${query}` : ''}`;
}

/** The filters with one more value, or without it if it is there already. */
export function toggled(filters, name, value) {
  const found = filters.find((it) => it.name === name && !it.not);
  const others = filters.filter((it) => it !== found);
  if (!found) return [...others, { name, not: false, values: [value] }];
  const values = found.values.includes(value) ? found.values.filter((it) => it !== value) : [...found.values, value];
  return values.length ? filters.map((it) => (it === found ? { ...found, values } : it)) : others;
}

/** The filters of an address as those of a query. */
export const queried = (filters) => filters.map(({ name, not, values }) => [not ? 'is_not' : 'is', name, values]);

function addFilter(filters, parameter, text) {
  const not = parameter.startsWith(NOT);
  const name = (not ? parameter.slice(NOT.length) : parameter).slice(0, TEXT_MAX);
  const value = text === '' ? null : text.slice(0, TEXT_MAX);
  const found = filters.find((it) => it.name === name && it.not === not);
  if (!found) {
    if (filters.length < FILTERS_MAX) filters.push({ name, not, values: [value] });
  } else if (found.values.length < VALUES_MAX && !found.values.includes(value)) found.values.push(value);
}

// At the first separator only.
function split(text, separator) {
  const index = text.indexOf(separator);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
