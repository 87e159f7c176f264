// The viewers at this moment, for as long as a screen shows them: as the server reports each change, or, where it cannot
// or a proxy holds its stream back, by asking again and again.

const POLL_MS = 5_000;
const ERROR_MS = 15_000;
const SILENCE_MS = 8_000; // Before the first report of a stream.

/**
 * Calls `show` with `{ watching, plays, videos }`; `watching: null` stands for unknown, and asking has no `videos` with
 * positions. `question` returns the selection. Returns `{ restart, stop }`.
 */
export function follow(api, question, show) {
  let source = null;
  let timer = 0;
  let turn = 0;
  let canStream = typeof EventSource !== 'undefined';

  function stop() {
    turn += 1;
    source?.close();
    source = null;
    clearTimeout(timer);
  }

  function restart() {
    stop();
    if (document.hidden) return;
    show({ watching: null });
    if (canStream) stream();
    else poll(turn);
  }

  function stream() {
    const it = (source = new EventSource(api.address('live', question())));
    const giveUp = () => {
      it.close();
      if (it !== source) return;
      canStream = false;
      poll(turn);
    };
    timer = setTimeout(giveUp, SILENCE_MS);
    let last = null;
    it.addEventListener('message', ({ data }) => {
      clearTimeout(timer);
      last = JSON.parse(data);
      if (it === source) show(last);
    });
    // A stream that resumes reports only what has changed.
    it.addEventListener('open', () => last && it === source && show(last));
    it.addEventListener('problem', () => it === source && show({ watching: null }));
    // A browser reconnects by itself, unless the server refused.
    it.addEventListener('error', () => {
      if (it.readyState !== EventSource.CLOSED) return show({ watching: null });
      clearTimeout(timer);
      giveUp();
    });
  }

  async function poll(mine) {
    const { filters } = question();
    const answer = await api.ask('watching', { filters }).catch(() => null);
    if (mine !== turn) return;
    show({ watching: answer?.watching ?? null });
    timer = setTimeout(() => poll(mine), answer ? POLL_MS : ERROR_MS);
  }

  // A hidden page needs no connection, of which browsers open six to a server.
  const turned = () => (document.hidden ? stop() : restart());
  document.addEventListener('visibilitychange', turned);
  return {
    restart,
    stop() {
      document.removeEventListener('visibilitychange', turned);
      stop();
    },
  };
}
