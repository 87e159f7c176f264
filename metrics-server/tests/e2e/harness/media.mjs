// The video that the pages play: made by ffmpeg, so that none has to be kept with the source.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

export const VIDEO_SECONDS = 30;

/** Writes `video.webm` into `directory` and returns its path. */
export async function makeVideo(directory) {
  const path = join(directory, 'video.webm');
  // A key frame every half second makes a seek land where it was asked to.
  const encoder = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '60k', '-g', '5', '-pix_fmt', 'yuv420p'];
  const picture = `testsrc2=size=160x90:rate=10:duration=${VIDEO_SECONDS}`;
  await promisify(execFile)('ffmpeg', ['-v', 'error', '-nostdin', '-f', 'lavfi', '-i', picture, ...encoder, path]);
  return path;
}
