// Debian's Chromium, headless.

import { chromium } from 'playwright-core';

// Headless Chromium names itself in its User-Agent, and servers take it for a bot. A viewer's Chrome sends this.
export const USER_AGENT =
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36';

export function launchBrowser(options) {
  return chromium.launch({
    ...options,
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      // Host names that a page's author can point at any address (DNS rebinding).
      '--host-resolver-rules=MAP *.rebound.example 127.0.0.1',
      '--autoplay-policy=no-user-gesture-required',
      // For the whole browser: beacons outlive their page, and so would escape an override on the page.
      `--user-agent=${USER_AGENT}`,
    ],
  });
}
