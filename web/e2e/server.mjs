// The real server, started on a free port with a data directory of its own.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const READY_MS = 60_000;

/**
 * Starts `BARRAGE_BIN serve --dev` and waits until it is ready. It can be killed and started again with the same data.
 * Without `dev` it wants tokens, which `token` makes. With `tls` it has a certificate made for each run, which the test
 * must be ready to believe. VIPs may say what a script says, as fast as it does.
 */
export async function startServer({ dev = true, tls = false, env = {} } = {}) {
  if (!process.env.BARRAGE_BIN) throw new Error("set BARRAGE_BIN to the barrage binary");
  // Relative to where npm was called, not to this workspace.
  const binary = resolve(process.env.INIT_CWD ?? ".", process.env.BARRAGE_BIN);
  const data = await mkdtemp(join(tmpdir(), "barrage-e2e-"));
  const url = `${tls ? "https" : "http"}://127.0.0.1:${await freePort()}`;
  const args = ["serve", ...(dev ? ["--dev"] : []), ...(tls ? ["--tls-self-signed"] : []), "--listen", new URL(url).host, "--data", data];
  const start = () => run(binary, url, args, { BARRAGE__LIMITS__VIP_PER_S: "10000", ...env });
  let running = await start();
  return {
    url,
    async kill() {
      running.process.kill("SIGKILL");
      await running.exited;
    },
    async start() {
      running = await start();
    },
    /** A token signed with this server's secret. */
    token: (user, level = "normal") =>
      execFileSync(binary, ["token", "--user", user, "--name", user, "--level", level, "--data", data], { encoding: "utf8" }).trim().split("\n").at(-1),
    stop: () => stop(running.process, running.exited, data),
  };
}

async function run(binary, url, args, env) {
  const process = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...globalThis.process.env, ...env } });
  let output = "";
  for (const stream of [process.stdout, process.stderr]) stream.on("data", (chunk) => (output = (output + chunk).slice(-10_000)));
  const exited = once(process, "exit");
  const ended = exited.then(([code, signal]) => {
    throw new Error(`the server ended with ${code ?? signal}:\n${output}`);
  });
  ended.catch(() => undefined); // heard by whoever races it
  await Promise.race([ready(url), ended]);
  return { process, exited };
}

async function ready(url) {
  const deadline = Date.now() + READY_MS;
  for (;;) {
    if (await fetch(`${url}/readyz`).then(({ ok }) => ok, () => false)) return;
    if (Date.now() > deadline) throw new Error(`not ready within ${READY_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Also when it has ended by itself meanwhile. */
async function stop(server, exited, data) {
  server.kill("SIGTERM");
  await exited;
  await rm(data, { recursive: true, force: true });
}

/** Below those that the system gives to clients: a page that comes back while the server is away would take it. */
async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 10_000);
    const probe = createServer();
    const free = await new Promise((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
}
