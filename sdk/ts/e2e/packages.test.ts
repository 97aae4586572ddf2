/** The packages as a stranger gets them: packed, installed into an empty project, typed, bundled, run by this Node. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer } from "../../../web/e2e/server.mjs";

const run = promisify(execFile);
const top = fileURLToPath(new URL("../../..", import.meta.url));
const CLIENT_GZIP_MAX = 20_000;

let project: string;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "barrage-packages-"));
  for (const folder of ["ts", "danmaku", "players"]) await run("npm", ["pack", "--pack-destination", project], { cwd: join(top, "sdk", folder) });
  const tarballs = (await readdir(project)).filter((name) => name.endsWith(".tgz")).map((name) => `./${name}`);
  expect(tarballs.length).toBe(3);
  await writeFile(join(project, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
  await run("npm", ["install", "--no-audit", "--no-fund", ...tarballs], { cwd: project });
}, 180_000);

afterAll(() => rm(project, { recursive: true, force: true }));

async function write(name: string, text: string): Promise<string> {
  await writeFile(join(project, name), text);
  return join(project, name);
}

describe("the packed packages", () => {
  it("hold their code, types and words, and nothing else", async () => {
    for (const name of ["client", "danmaku", "players"]) {
      const files = await readdir(join(project, "node_modules/@barrage", name));
      expect(files.sort()).toEqual(["README.md", "dist", "package.json"]);
    }
    expect((await readdir(join(project, "node_modules"))).filter((name) => !name.startsWith("."))).toEqual(["@barrage"]);
  });

  it("are typed, for those who resolve as Node does and as bundlers do", async () => {
    await write("use.ts", `
      import { Api, Client, deviceStorage, Timeline, type Comment } from "@barrage/client";
      import { protoTransport } from "@barrage/client/proto";
      import { Recording } from "@barrage/client/recording";
      import Danmaku from "@barrage/danmaku";
      import { overVideo } from "@barrage/players";
      const client = new Client({ url: "http://x", transport: protoTransport() });
      client.room("r").on("gap", ({ omitted }) => omitted.toFixed());
      export const told = (comment: Comment): string => comment.content;
      export const over = overVideo(document.createElement("video"), client.room("r"));
      export const fly = (container: HTMLElement) => new Danmaku({ container, speed: 100 }).emit({ text: "x", mode: "ltr" }).show().hide().clear().resize().destroy();
      export const storage = deviceStorage("x");
      export const timeline = new Timeline(new Recording(new Api(), "r", "1").window);
    `);
    for (const [module, resolution] of [["NodeNext", "NodeNext"], ["ESNext", "Bundler"]] as const) {
      const compilerOptions = { noEmit: true, strict: true, target: "ES2022", lib: ["ES2023", "DOM", "DOM.Iterable"], module, moduleResolution: resolution, types: [] };
      await write("tsconfig.json", JSON.stringify({ compilerOptions, files: ["use.ts"] }));
      await run(join(top, "node_modules/.bin/tsc"), ["-p", "."], { cwd: project }).catch((error: { stdout: string }) => {
        throw new Error(error.stdout);
      });
    }
  }, 120_000);

  it("make a client of less than 20 kB, compressed", async () => {
    const bundle = async (source: string): Promise<number> => {
      const entry = await write("entry.js", source);
      await build({
        root: project, configFile: false, logLevel: "error",
        build: { outDir: "out", minify: true, target: "es2022", lib: { entry, formats: ["es"], fileName: "out" }, rolldownOptions: { output: { minify: true } } },
      });
      return gzipSync(await readFile(join(project, "out/out.js"))).length;
    };
    const sizes = {
      rooms: await bundle('export { Client, CommentOutbox } from "@barrage/client";'),
      everything: await bundle('export * from "@barrage/client";'),
      recordings: await bundle('export * from "@barrage/client/recording";'),
      protobuf: await bundle('export * from "@barrage/client/proto";'),
      danmaku: await bundle('export * from "@barrage/danmaku";'),
    };
    console.log("bytes, minified and gzipped:", sizes);
    expect(sizes.everything).toBeLessThan(CLIENT_GZIP_MAX);
  }, 60_000);

  it("run in this Node with what it has: comments over HTTP, or over a WebSocket where there is one", async () => {
    const server = await startServer();
    const file = await write("run.mjs", `
      import { Client } from "@barrage/client";
      const client = new Client({ url: ${JSON.stringify(server.url)}, identity: { user_id: "ann", username: "Ann" } });
      const room = client.room("node");
      const heard = new Promise((resolve) => room.on("comments", ({ comments }) => resolve(comments[0].content)));
      client.connect();
      await room.join();
      await room.comment({ content: "from Node" });
      console.log(client.transport, await heard);
      client.close();
    `);
    try {
      const { stdout } = await run(process.execPath, [file], { cwd: project, timeout: 20_000 });
      expect(stdout.trim()).toBe(`${typeof WebSocket === "function" ? "websocket" : "event-stream"} from Node`);
    } finally {
      await server.stop();
    }
  });
});
