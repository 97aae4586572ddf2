import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { afterEach, describe, expect, it, vi } from "vitest";
import { BarrageError, CommentOutbox, type Client, type CommentDraft, deviceStorage, eraseDeviceStorage, memoryStorage } from "../src/index.js";

afterEach(() => void vi.unstubAllGlobals());

describe("a device's storage", () => {
  it("outlives the page in IndexedDB, with the last of many texts", async () => {
    const first = await deviceStorage("a");
    expect(first.load()).toBeNull();
    for (let i = 0; i < 50; i++) first.save(`text ${i}`);
    expect(first.load()).toBe("text 49");
    await expect.poll(async () => (await deviceStorage("a")).load()).toBe("text 49");
    expect((await deviceStorage("b")).load()).toBeNull();
  });

  it("falls back to localStorage where IndexedDB is denied", async () => {
    const kept = new Map<string, string>();
    vi.stubGlobal("indexedDB", { open: () => { throw new Error("denied"); } });
    vi.stubGlobal("localStorage", { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, text: string) => void kept.set(key, text) });
    (await deviceStorage("a")).save("x");
    expect((await deviceStorage("a")).load()).toBe("x");
  });

  it("falls back to memory where everything is denied", async () => {
    const denied = (): never => {
      throw new DOMException("denied", "SecurityError");
    };
    vi.stubGlobal("indexedDB", { open: denied });
    Object.defineProperty(globalThis, "localStorage", { configurable: true, get: denied });
    const storage = await deviceStorage("a");
    storage.save("x");
    expect(storage.load()).toBe("x");
    Reflect.deleteProperty(globalThis, "localStorage");
  });

  it("falls back to memory where there is neither, as in Node", async () => {
    vi.stubGlobal("indexedDB", undefined);
    const storage = await deviceStorage("a");
    storage.save("x");
    expect(storage.load()).toBe("x");
    vi.stubGlobal("indexedDB", new IDBFactory());
  });
});

describe("a device's storage, when somebody leaves", () => {
  it("erases one text, also one that is being written, and takes no more", async () => {
    const [a, b] = [await deviceStorage("leaving"), await deviceStorage("staying")];
    for (const storage of [a, b]) for (const text of ["x", "y"]) storage.save(text);
    await a.erase?.();
    a.save("late");
    await expect.poll(async () => (await deviceStorage("staying")).load()).toBe("y");
    expect([a.load(), (await deviceStorage("leaving")).load()]).toEqual([null, null]);
    await eraseDeviceStorage();
    expect((await deviceStorage("staying")).load()).toBeNull();
  });

  it("keeps no older text where the newest does not fit", async () => {
    const storage = await deviceStorage("full");
    storage.save("said, and later recalled");
    await expect.poll(async () => (await deviceStorage("full")).load()).toBe("said, and later recalled");
    const put = vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    storage.save("recalled");
    await expect.poll(async () => (await deviceStorage("full")).load()).toBeNull();
    expect(storage.load()).toBe("recalled");
    put.mockRestore();
    storage.save("room again");
    await expect.poll(async () => (await deviceStorage("full")).load()).toBe("room again");
  });
});

describe("an outbox of comments", () => {
  const nobody = { connected: false, on: () => () => undefined, room: () => { throw new Error("not connected"); } } as unknown as Client;

  it("keeps what waits, and refuses more than it can hold", () => {
    const storage = memoryStorage();
    const outbox = new CommentOutbox(nobody, { storage, max: 2 });
    outbox.add("r", { content: "a" });
    const b = outbox.add("r", { content: "b" });
    expect(() => outbox.add("r", { content: "c" })).toThrow(expect.objectContaining({ code: "outbox_full" }));
    outbox.discard(b);
    expect(new CommentOutbox(nobody, { storage }).entries.map(({ draft }) => draft.content)).toEqual(["a"]);
  });

  it("sends in order, repeats under the same id what came too fast, and goes on after a refusal", async () => {
    const answers = [new BarrageError("rate_limited", "", 1), undefined, new BarrageError("muted", "")];
    const sent: string[] = [];
    const comment = ({ content, client_msg_id }: CommentDraft): Promise<unknown> => {
      sent.push(`${content} ${client_msg_id}`);
      const error = answers.shift();
      return error ? Promise.reject(error) : Promise.resolve({ id: "9", status: "accepted" });
    };
    const outbox = new CommentOutbox({ connected: true, on: () => () => undefined, room: () => ({ comment }) } as unknown as Client);
    const told: string[] = [];
    outbox.on("sent", ({ comment: { draft } }) => told.push(`sent ${draft.content}`));
    outbox.on("refused", ({ comment: { draft }, error }) => told.push(`${error.code} ${draft.content}`));
    outbox.add("r", { content: "one", client_msg_id: "1" });
    outbox.add("r", { content: "two", client_msg_id: "2" });
    await expect.poll(() => outbox.entries.length).toBe(0);
    expect(sent).toEqual(["one 1", "one 1", "two 2"]);
    expect(told).toEqual(["sent one", "muted two"]);
  });

  it("reads what is not its own as nothing", () => {
    for (const text of ["{", "{}", "[1]", '[{"room_id":1}]', "null"]) {
      const storage = memoryStorage();
      storage.save(text);
      expect(new CommentOutbox(nobody, { storage }).entries).toEqual([]);
    }
  });
});
