// The texts of the page in all its languages.

import { WORDS as de } from './de.js';
import { WORDS as en } from './en.js';
import { WORDS as nl } from './nl.js';

export const WORDS = { de, en, nl };
