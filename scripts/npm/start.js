
let started;

// A page has one server: every later call returns the result of the first.
const startOnce = ({ server, key, live, manual, page }) => {
  const base = new URL(server, location.href);
  base.pathname = base.pathname.replace(/\/?$/, '/');
  const dataset = { key, live, page, server: base.href, manual: manual ? '' : undefined };
  return (started ??= start(base.href, { dataset }));
};

export { startOnce as start };
