// The distribution of the errors of many scripts, as a table.

const COLUMNS = [
  'client', 'scripts', 'truth, s', 'sum of errors', 'min', 'p10', 'median', 'p90', 'max', 'mean abs', 'over limit',
  'plays wrong', 'left watching',
];

/** The results of a client, as Markdown. */
export function table(client, results) {
  const lines = [COLUMNS, COLUMNS.map(() => '---'), cells(client, results)];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export function meanAbsolute(results) {
  return results.length && sum(results.map(({ error }) => Math.abs(error))) / results.length;
}

/** Whether the number of plays is outside the right range. */
export function hasWrongPlays({ plays, wantedPlays: [least, most] }) {
  return plays < least || plays > most;
}

function cells({ name, limitSeconds }, results) {
  const errors = results.map(({ error }) => error).sort((one, other) => one - other);
  const quantile = (part) => errors[Math.round(part * (errors.length - 1))];
  const truth = sum(results.map((result) => result.truth));
  const seconds = [truth, sum(errors), ...[0, 0.1, 0.5, 0.9, 1].map(quantile), meanAbsolute(results)];
  const isOver = ({ error }) => Math.abs(error) > limitSeconds;
  const counts = [isOver, hasWrongPlays, ({ watching }) => watching > 0].map((holds) => results.filter(holds).length);
  return [name, results.length, ...seconds.map((value) => value.toFixed(2)), ...counts];
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
