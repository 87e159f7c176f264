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
  window.chooseTheme = (theme) => {
    apply(theme);
    try {
      localStorage.setItem(choice, theme);
    } catch {}
  };
})();
