// The screen of a video: its figures, where viewers stay, its plays over time, its pages and its quality.

import { bars } from './charts/bars.js';
import { html } from './charts/draw.js';
import { histogram } from './charts/histogram.js';
import { timeLine } from './charts/line.js';
import { unitOf } from './charts/maths.js';
import { adoptStyles } from './charts/styles.js';
import { clockText, fill, formatOf, numberText } from './charts/text.js';
import { WORDS } from './charts/words.js';
import * as data from './video-data.js';
import { Stage } from './video-stage.js';
import { VIDEO_CSS } from './video-styles.js';
import { VIDEO_WORDS } from './video-words.js';

const ROWS = 6; // Of a list before all are asked for.
const UNITS = { view_time: 'seconds', startup_time_p50: 'seconds', startup_time_p95: 'seconds', plays: 'count' };
const LESS_IS_BETTER = new Set(data.QUALITY);
const PLURALS = { page: 'pages', referrer: 'referrers', utm_campaign: 'campaigns', country: 'countries', device: 'devices', browser: 'browsers', platform: 'platforms' };
const NAMES = { ios: 'iOS', mac: 'macOS', ie: 'Internet Explorer' };

const plainName = (dimension, value) => {
  if (value === null) return '–';
  if (dimension === 'page') return value.replace(/^https?:\/\//, '');
  if (!['device', 'browser', 'platform'].includes(dimension)) return value;
  return NAMES[value] ?? value.charAt(0).toUpperCase() + value.slice(1);
};

// Equal for equal states.
const textOf = ({ identifier, body, compare, interval, source, against }) =>
  JSON.stringify([identifier, body, compare, interval, source, against ?? null]);

class VideoScreen {
  #aborting = new AbortController();
  #charts = {};
  #shown = {};
  #limits = {};
  #chosen = null;

  constructor(container, options) {
    this.options = { locale: 'en', ...options };
    const language = this.options.locale.slice(0, 2);
    this.words = VIDEO_WORDS[language] ?? VIDEO_WORDS.en;
    this.chart = { words: WORDS[language] ?? WORDS.en, locale: this.options.locale, timezone: this.options.timezone };
    this.root = html('div', { class: 'vs' });
    container.replaceChildren(this.root);
    adoptStyles(this.root, VIDEO_CSS);
    this.#build();
    this.update(options.state);
  }

  /**
   * Shows another selection, or the same one with new figures. Until it is answered, no figures of another are there.
   */
  update(state) {
    const [text, before] = [textOf(state), this.state && textOf(this.state)];
    const isOwn = text === this.#chosen;
    this.#chosen = null;
    // A comparison that was chosen here comes back by way of the address.
    if (isOwn && text === before) return;
    const isOther = this.state?.identifier !== state.identifier;
    this.state = state;
    this.#aborting.abort();
    this.#aborting = new AbortController();
    if (text !== before || !this.error.hidden) this.#clear(isOther);
    this.#load(this.#aborting.signal);
  }

  destroy() {
    this.#aborting.abort();
    this.stage.destroy();
    for (const chart of Object.values(this.#charts)) chart.destroy();
    this.root.remove();
  }

  #build() {
    const { words } = this;
    this.title = html('h2', { dir: 'auto' });
    this.about = html('p');
    this.error = html('div', { class: 'vs-card vs-error', role: 'alert', hidden: '' });
    this.empty = html('p', { class: 'vs-card vs-empty', role: 'status' });
    this.figures = html('dl', { class: 'vs-figures' });
    this.totals = html('section', { class: 'vs-card' }, this.figures);
    this.select = html('select');
    this.select.addEventListener('change', () => this.#choose(this.select.value));
    this.note = html('p', { class: 'vs-note' });
    const label = html('label', {}, words.against, this.select);
    const bar = html('div', { class: 'vs-bar' }, html('h3', {}, words.retention), label);
    this.curves = html('section', { class: 'vs-card' }, bar, this.note);
    this.stage = new Stage(this.curves, { words, chartWords: this.chart.words, locale: this.options.locale });
    this.places = { plays: html('div'), startup: html('div') };
    this.quality = html('dl', { class: 'vs-figures vs-quality' });
    this.sections = { plays: html('section', { class: 'vs-card' }, html('h3', {}, words.overTime), this.places.plays) };
    for (const name of data.DIMENSIONS) {
      this.places[name] = html('div');
      this.sections[name] = html('section', { class: 'vs-card vs-third' }, html('h3', {}, words[PLURALS[name]]), this.places[name]);
    }
    this.startup = html('div', { class: 'vs-startup' }, html('h3', {}, words.startup), this.places.startup);
    this.sections.quality = html('section', { class: 'vs-card' }, html('h3', {}, words.quality), this.quality, this.startup);
    const head = html('div', { class: 'vs-head' }, this.title, this.about);
    this.root.append(head, this.error, this.empty, this.totals, this.curves, ...Object.values(this.sections));
  }

  #clear(isOther) {
    const { identifier } = this.state;
    if (isOther) {
      this.title.textContent = identifier;
      this.about.textContent = '';
      this.stage.load(null);
      this.others = null;
      this.video = null;
    }
    this.error.hidden = true;
    this.empty.hidden = true;
    this.note.hidden = true;
    this.#shown = {};
    this.#limits = {};
    this.curves.hidden = false;
    this.totals.hidden = false;
    this.#fillFigures(this.figures, data.TOTALS);
    this.stage.show(null);
    for (const section of Object.values(this.sections)) section.hidden = true;
    this.#fillChoices();
  }

  async #load(signal) {
    const { ask } = this.options;
    const { state } = this;
    try {
      this.video ??= await data.askVideo(ask, state, signal);
      if (signal.aborted) return;
      if (!this.video) {
        this.totals.hidden = true;
        return this.#sayEmpty(fill(this.words.unknown, { identifier: state.identifier }));
      }
      this.#showHead();
      await Promise.all([this.#loadTotals(signal), this.#loadPlays(signal), this.#loadRows(signal), this.#loadOthers(signal)]);
    } catch (error) {
      if (!signal.aborted) this.#sayError(error);
    }
  }

  async #loadTotals(signal) {
    const { ask } = this.options;
    const own = data.askCurve(ask, data.membersOf(this.state), this.video.duration, signal);
    const [totals, curve] = await Promise.all([data.askTotals(ask, this.state, signal), own]);
    if (signal.aborted) return;
    this.#shown = { ...this.#shown, totals, curve };
    this.#showCompared();
    if (!totals.values.plays && curve.sessions === 0) return this.#sayEmpty(this.words.unwatched);
    this.stage.show(curve);
    this.#fillChoices();
    await Promise.all([this.#loadAgainst(signal), this.#showQuality(totals, signal)]);
  }

  async #loadPlays(signal) {
    const plays = await data.askPlays(this.options.ask, this.state, signal);
    if (signal.aborted || !plays.points.some(({ value }) => value > 0)) return;
    this.#shown.plays = plays;
    this.sections.plays.hidden = false;
    this.#showPlays();
  }

  #showPlays() {
    const { plays, other } = this.#shown;
    if (!plays) return;
    const options = { bucket: unitOf(this.state.interval), name: this.words.plays, previousName: this.#comparedWith() ?? '' };
    this.#draw('plays', timeLine, other?.plays ? { ...plays, previous: other.plays } : plays, options);
  }

  // The name of what all figures are compared with, or null: another selection, or the period before.
  #comparedWith() {
    return this.#shown.other?.name ?? (this.state.compare ? this.#comparedName : null);
  }

  get #comparedName() {
    return this.state.comparedName ?? this.words.previous;
  }

  // The name of the column of compared values; null without a comparison.
  #columnName() {
    const { totals, other } = this.#shown;
    return other?.name ?? (totals?.before?.plays ? this.chart.words.before : null);
  }

  #showFigures() {
    const { totals: { values, before }, other } = this.#shown;
    // Of a period without plays there is nothing to compare with.
    const isNone = !other && before?.plays === 0;
    const compared = isNone ? { none: this.chart.words.noBefore } : { name: this.#comparedWith(), values: other?.values ?? before };
    this.#fillFigures(this.figures, data.TOTALS, values, compared);
    this.#fillFigures(this.quality, data.QUALITY.filter((name) => values[name] !== null), values, compared);
  }

  async #loadRows(signal) {
    await Promise.all(data.DIMENSIONS.map(async (dimension) => {
      const rows = await data.askRows(this.options.ask, this.state, dimension, signal);
      if (signal.aborted || rows.length === 0) return;
      this.#shown[dimension] = rows;
      this.sections[dimension].hidden = false;
      this.#showRows(dimension, ROWS);
      this.#fillChoices();
    }));
  }

  #showRows(dimension, limit) {
    this.#limits[dimension] = limit;
    const selected = data.selectedValues(data.membersOf(this.state), dimension);
    const { onFilter } = this.options;
    const { other } = this.#shown;
    const before = (row) => (other ? other.rows[dimension].get(row.name) : row.before);
    const rows = this.#shown[dimension].map((row) => {
      const { name: key, value } = row;
      const name = this.#nameOf(dimension, key);
      return { name, title: key ?? name, value, before: before(row), key, isActive: selected.includes(key), isMuted: key === null };
    });
    this.#draw(dimension, bars, rows, {
      limit, caption: this.words[dimension], valueName: this.words.plays, beforeName: this.#columnName(),
      onPick: onFilter && ((row) => onFilter(dimension, row.key)), onMore: () => this.#showRows(dimension, rows.length),
    });
  }

  // Only once per video: the list hardly changes.
  async #loadOthers(signal) {
    this.others ??= await data.askOthers(this.options.ask, this.state, signal);
    if (!signal.aborted) this.#fillChoices();
  }

  // Loads the comparison: the choice of the reader, else the period of the view.
  async #loadAgainst(signal) {
    const { against } = this.state;
    const { curve, totals } = this.#shown;
    if (!against || !curve) return;
    const other = data.againstBody(against, this.state, totals.compared ?? (await this.#before(signal)));
    if (!other) return;
    const { ask } = this.options;
    const state = { body: other.body, interval: this.state.interval };
    const [[own, compared], { values }, plays, rows] = await Promise.all([
      this.#askCurves(other, signal),
      data.askTotals(ask, state, signal),
      this.#askOtherPlays(state, signal),
      Promise.all(data.DIMENSIONS.map((it) => data.askRows(ask, state, it, signal))),
    ]);
    // The reader may have chosen another one meanwhile.
    if (signal.aborted || against !== this.state.against) return;
    const name = this.select.selectedOptions[0]?.textContent ?? against;
    const isEmpty = compared.sessions === 0;
    this.note.hidden = !isEmpty && !other.isOther;
    const nothing = against === 'previous' ? this.words.noPlays : fill(this.words.noPlaysOf, { name });
    this.note.textContent = isEmpty ? nothing : this.words.byPercent;
    if (isEmpty) return;
    this.stage.show({ ...own, compare: { name, curve: compared } });
    const byName = (list) => new Map(list.map((row) => [row.name, row.value]));
    this.#shown.other = { name, values, plays, rows: Object.fromEntries(data.DIMENSIONS.map((it, index) => [it, byName(rows[index])])) };
    this.#showCompared();
  }

  // The points of a line for the same buckets; null if the view has it already.
  async #askOtherPlays(other, signal) {
    const { ask } = this.options;
    const { against, compare } = this.state;
    if (against !== 'previous') return (await data.askPlays(ask, other, signal)).points;
    return compare ? null : (await data.askPlays(ask, { ...this.state, compare: other.body.timeframe }, signal)).previous;
  }

  // Shows the compared values everywhere but in the curve.
  #showCompared() {
    if (this.#shown.totals) this.#showFigures();
    this.#showPlays();
    for (const it of data.DIMENSIONS) if (this.#shown[it]) this.#showRows(it, this.#limits[it] ?? ROWS);
  }

  // The curves of this selection and of another one: by percent, if the videos differ.
  #askCurves({ body, isOther }, signal) {
    const { ask } = this.options;
    if (isOther) return Promise.all([data.membersOf(this.state), body].map((it) => data.askPercentCurve(ask, it, signal)));
    return Promise.all([this.#shown.curve, data.askCurve(ask, body, this.video.duration, signal)]);
  }

  // The time before, if the view itself compares with nothing.
  async #before(signal) {
    if (this.state.against !== 'previous') return null;
    const totals = await data.askTotals(this.options.ask, { ...this.state, compare: 'previous_period' }, signal);
    return totals.compared;
  }

  // The skeleton of the page has names in each language.
  #nameOf(dimension, value) {
    return this.options.nameOf?.(dimension, value) ?? plainName(dimension, value);
  }

  #choose(against) {
    this.state = { ...this.state, against: against || undefined };
    this.#chosen = textOf(this.state);
    this.options.onAgainst?.(against || null);
    this.note.hidden = true;
    if (this.#shown.curve) this.stage.show(this.#shown.curve);
    this.#shown.other = null;
    this.#showCompared();
    const { signal } = this.#aborting;
    this.#loadAgainst(signal).catch((error) => !signal.aborted && this.#sayError(error));
  }

  async #showQuality({ values }, signal) {
    const hasAny = values.startup_time_p50 !== null || values.rebuffering_ratio !== null || values.failure_rate > 0;
    if (!hasAny) return;
    this.sections.quality.hidden = false;
    this.startup.hidden = values.startup_time_p50 === null;
    if (this.startup.hidden) return;
    const shown = await data.startupBins(this.options.ask, data.membersOf(this.state), values.startup_time_p95, signal);
    if (signal.aborted) return;
    const marks = { median: values.startup_time_p50, p95: values.startup_time_p95 };
    this.#draw('startup', histogram, { ...shown, ...marks }, { unit: 'seconds', name: this.words.startup });
  }

  #showHead() {
    const { title, duration, identifier } = this.video;
    this.title.textContent = title ?? identifier ?? this.state.identifier;
    const known = [duration && clockText(duration), title && identifier].filter(Boolean);
    this.about.replaceChildren(...known.flatMap((text, index) => [index ? ' · ' : '', html('bdi', {}, text)]));
    this.options.onTitle?.(this.title.textContent);
    this.stage.load(data.sourceOf(this.state, this.video, document.baseURI));
  }

  // A dash stands for what is not known yet, and for what does not apply.
  #fillFigures(list, names, values = {}, compared = {}) {
    list.replaceChildren(...names.map((name) => {
      const format = formatOf({ unit: UNITS[name] ?? 'share', locale: this.options.locale });
      const [value, before] = [values[name] ?? null, compared.values?.[name] ?? null];
      const text = value === null ? '–' : format(value);
      const other = before !== null ? fill(this.words.compared, { name: compared.name, value: format(before) }) : name === 'plays' && compared.none;
      const figure = html('dd', {}, html('bdi', {}, text), ...this.#change(name, value, before));
      return html('div', {}, html('dt', {}, this.words[name]), figure, ...(other ? [html('dd', { class: 'vs-compared' }, other)] : []));
    }));
  }

  // Of percentages in points, else relative.
  #change(name, value, before) {
    if (value === null || before === null || (before === 0 && name in UNITS)) return [];
    const change = name in UNITS ? (value - before) / before : value - before;
    const { locale } = this.options;
    const digits = { maximumFractionDigits: Math.abs(change) < 0.1 ? 1 : 0 };
    const size = name in UNITS ? numberText(Math.abs(change), locale, { style: 'percent', ...digits }) : numberText(Math.abs(change) * 100, locale, digits);
    if (Math.abs(change) < 0.0005) return [];
    const text = `${change < 0 ? '−' : '+'}${size}`;
    const kind = LESS_IS_BETTER.has(name) === change < 0 ? 'is-good' : 'is-bad';
    return [html('bdi', { class: `vs-change ${kind}` }, name in UNITS ? text : fill(this.words.points, { change: text }))];
  }

  #fillChoices() {
    const { words, state } = this;
    const option = (value, name) => html('option', { value }, name);
    const group = (label, options) => (options.length ? [html('optgroup', { label }, ...options)] : []);
    const rows = (dimension) => {
      const selected = data.selectedValues(data.membersOf(state), dimension);
      const found = (this.#shown[dimension] ?? []).filter(({ name }) => name !== null && !selected.includes(name)).slice(0, 12);
      return group(words[dimension], found.map(({ name }) => option(`${dimension}=${name}`, this.#nameOf(dimension, name))));
    };
    const period = state.body.timeframe === 'all' ? [] : group(words.period, [option('previous', this.#comparedName)]);
    const others = (this.others ?? []).map(({ identifier, title }) => option(`video=${identifier}`, title));
    const videos = group(words.video, others.length ? [option('all', words.allVideos), ...others] : []);
    const choices = [option('', words.nothing), ...period, ...['device', 'page', 'browser', 'platform'].flatMap(rows), ...videos];
    this.select.replaceChildren(...choices);
    this.select.value = state.against ?? '';
    if (this.select.value === (state.against ?? '')) return;
    // The choice of an address that no row names.
    this.select.append(option(state.against, state.against.replace(/^\w+=/, '')));
    this.select.value = state.against;
  }

  #draw(name, make, shown, options) {
    const all = { ...this.chart, ...options };
    if (this.#charts[name]) this.#charts[name].update(shown, all);
    else this.#charts[name] = make(this.places[name], shown, all);
  }

  #sayEmpty(text) {
    this.empty.textContent = text;
    this.empty.hidden = false;
    this.#hideCurves();
  }

  #sayError(error) {
    const again = html('button', { type: 'button' }, this.words.retry);
    again.addEventListener('click', () => this.update(this.state));
    this.error.replaceChildren(html('span', {}, error.message), again);
    this.error.hidden = false;
    if (!this.#shown.curve) this.#hideCurves();
  }

  #hideCurves() {
    this.curves.hidden = true;
  }
}

/** Shows the screen of a video in a container, and returns `{ update(state), destroy() }`. */
export const videoScreen = (container, options) => new VideoScreen(container, options);
