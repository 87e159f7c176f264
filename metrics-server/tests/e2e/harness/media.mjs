// The video and the stream of the pages, made by ffmpeg, so that the repository needs no media files.

import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export const VIDEO_SECONDS = 30;

/** Writes `video.webm` into `directory` and returns its path. */
export async function makeVideo(directory) {
  const path = join(directory, 'video.webm');
  // A key frame every half second makes seeks exact.
  const encoder = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '60k', '-g', '5', '-pix_fmt', 'yuv420p'];
  await ffmpeg('160x90', [...encoder, path]);
  return path;
}

// Of the stream: the length of a piece, and the heights of the two renditions.
export const PIECE_SECONDS = 2;
export const HEIGHTS = [90, 180];

/**
 * Makes the same in pieces and in two renditions, with a manifest for HLS, `master.m3u8`, and one for DASH,
 * `stream.mpd`, and returns the directory. VP9 is in every Chromium, and in both kinds of stream.
 */
export async function makeStream(directory) {
  const to = join(directory, 'stream');
  await mkdir(to);
  const encoder = ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-g', '20', '-keyint_min', '20', '-pix_fmt', 'yuv420p'];
  const renditions = ['-map', '0:v', '-map', '0:v', '-s:v:0', '160x90', '-b:v:0', '60k', '-s:v:1', '320x180', '-b:v:1', '200k'];
  const pieces = ['-dash_segment_type', 'mp4', '-seg_duration', PIECE_SECONDS, '-use_template', '1', '-use_timeline', '0'];
  const manifests = ['-adaptation_sets', 'id=0,streams=v', '-hls_playlist', '1', join(to, 'stream.mpd')];
  await ffmpeg('320x180', [...encoder, ...renditions, '-f', 'dash', ...pieces, ...manifests]);
  return to;
}

async function ffmpeg(size, output) {
  const picture = `testsrc2=size=${size}:rate=10:duration=${VIDEO_SECONDS}`;
  await promisify(execFile)('ffmpeg', ['-v', 'error', '-nostdin', '-f', 'lavfi', '-i', picture, ...output]);
}
