// The texts of all charts in each language. Names in braces are replaced.

import { CURVE_WORDS } from './curve-words.js';

export const WORDS = {
  en: {
    ...CURVE_WORDS.en,
    points: '± points',
    spark: '{name}: last {last}, at most {most}',
    more: '{count} more',
    bars: '{name}: {rows}',
    median: 'Median',
    p95: '95 %',
    histogram: '{name}: median {median}, 95 % below {p95}',
    count: 'Sessions',
    perBin: 'Sessions per {width}',
  },
  de: {
    ...CURVE_WORDS.de,
    points: '± Punkte',
    spark: '{name}: zuletzt {last}, höchstens {most}',
    more: '{count} weitere',
    bars: '{name}: {rows}',
    median: 'Median',
    p95: '95 %',
    histogram: '{name}: Median {median}, 95 % unter {p95}',
    count: 'Sitzungen',
    perBin: 'Sitzungen je {width}',
  },
  nl: {
    ...CURVE_WORDS.nl,
    points: '± punten',
    spark: '{name}: laatst {last}, hoogstens {most}',
    more: 'nog {count}',
    bars: '{name}: {rows}',
    median: 'Mediaan',
    p95: '95 %',
    histogram: '{name}: mediaan {median}, 95 % onder {p95}',
    count: 'Sessies',
    perBin: 'Sessies per {width}',
  },
};
