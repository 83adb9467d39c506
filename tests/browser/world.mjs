// A simulated marketplace and a daemon on ports of the kernel's choice, with codes at each stage of their lives.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PATIENCE_MS = 30_000;
export const TOKEN = "admin-token-of-the-browser-tests";
const SECRETS = {
  "access-key": "3f8fad5b-d9cb-469f-a165-70867728950e",
  ak: "AKEXAMPLE000BROWSER0",
  sk: "skExampleSecretForBrowserTests",
  "admin-token": TOKEN,
  "software-token": "software-token-of-the-browser-tests",
};

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Looks until there is something to see. */
export async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function startWorld() {
  const folder = await mkdtemp(join(tmpdir(), "authcoded-browser-"));
  for (const [name, text] of Object.entries(SECRETS)) {
    await writeFile(join(folder, name), text, { mode: 0o600 });
  }
  const market = `127.0.0.1:${await freePort()}`;
  const children = [];
  const start = (...args) => {
    const child = spawn(process.env.AUTHCODED, args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
    children.push(child);
    return child;
  };
  const files = ["access-key", "ak", "sk"].flatMap((name) => [`--${name}-file`, name]);
  start("simulate", "--listen", market, "--no-dial-tests", "--data-dir", "market", ...files).stderr.resume();
  const console_ = async (method, path, body) => {
    const answer = await fetch(`http://${market}/console/${path}`, { method, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`console ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json().catch(() => null);
  };
  await until("the marketplace answers", () => fetch(`http://${market}/console/codes`).catch(() => null));

  await writeFile(
    join(folder, "authcoded.toml"),
    `data-dir = "data"
[callback]
listen = "127.0.0.1:0"
access-key-files = ["access-key"]
[marketplace]
endpoints = ["http://${market}"]
ak-file = "ak"
sk-file = "sk"
requests-per-second = 100
[admin]
listen = "127.0.0.1:0"
token-file = "admin-token"
[software]
listen = "127.0.0.1:0"
token-file = "software-token"
[log]
format = "json"
`,
  );
  const daemon = start("--config", "authcoded.toml", "serve");
  const ready = await new Promise((resolve, reject) => {
    daemon.on("exit", (code) => reject(new Error(`the daemon ended: ${code}`)));
    createInterface({ input: daemon.stderr }).on("line", (line) => {
      const said = JSON.parse(line);
      if (said.message === "ready") resolve(said);
    });
  });
  const admin = `http://${ready.admin}`;
  const api = async (method, path, body) => {
    const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
    const answer = await fetch(`${admin}/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const license = (code) => api("GET", `licenses/${code}`);
  const stateIs = (code, state) =>
    until(`${code} is ${state}`, async () => (await license(code)).state === state);

  await console_("PUT", "callback-url", { url: `http://${ready.callback}/koogallery/callback` });
  for (const code of ["PL-LIVE", "PL-DRIFT"]) {
    await console_("POST", "codes", { license: code, received: true });
    await api("POST", "licenses", { code, note: "from the fair" });
    await stateIs(code, "activated");
  }
  await console_("POST", "codes/PL-LIVE/renew");
  await stateIs("PL-LIVE", "renewed");
  await console_("POST", "codes", { license: "PL-WAIT", received: false });
  await api("POST", "licenses", { code: "PL-WAIT" });
  await until("PL-WAIT waits", async () => (await license("PL-WAIT")).last_error_code === "92020004");
  await console_("POST", "codes/PL-DRIFT/refund", { silent: true });

  const stop = async () => {
    for (const child of children.reverse()) {
      const ended = new Promise((resolve) => child.on("exit", resolve));
      if (child.exitCode === null) child.kill("SIGTERM");
      await ended;
    }
    await rm(folder, { recursive: true });
  };
  return { admin, port: Number(ready.admin.split(":").pop()), api, license, console: console_, stop };
}
