// Names of values of dimensions, for people.

const CLASSES = { chrome: 'Chrome', edge: 'Edge', firefox: 'Firefox', safari: 'Safari', opera: 'Opera', brave: 'Brave', ie: 'Internet Explorer', ios: 'iOS', mac: 'macOS', windows: 'Windows', linux: 'Linux', android: 'Android' };
const DEVICES = ['desktop', 'mobile', 'tablet'];
const COUNTED = ['browser', 'platform', 'device'];
const SINGULAR = ['page', 'page_host', 'referrer', 'utm_source', 'utm_medium', 'utm_campaign', 'country', 'browser', 'device', 'platform', 'language', 'player'];
const KNOWN = [...SINGULAR, 'video', 'key', 'played'];
const FIELD = /^(video|session)\.(.+)$/s;

/**
 * The names that a dimension and its values have in the language of `t`. `keys` maps keys to their names, `titles`
 * videos to their titles, as far as these are known.
 */
export function naming(t, locale, keys, titles = new Map()) {
  const displayed = (type, value) => {
    try {
      return new Intl.DisplayNames(locale, { type }).of(value);
    } catch {
      return value;
    }
  };
  const value = (name, text) => {
    if (text === null || text === '') return t(name === 'referrer' ? 'value_direct' : name.startsWith('utm_') ? 'value_untagged' : 'value_none');
    if (COUNTED.includes(name) && text === 'other') return t('value_other');
    if (name === 'device' && DEVICES.includes(text)) return t(`device_${text}`);
    if (name === 'browser' || name === 'platform') return CLASSES[text] ?? text;
    if (name === 'country') return displayed('region', text);
    if (name === 'language') return displayed('language', text);
    if (name === 'page') return text.replace(/^https?:\/\//, '').replace(/(.)\/$/, '$1');
    if (name === 'key') return keys.get(text) ?? `${text.slice(0, 6)}…`;
    if (name === 'video') return titles.get(text) ?? text;
    return text;
  };
  // The identifier, which distinguishes videos with the same title.
  const detail = (name, text) => (name === 'video' && text !== null && value(name, text) !== text ? text : null);
  const field = (name) => {
    const [, owner, path] = FIELD.exec(name) ?? [];
    return owner ? t(`field_${owner}`, { name: path }) : name;
  };
  const dimension = (name) => (KNOWN.includes(name) ? t(`by_${name}`) : field(name));
  const one = (name) => (SINGULAR.includes(name) ? t(`one_${name}`) : dimension(name));
  return { value, detail, dimension, one };
}
