// The language of the page: the reader's choice, else the first of the browser's that the page has.

/** Their own names. Each has a file in `words`. */
export const LANGUAGES = { en: 'English', de: 'Deutsch', nl: 'Nederlands' };

const CHOICE = 'metrics-language';

export function chosenLanguage() {
  let saved = null;
  // Throws if the browser permits no storage.
  try {
    saved = localStorage.getItem(CHOICE);
  } catch {}
  const wanted = [saved, ...navigator.languages].filter(Boolean).map((tag) => tag.split('-')[0].toLowerCase());
  return wanted.find((language) => Object.hasOwn(LANGUAGES, language)) ?? 'en';
}

export function chooseLanguage(language) {
  try {
    localStorage.setItem(CHOICE, language);
  } catch {}
  location.reload();
}

/** The locale of numbers and dates: the reader's own of that language, such as `en-GB`. */
export const localeOf = (language) => navigator.languages.find((tag) => tag.split('-')[0].toLowerCase() === language) ?? language;

/** A function from the name of a text and its values to the text. A text with several forms has one per plural. */
export function translate(words, locale) {
  // Only when they are needed: their data loads slowly.
  let rules = null;
  let numbers = null;
  const form = (count) => (rules ??= new Intl.PluralRules(locale)).select(count);
  const number = (value) => (numbers ??= new Intl.NumberFormat(locale)).format(value);
  return (name, values = {}) => {
    const entry = words[name];
    const text = typeof entry === 'object' ? (entry[form(values.count)] ?? entry.other) : entry;
    if (text === undefined) throw new Error(`no text is called ${name}`);
    return text.replace(/\{(\w+)\}/g, (_, key) => (typeof values[key] === 'number' ? number(values[key]) : (values[key] ?? '')));
  };
}
