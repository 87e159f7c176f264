// The colours that were chosen, before anything is drawn. Without a choice they are those of the system.

(() => {
  const choice = 'metrics-theme';
  const root = document.documentElement;
  const apply = (theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  // A browser may keep nothing, and throws then.
  try {
    apply(localStorage.getItem(choice));
  } catch {}
  addEventListener('DOMContentLoaded', () => {
    const select = document.getElementById('theme');
    select.value = root.dataset.theme ?? '';
    select.addEventListener('change', () => {
      apply(select.value);
      try {
        localStorage.setItem(choice, select.value);
      } catch {}
    });
  });
})();
