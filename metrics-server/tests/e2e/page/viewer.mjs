// Performs the acts of a viewer on the video of a page, and posts the segments shown when the page closes.

const video = document.querySelector('video');
const watch = window.watches[video.id];

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const play = () => void video.play().catch(() => {});

// The longest time in milliseconds for which a playing page had no frame, but for those that a script wants.
let stall = 0;
let last = performance.now();

function tick() {
  const now = performance.now();
  if (!video.paused) stall = Math.max(stall, now - last);
  last = now;
  requestAnimationFrame(tick);
}

function seek(to) {
  watch.end();
  video.currentTime = Math.max(0, to);
}

/** One action each, with the arguments that a script gives it (see harness/viewers/script.mjs). */
window.acts = {
  play,
  pause: () => video.pause(),
  seek: ({ to }) => seek(to),
  step: ({ by }) => seek(video.currentTime + by),
  // A link to a chapter.
  chapter: ({ to }) => {
    seek(to);
    play();
  },
  // Chrome's own slider pauses playback while it is held. Sliders of players do not.
  drag: async ({ from, to, steps, every, pausing }) => {
    const plays = !video.paused;
    if (pausing) video.pause();
    for (let step = 1; step <= steps; step++) {
      seek(from + ((to - from) * step) / steps);
      await pause(every);
    }
    if (pausing && plays) play();
  },
  rate: ({ rate }) => (video.playbackRate = rate),
  loop: ({ on }) => (video.loop = on),
  source: ({ path, playing }) => {
    watch.end();
    video.src = path;
    if (playing) play();
  },
  busy: ({ milliseconds }) => {
    const end = performance.now() + milliseconds;
    while (performance.now() < end);
    last = end;
  },
};

tick();
// The site passes it to the test (see `Site.posted`), which cannot read it from a closed page.
addEventListener('pagehide', () => {
  navigator.sendBeacon(location.href, JSON.stringify({ segments: watch.segments(), stall }));
});
