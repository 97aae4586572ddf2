import { afterEach, describe, expect, it, vi } from "vitest";
import { randomId } from "../../src/shared/ids";
import { readStored, removeStored, writeStored } from "../../src/shared/storage";

afterEach(() => vi.unstubAllGlobals());

describe("storage", () => {
  it("keeps values in memory while the browser denies its own", () => {
    vi.stubGlobal("localStorage", undefined);
    expect(readStored("k")).toBeNull();
    writeStored("k", "one");
    expect(readStored("k")).toBe("one");
    removeStored("k");
    expect(readStored("k")).toBeNull();
  });

  it("a full store neither throws nor answers with what was there before", () => {
    const full = () => {
      throw new Error("QuotaExceededError");
    };
    vi.stubGlobal("localStorage", { getItem: () => "old", setItem: full, removeItem: full });
    writeStored("f", "new");
    expect(readStored("f")).toBe("new");
    removeStored("f");
    expect(readStored("f")).toBeNull();
  });
});

describe("ids", () => {
  it("are version 4 UUIDs without crypto.randomUUID", () => {
    const { getRandomValues } = crypto;
    vi.stubGlobal("crypto", { getRandomValues: getRandomValues.bind(crypto) });
    const ids = Array.from({ length: 100 }, randomId);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(new Set(ids).size).toBe(100);
  });
});
