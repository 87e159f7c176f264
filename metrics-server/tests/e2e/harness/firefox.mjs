// Debian's Firefox, headless, by WebDriver BiDi, with as much of Playwright's interface as the tests use.

import puppeteer from 'puppeteer-core';

export async function launchFirefox() {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    // The media has no sound, and tests play it without a click.
    extraPrefsFirefox: { 'media.autoplay.default': 0, 'media.autoplay.blocking_policy': 0 },
  });
  return { newContext: () => newContext(browser), close: () => browser.close() };
}

async function newContext(browser) {
  const context = await browser.createBrowserContext();
  const newPage = async () => {
    const page = await context.newPage();
    // Firefox gives no access to the body of requests.
    const on = page.on.bind(page);
    page.on = (event, listener) => on(event, event === 'request' ? (request) => listener(outline(request)) : listener);
    page.locator = (selector) => ({ evaluate: (action, argument) => page.$eval(selector, action, argument) });
    return page;
  };
  return { newPage, close: () => context.close() };
}

function outline(request) {
  return { method: () => request.method(), url: () => request.url(), postData: () => undefined };
}
