// Applies the chosen colours before the first paint. The default is the system's.

(() => {
  const choice = 'metrics-theme';
  const root = document.documentElement;
  const apply = (theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  // Throws if the browser permits no storage.
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
