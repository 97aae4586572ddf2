import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Api } from "../src/index.js";

interface Asked {
  method: string | undefined;
  path: string;
  query: Record<string, string>;
  authorization: string | undefined;
  body: string;
}

let server: Server;
let url: string;
let asked: Asked[];
let answer: (response: ServerResponse) => void;

beforeEach(async () => {
  asked = [];
  answer = (response) => response.end("{}");
  server = createServer((request, response) => void hear(request).then(() => answer(response)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(() => void server.close());

async function hear(request: IncomingMessage): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? "/", url);
  let body = "";
  for await (const chunk of request) body += String(chunk);
  asked.push({ method: request.method, path: pathname, query: Object.fromEntries(searchParams), authorization: request.headers.authorization, body });
}

describe("requests", () => {
  it("escape ids, leave out what is undefined, and carry the token", async () => {
    await new Api({ url, token: "t", identity: { user_id: "ignored" } }).replay("a b/c", { session_id: "7", from_ms: 0, cursor: undefined });
    expect(asked).toEqual([
      { method: "GET", path: "/api/v1/rooms/a%20b%2Fc/replay", query: { session_id: "7", from_ms: "0" }, authorization: "Bearer t", body: "" },
    ]);
  });

  it("carry the development identity in the query, and JSON in the body", async () => {
    await new Api({ url, identity: { user_id: "u", username: "U", level: "vip" } }).postComment("r", { content: "你好", session_id: "7", offset_ms: 5 });
    expect(asked[0]).toMatchObject({ method: "POST", query: { user_id: "u", username: "U", level: "vip" }, authorization: undefined });
    expect(JSON.parse(asked[0]?.body ?? "")).toEqual({ content: "你好", session_id: "7", offset_ms: 5 });
  });

  it("unwrap lists", async () => {
    answer = (response) => response.end(JSON.stringify({ comments: [{ id: "1" }] }));
    expect(await new Api({ url }).hot("r", 3)).toEqual([{ id: "1" }]);
    expect(asked[0]?.query).toEqual({ limit: "3" });
  });
});

describe("failures", () => {
  it("carry the server's code, delay and status", async () => {
    answer = (response) => response.writeHead(429).end(JSON.stringify({ error: { code: "rate_limited", message: "slow down", retry_after_ms: 700 } }));
    await expect(new Api({ url }).like("1")).rejects.toMatchObject({ name: "BarrageError", code: "rate_limited", retryAfterMs: 700, status: 429 });
  });

  it("are told even when a proxy answers with a page", async () => {
    answer = (response) => response.writeHead(502).end("<html>");
    await expect(new Api({ url }).room("r")).rejects.toMatchObject({ code: "http_502", status: 502 });
  });

  it("are `network` when nobody answers", async () => {
    answer = (response) => response.destroy();
    await expect(new Api({ url }).room("r")).rejects.toMatchObject({ code: "network" });
  });
});
