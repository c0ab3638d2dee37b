// Drives one page of a headless Chromium: an order as JSON on each line of standard input, its answer on standard output.
// node browser.js PLAYWRIGHT_CORE CHROMIUM PROFILE_FOLDER [FLAG ...]
'use strict';
const readline = require('node:readline');
const [playwright, executablePath, profile, ...args] = process.argv.slice(2);
const { chromium } = require(playwright);

const WIDTH = 1000;
const HEIGHT = 700;

function find(page, { selector, text, nth = 0 }) {
  const all = page.locator(selector);
  return (text === undefined ? all : all.filter({ hasText: new RegExp(text) })).nth(nth);
}

const orders = {
  goto: (page, { url }) => page.goto(url, { waitUntil: 'domcontentloaded', timeout: 60000 }).then(() => null),
  click: (page, o) => find(page, o).click({ timeout: o.timeout }),
  dblclick: (page, o) => find(page, o).dblclick({ timeout: o.timeout }),
  wait: (page, o) => find(page, o).waitFor({ state: o.state || 'visible', timeout: o.timeout }),
  count: (page, o) => page.locator(o.selector).count(),
  text: (page, o) => find(page, o).innerText({ timeout: o.timeout }),
  texts: (page, o) => page.locator(o.selector).allTextContents(),
  attributes: (page, o) =>
    page.locator(o.selector).evaluateAll((all, name) => all.map((one) => one.getAttribute(name)), o.name),
  box: (page, o) => find(page, o).boundingBox({ timeout: o.timeout }),
  // By the viewer's own means: the wheel would have every image on the way drawn, which takes long without a graphics card.
  jump: (page, { index }) =>
    page.evaluate(async (imageIndex) => {
      const [{ viewport }] = window.cornerstone.getEnabledElements();
      await window.cornerstone.utilities.jumpToSlice(viewport.element, { imageIndex });
    }, index),
  shot: (page, { path, clip, style }) => page.screenshot({ path, clip, style, animations: 'disabled' }).then(() => null),
};

(async () => {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args,
    viewport: { width: WIDTH, height: HEIGHT },
  });
  const page = context.pages()[0] || (await context.newPage());
  let complaints = [];
  page.on('pageerror', (error) => complaints.push(`page: ${String(error).slice(0, 300)}`));
  page.on('console', (said) => said.type() === 'error' && complaints.push(`console: ${said.text().slice(0, 300)}`));
  page.on('response', (answer) => answer.status() >= 400 && complaints.push(`HTTP ${answer.status()} ${new URL(answer.url()).pathname.slice(0, 200)}`));
  orders.complaints = async () => {
    const told = complaints;
    complaints = [];
    return told;
  };
  process.stdout.write(JSON.stringify({ answer: context.browser()?.version() ?? 'ready' }) + '\n');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { order, ...o } = JSON.parse(line);
    let told;
    try {
      told = { answer: (await orders[order](page, o)) ?? null };
    } catch (error) {
      told = { error: String(error).slice(0, 600) };
    }
    process.stdout.write(JSON.stringify(told) + '\n');
  }
  await context.close();
})().catch((error) => {
  console.error(String(error).slice(0, 2000));
  process.exit(1);
});
