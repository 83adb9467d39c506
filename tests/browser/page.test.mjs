// The admin page as people and as hostile pages meet it, in Chromium.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { startWorld, TOKEN } from "./world.mjs";

const PHONE = { width: 390, height: 844 };
const DESK = { width: 1280, height: 900 };
const PAGES = ["/", "/licenses", "/licenses/PL-LIVE", "/licenses/PL-WAIT?act=activate", "/callbacks", "/jobs", "/drift", "/settings"];
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let world, browser;
before(async () => {
  world = await startWorld();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // The suite may run as root; two names stand for machines that an attacker controls.
    args: ["--no-sandbox", "--host-resolver-rules=MAP *.test 127.0.0.1"],
  });
});
after(async () => {
  await browser?.close();
  await world?.stop();
});

/** A viewer; what its pages complain of is a fault. */
async function viewer(options = {}) {
  const context = await browser.newContext({ baseURL: world.admin, locale: "en-GB", viewport: DESK, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (said) => said.type() === "error" && faults.push(said.text()));
  return { context, page, faults };
}

let session;
/** Tries to sign in are few: one session serves all viewers. */
async function signedIn(options) {
  const seen = await viewer(options);
  if (session) {
    await seen.context.addCookies([session]);
    await seen.page.goto("/");
  } else {
    await signIn(seen.page);
    [session] = (await seen.context.cookies()).filter((cookie) => cookie.name === "authcoded-session");
  }
  return seen;
}

async function signIn(page) {
  await page.goto("/");
  await page.getByLabel(/token|令牌/).fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.waitForURL("**/");
}

const shot = (page, name) =>
  page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true });

test("a code is found and its timeline read", async () => {
  const { context, page, faults } = await signedIn();
  assert.match(await page.title(), /^Overview/);
  await page.getByLabel("Find a code").fill("LIVE");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "PL-LIVE" }).click();
  await page.getByRole("heading", { level: 1, name: "PL-LIVE" }).waitFor();
  const timeline = await page.locator("#timeline").innerText();
  for (const word of ["renewed", "activated", "registered", "Callback"]) assert.ok(timeline.includes(word), word);
  await page.locator("#timeline a", { hasText: "Callback" }).first().click();
  await page.getByRole("heading", { name: "What was answered" }).waitFor();
  await shot(page, "callback-en");
  assert.deepEqual(faults, []);
  assert.equal(session.httpOnly && session.sameSite === "Strict", true);
  await context.close();
});

test("a code that waits is activated, without a script", async () => {
  const { context, page } = await signedIn({ javaScriptEnabled: false });
  await page.getByRole("link", { name: "PL-WAIT" }).click();
  await world.console("POST", "codes/PL-WAIT/receive");
  await page.getByRole("link", { name: "Activate now" }).click();
  await page.getByLabel(/Reason/).fill("the buyer called");
  await page.getByRole("button", { name: "Do it" }).click();
  await page.getByRole("status").getByText("Done.").waitFor();
  assert.equal((await world.license("PL-WAIT")).state, "activated");
  assert.ok((await page.locator("#timeline").innerText()).includes("reason given: the buyer called"));
  await context.close();
});

test("a drift is found and repaired", async () => {
  const { context, page, faults } = await signedIn();
  await page.getByRole("link", { name: "Compare with KooGallery" }).click();
  await page.getByRole("button", { name: "Compare now" }).click();
  const row = page.getByRole("row", { name: /PL-DRIFT/ });
  await row.waitFor();
  assert.equal((await world.license("PL-DRIFT")).state, "activated", "looking changes nothing");
  await shot(page, "drift-en");
  await row.getByRole("button").click();
  await page.getByRole("heading", { name: "What came of the repair" }).waitFor();
  assert.equal((await world.license("PL-DRIFT")).state, "released");
  assert.deepEqual(faults, []);
  await context.close();
});

test("the language is switched and the zone chosen, and both are kept", async () => {
  const { context, page } = await signedIn();
  await page.getByRole("button", { name: "中文" }).click();
  await page.getByRole("heading", { level: 1, name: "总览" }).waitFor();
  await page.getByRole("link", { name: "设置" }).click();
  await page.getByLabel("时区").fill("Europe/Berlin");
  await page.getByRole("button", { name: "保存" }).click();
  await page.getByText("显示设置已保存").waitFor();
  await page.goto("/licenses/PL-LIVE");
  assert.equal(await page.locator("html").getAttribute("lang"), "zh-CN");
  assert.ok((await page.locator("footer").innerText()).includes("Europe/Berlin"));
  await context.close();
});

