import { readFileSync } from "node:fs";
import { beforeEach, expect, test } from "vitest";
import { digest } from "../../scripts/e2ee-sources.mjs";
import { E2ee, type ClaimedKey, type DeviceKeys, type Directory } from "../../src/chat/e2ee/e2ee";
import type { Storage } from "../../src/chat/e2ee/storage";

const pkg = new URL("../../src/chat/e2ee/pkg/", import.meta.url);
const module = readFileSync(new URL("e2ee_bg.wasm", pkg));

interface Upload extends DeviceKeys {
  one_time_keys: Record<string, { key: string; signature: string }>;
  fallback_key?: ClaimedKey["one_time_key"];
}

/** What a server keeps, by `user/device`. */
let uploads: Map<string, Upload>;
let directory: (user: string) => Directory;

function memory(): Storage & { entries: Map<string, string> } {
  const entries = new Map<string, string>();
  return {
    entries,
    get: (name) => Promise.resolve(entries.get(name)),
    put: (added) => Promise.resolve(Object.entries(added).forEach(([name, text]) => entries.set(name, text))),
    remove: (name) => Promise.resolve(void entries.delete(name)),
  };
}

beforeEach(() => {
  uploads = new Map();
  const of = (user: string) => [...uploads].filter(([address]) => address.startsWith(`${user}/`)).map(([, upload]) => upload);
  directory = (user) => ({
    publish(device, body) {
      const before = uploads.get(`${user}/${device}`);
      const upload = { ...before, ...(JSON.parse(body) as Upload), device_id: device };
      upload.one_time_keys = { ...before?.one_time_keys, ...upload.one_time_keys };
      uploads.set(`${user}/${device}`, upload);
      return Promise.resolve();
    },
    devices: (of_user) => Promise.resolve(of(of_user).map((known) => ({ ...known, one_time_key_count: Object.keys(known.one_time_keys).length }))),
    claim: (of_user, devices) =>
      Promise.resolve(
        of(of_user).filter((known) => devices.includes(known.device_id)).map((known) => {
          const [id, key] = Object.entries(known.one_time_keys)[0] ?? [];
          if (id === undefined || !key) return { device_id: known.device_id, one_time_key: known.fallback_key ?? null };
          known.one_time_keys = Object.fromEntries(Object.entries(known.one_time_keys).slice(1));
          return { device_id: known.device_id, one_time_key: { key_id: id, ...key } };
        }),
      ),
  });
});

const open = (user: string, device: string, storage: Storage = memory()) =>
  E2ee.open({ user, device, directory: directory(user), storage, module, freshMs: 0 });

test("the checked-in module is built from these sources (run scripts/build-e2ee)", () => {
  expect(readFileSync(new URL("sources.sha256", pkg), "utf8").trim()).toBe(digest());
});

test("two people talk, a second device reads along, a text can be read again", async () => {
  const [phone, tablet, bob] = [await open("alice", "phone"), await open("alice", "tablet"), await open("bob", "b")];
  const content = await phone.encrypt("bob", "晚上好");
  expect(Object.keys((JSON.parse(content) as { devices: object }).devices).sort()).toEqual(["alice/tablet", "bob/b"]);
  expect(content).not.toContain("晚上好");
  for (const device of [bob, tablet, phone, bob]) expect(await device.decrypt("alice", "bob", content)).toBe("晚上好");
  expect(await phone.decrypt("bob", "alice", await bob.encrypt("alice", "好"))).toBe("好");
  expect(await bob.verificationCode("alice")).toBe(await phone.verificationCode("bob"));
  expect(await tablet.verificationCode("bob")).toMatch(/^(\d{5} ){11}\d{5}$/);
});

test("a device that joins later reads what comes, not what was", async () => {
  const [alice, bob] = [await open("alice", "a"), await open("bob", "b")];
  const before = await alice.encrypt("bob", "before");
  const code = await bob.verificationCode("alice");
  const late = await open("bob", "late");
  await expect(late.decrypt("alice", "bob", before)).rejects.toMatchObject({ code: "not_for_us" });
  expect(await late.decrypt("alice", "bob", await alice.encrypt("bob", "after"))).toBe("after");
  expect(await bob.verificationCode("alice")).not.toBe(code);
});

test("a device goes on after a reload, and tabs share it", async () => {
  const storage = memory();
  const [first, bob] = [await open("alice", "a", storage), await open("bob", "b")];
  await bob.decrypt("alice", "bob", await first.encrypt("bob", "1"));
  const second = await open("alice", "a", storage);
  for (const tab of [second, first, second]) {
    expect(await bob.decrypt("alice", "bob", await tab.encrypt("bob", "again"))).toBe("again");
    expect(await tab.decrypt("bob", "alice", await bob.encrypt("alice", "yes"))).toBe("yes");
  }
  expect([...uploads.keys()]).toEqual(["alice/a", "bob/b"]);
});

test("changed keys are told, and trusted only after they were forgotten", async () => {
  const [alice] = [await open("alice", "a"), await open("bob", "b")];
  await alice.encrypt("bob", "x");
  uploads.delete("bob/b");
  const impostor = await open("bob", "b");
  await expect(alice.encrypt("bob", "x")).rejects.toMatchObject({ code: "keys_changed" });
  await alice.forget("bob");
  expect(await impostor.decrypt("alice", "bob", await alice.encrypt("bob", "anew"))).toBe("anew");
  await expect(alice.encrypt("nobody", "x")).rejects.toMatchObject({ code: "unreachable" });
});

test("one-time keys are topped up before they run out", async () => {
  const bob = await open("bob", "b");
  const count = () => Object.keys(uploads.get("bob/b")?.one_time_keys ?? {}).length;
  expect(count()).toBe(50);
  const { claim } = directory("alice");
  for (let left = count(); left > 20; left -= 1) await claim("bob", ["b"]);
  await bob.publish();
  expect(count()).toBe(50);
});
