// Makes elements. Texts become text nodes, so no text of a viewer or a site is ever read as HTML.

/** An element with attributes and children. `on` holds listeners; false and null leave an attribute or a child out. */
export function h(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === 'on') for (const [type, listener] of Object.entries(value)) made.addEventListener(type, listener);
    else made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A menu that closes on Escape, and when the focus or a click leaves it. */
export function menu(summary, content, attributes = {}) {
  const made = h('details', { class: 'menu', ...attributes }, h('summary', {}, summary), h('div', { class: 'sheet' }, content));
  const close = () => (made.open = false);
  made.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !made.open) return;
    close();
    made.querySelector('summary').focus();
  });
  made.addEventListener('focusout', ({ relatedTarget }) => {
    if (relatedTarget && !made.contains(relatedTarget)) close();
  });
  const leave = ({ target }) => {
    if (!made.isConnected) document.removeEventListener('pointerdown', leave);
    else if (!made.contains(target)) close();
  };
  made.addEventListener('toggle', () => (made.open ? document.addEventListener('pointerdown', leave) : document.removeEventListener('pointerdown', leave)));
  return made;
}

const FOCUSED = 'a[href], button, summary, select, input, [tabindex="0"]';
const keyOf = (it) => it && (it.dataset.sort || it.rel || it.title || it.getAttribute('href') || it.textContent);

/**
 * Notes which part of `root` has the focus. Returns a function that gives the focus to the same part after `root` was
 * filled anew: the one of the same key, else the one at the same place. A focus that has gone elsewhere stays there.
 */
export function focusKeeper(root) {
  const parts = () => [...root.querySelectorAll(FOCUSED)].filter((it) => it.checkVisibility({ visibilityProperty: true }));
  const index = parts().indexOf(document.activeElement);
  const key = keyOf(document.activeElement);
  return () => {
    if (index < 0 || ![null, document.body].includes(document.activeElement)) return;
    const now = parts();
    (now.find((it) => keyOf(it) === key) ?? now[Math.min(index, now.length - 1)])?.focus({ preventScroll: true });
  };
}

/** A text that is copied by its button. */
export function copyable(text, t) {
  const button = h('button', { type: 'button', class: 'copy' }, t('copy'));
  button.addEventListener('click', async () => {
    // The clipboard is missing on pages without TLS.
    const isDone = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    button.textContent = isDone ? t('copied') : t('copy_by_hand');
    if (!isDone) getSelection().selectAllChildren(code);
  });
  const code = h('code', { dir: 'ltr' }, text);
  return h('div', { class: 'snippet' }, h('pre', { tabindex: 0 }, code), button);
}