for (const [lang, locale] of [["en", "en-GB"], ["zh", "zh-CN"]]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`axe finds no serious fault, and a phone shows each page whole (${lang}, ${colorScheme})`, async () => {
      const { context, page, faults } = await signedIn({ locale, colorScheme, bypassCSP: true });
      for (const viewport of [DESK, PHONE]) {
        await page.setViewportSize(viewport);
        for (const path of PAGES) {
          await page.goto(path);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth);
          assert.ok(wide <= viewport.width, `${path} is ${wide} wide at ${viewport.width}`);
          await page.evaluate(axe);
          const { violations } = await page.evaluate(() => window.axe.run());
          const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
          const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
          assert.deepEqual(told, [], path);
          const size = viewport === PHONE ? "phone" : "desk";
          const name = path.split("?")[0].replaceAll("/", "-").slice(1) || "front";
          await shot(page, `${name}-${lang}-${colorScheme}-${size}`);
        }
      }
      assert.deepEqual(faults, []);
      await context.close();
    });
  }
}

test("the front page refreshes itself under its own policy", async () => {
  const { context, page, faults } = await signedIn();
  await page.clock.install();
  await page.goto("/");
  const asked = page.waitForRequest((request) => request.headers()["x-authcoded-refresh"] === "1");
  await page.clock.runFor(31_000);
  await asked;
  await page.locator("#live h2").first().waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("the keyboard reaches what a page offers", async () => {
  const { context, page } = await signedIn();
  await page.keyboard.press("Tab");
  const first = page.getByRole("link", { name: "Skip to the content" });
  assert.ok(await first.evaluate((link) => link === document.activeElement));
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "content");
  await context.close();
});

/** A page of somebody else, on a name and a port of its own. */
async function hostile(html) {
  const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(html));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: server.address().port, close: () => server.close() };
}

for (const host of ["127.0.0.1", "evil.test"]) {
  test(`a page on another origin reads nothing and changes nothing (${host})`, async () => {
    const { context, page } = await signedIn();
    const victim = `${world.admin}/licenses/PL-LIVE`;
    const evil = await hostile(
      `<form method="post" action="${victim}"><input name="act" value="release"><input name="reason" value="x"></form>
       <iframe src="${victim}"></iframe>`,
    );
    await page.goto(`http://${host}:${evil.port}/`);
    const read = await page.evaluate(async (victim) => {
      const answers = [];
      for (const options of [{}, { credentials: "include" }, { method: "POST", credentials: "include", body: "act=release" }]) {
        try {
          answers.push(await (await fetch(victim, options)).text());
        } catch {
          answers.push("refused");
        }
      }
      const frame = document.querySelector("iframe");
      try {
        answers.push(frame.contentDocument?.body?.innerText || "refused");
      } catch {
        answers.push("refused");
      }
      const script = await new Promise((resolve) => {
        const element = document.createElement("script");
        element.onload = () => resolve("loaded");
        element.onerror = () => resolve("refused");
        element.src = new URL("/script.js", victim).href;
        document.head.append(element);
      });
      return [...answers, script];
    }, victim);
    assert.deepEqual([...new Set(read)], ["refused"], JSON.stringify(read));
    const [answer] = await Promise.all([
      page.waitForResponse((response) => response.url() === victim && response.request().method() === "POST"),
      page.evaluate(() => document.querySelector("form").submit()),
    ]);
    assert.equal(answer.status(), 403);
    assert.equal((await world.license("PL-LIVE")).state, "renewed");
    evil.close();
    await context.close();
  });
}

test("a name that was rebound to this machine reads nothing and changes nothing", async () => {
  const { context, page } = await signedIn();
  const rebound = `http://rebound.test:${world.port}`;
  for (const path of [...PAGES, "/v1/summary", "/metrics", "/sign-in"]) {
    const answer = await page.goto(rebound + path);
    assert.equal(answer.status(), 403, path);
    assert.ok(!(await answer.text()).includes("PL-"), path);
  }
  const status = await page.evaluate(async () => {
    const body = new URLSearchParams({ act: "release", reason: "x" });
    return (await fetch("/licenses/PL-LIVE", { method: "POST", body })).status;
  });
  assert.equal(status, 403);
  assert.equal((await world.license("PL-LIVE")).state, "renewed");
  await context.close();
});
