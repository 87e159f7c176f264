// The setup of the two stream players in use, as the author of a page does it.

/** The name of each player, and the script by which a page plays a stream in its video with it. */
export const STREAM_PLAYERS = {
  'hls.js': `
    import Hls from 'hls.js';
    const hls = new Hls({ startLevel: 0 });
    hls.loadSource('/stream/master.m3u8');
    hls.attachMedia(video);
    window.load = (query) => hls.loadSource('/stream/master.m3u8' + query);
    window.recover = () => hls.recoverMediaError();
    // From the next piece on.
    window.choose = (index) => (hls.nextLevel = index);`,
  'dash.js': `
    import { MediaPlayer } from 'dashjs';
    const dash = MediaPlayer().create();
    const abr = { autoSwitchBitrate: { video: false }, initialBitrate: { video: 60 } };
    dash.updateSettings({ debug: { logLevel: 0 }, streaming: { abr } });
    dash.initialize(video, '/stream/stream.mpd', false);
    window.load = (query) => dash.attachSource('/stream/stream.mpd' + query);
    window.recover = () => dash.attachSource('/stream/stream.mpd', video.currentTime);
    window.choose = (index) => dash.setRepresentationForTypeByIndex('video', index, false);`,
};
