// What a <video> really showed, measured in the page and apart from the client under test: a stretch
// runs from where playing began to where it stopped, and a seek begins a new one.

class Watch {
  #video;
  #stretches = [];
  #open = null;

  constructor(video) {
    this.#video = video;
    video.addEventListener('playing', () => this.#begin());
    video.addEventListener('seeking', () => this.#end());
    video.addEventListener('pause', () => this.#sample());
    video.addEventListener('pause', () => this.#end());
    const tick = () => {
      this.#sample();
      requestAnimationFrame(tick);
    };
    tick();
  }

  /** The stretches so far as [from, to], the one that is playing now included. */
  shown() {
    this.#sample();
    return this.#open ? [...this.#stretches, [...this.#open]] : this.#stretches;
  }

  #begin() {
    this.#open ??= [this.#video.currentTime, this.#video.currentTime];
  }

  // Not while seeking: `currentTime` is then already where the seek goes to.
  #sample() {
    if (this.#open && !this.#video.seeking) this.#open[1] = this.#video.currentTime;
  }

  #end() {
    if (this.#open) this.#stretches.push(this.#open);
    this.#open = null;
  }
}

window.watches = {};
window.watch = (video) => (window.watches[video.id] = new Watch(video));
document.querySelectorAll('video').forEach(window.watch);
