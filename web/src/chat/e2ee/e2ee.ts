// End-to-end encryption of direct chat for one device: what the messenger calls, and nothing of how it looks.
//
// The cryptography is vodozemac's (sdk/e2ee, compiled to WebAssembly); here are the order of steps, the asking of the
// key directory, and the keeping of state. State is kept before anything leaves: a ratchet must never be used twice.
// A message can be decrypted once, so its text is kept on this device under the digest of its content.
import type { Storage } from "./storage";
import { fromHex, nameOf, toHex } from "./hex";
import init, { Device } from "./pkg/e2ee.js";

/** A device's lasting keys, as the directory shows them. */
export interface DeviceKeys {
  device_id: string;
  identity_key: string;
  signing_key: string;
  signature: string;
  one_time_key_count: number;
}

/** A key to start a session with one device; null when it has none left. */
export interface ClaimedKey {
  device_id: string;
  one_time_key: { key_id: string; key: string; signature: string; fallback?: boolean } | null;
}

/** The server's key directory: three calls of the HTTP API. */
export interface Directory {
  /** `PUT /keys/{device_id}` with a JSON body. */
  publish(deviceId: string, body: string): Promise<unknown>;
  /** `GET /users/{user_id}/keys` */
  devices(userId: string): Promise<DeviceKeys[]>;
  /** `POST /users/{user_id}/keys/claim` */
  claim(userId: string, deviceIds: string[]): Promise<ClaimedKey[]>;
}

/** What went wrong, as a word for programs. */
export type E2eeCode =
  | "bad_keys" // a key is not signed by the device it is said to belong to
  | "keys_changed" // a trusted device shows other keys: ask the person, compare codes, then `forget`
  | "unreachable" // the other person has no device with keys
  | "not_for_us" // written before this device was there
  | "impostor" // the directory shows other keys under this device's name
  | "misattributed" // shown as written by or to somebody else than it was
  | "unreadable" // not an envelope of a version known here
  | "undecryptable" // damaged, or of a session that this device does not have
  | "unknown_device" // the sender's device is not in the directory
  | "saved" // what this device has kept cannot be opened
  | "key";

/** A failure with its code. */
export class E2eeError extends Error {
  constructor(
    readonly code: E2eeCode,
    message: string,
  ) {
    super(message);
  }
}

export interface E2eeOptions {
  user: string;
  device: string;
  directory: Directory;
  storage: Storage;
  /** The module's bytes, where it cannot be fetched from beside the script (Node). */
  module?: BufferSource;
  /** How long a looked-up list of devices is good, in milliseconds. A device that joins is reached after at most this. */
  freshMs?: number;
}

/** One-time keys below which new ones are published. */
const ONE_TIME_KEYS_MIN = 25;

export class E2ee {
  #options: E2eeOptions;
  #device: Device;
  /** What `#device` is in the storage; another tab may have gone on since. */
  #saved = "";
  #pickleKey: Uint8Array;
  #lookedUp = new Map<string, number>();
  #last: Promise<unknown> = Promise.resolve();

  private constructor(options: E2eeOptions, pickleKey: Uint8Array) {
    this.#options = options;
    this.#pickleKey = pickleKey;
    this.#device = new Device(options.user, options.device);
  }

  /** Restores this device or makes it, and sees to it that its keys are published. */
  static async open(options: E2eeOptions): Promise<E2ee> {
    await (options.module ? init({ module_or_path: options.module }) : init());
    const kept = await options.storage.get("pickle_key");
    const pickleKey = kept ? fromHex(kept) : crypto.getRandomValues(new Uint8Array(32));
    if (!kept) await options.storage.put({ pickle_key: toHex(pickleKey) });
    const e2ee = new E2ee(options, pickleKey);
    await e2ee.publish();
    return e2ee;
  }

  /** Publishes this device's keys, and new one-time keys when few are left. */
  publish(): Promise<void> {
    return this.#alone(async () => {
      const { user, device, directory } = this.#options;
      const published = (await directory.devices(user)).find((known) => known.device_id === device);
      const left = published?.one_time_key_count ?? 0;
      if (left >= ONE_TIME_KEYS_MIN) return;
      const body = this.#try(() => this.#device.upload(left));
      await this.#save();
      await directory.publish(device, body);
      this.#device.published();
      await this.#save();
    });
  }

  /** The content of a message of type `encrypted` to a person. */
  encrypt(toUser: string, text: string): Promise<string> {
    return this.#alone(async () => {
      await this.#reach(toUser);
      await this.#reach(this.#options.user);
      const content = this.#try(() => this.#device.encrypt(toUser, text));
      await this.#save({ [await nameOf(content)]: text });
      return content;
    });
  }

  /** The text of a message, whoever wrote it; the same again for a content that was read here before. */
  decrypt(fromUser: string, toUser: string, content: string): Promise<string> {
    return this.#alone(async () => {
      const name = await nameOf(content);
      const known = await this.#options.storage.get(name);
      if (known !== undefined) return known;
      const text = await this.#decrypt(fromUser, toUser, content);
      await this.#save({ [name]: text });
      return text;
    });
  }

  /** 60 digits in groups of five, for both people to compare; another device on either side changes them. */
  verificationCode(user: string): Promise<string> {
    return this.#alone(async () => {
      await this.#trust(user);
      await this.#trust(this.#options.user);
      return this.#device.verificationCode(user);
    });
  }

  /** Forgets a person's devices after `keys_changed`: the next message trusts what the directory shows then. */
  forget(user: string): Promise<void> {
    return this.#alone(async () => {
      this.#device.forget(user);
      this.#lookedUp.delete(user);
      await this.#save();
    });
  }

  async #decrypt(fromUser: string, toUser: string, content: string): Promise<string> {
    try {
      return this.#try(() => this.#device.decrypt(fromUser, toUser, content));
    } catch (error) {
      if (!(error instanceof E2eeError) || error.code !== "unknown_device") throw error;
    }
    await this.#trust(fromUser);
    return this.#try(() => this.#device.decrypt(fromUser, toUser, content));
  }

  async #trust(user: string): Promise<void> {
    const devices = await this.#options.directory.devices(user);
    this.#try(() => this.#device.trust(user, JSON.stringify(devices)));
    this.#lookedUp.set(user, Date.now());
    await this.#save();
  }

  /** Has a session with every device of a user that has keys to start one. */
  async #reach(user: string): Promise<void> {
    const since = Date.now() - (this.#lookedUp.get(user) ?? -Infinity);
    if (since > (this.#options.freshMs ?? 60_000)) await this.#trust(user);
    const unreached = JSON.parse(this.#try(() => this.#device.unreached(user))) as string[];
    if (unreached.length === 0) return;
    const claimed = await this.#options.directory.claim(user, unreached);
    this.#try(() => this.#device.reach(user, JSON.stringify(claimed)));
  }

  /** One step at a time, over all tabs of this device, on the newest state. */
  #alone<T>(step: () => Promise<T>): Promise<T> {
    const run = async () => {
      const saved = await this.#options.storage.get("device");
      if (saved !== undefined && saved !== this.#saved) {
        this.#device = this.#try(() => Device.restore(saved, this.#pickleKey));
        this.#saved = saved;
      }
      return step();
    };
    const name = `barrage-e2ee:${this.#options.user}/${this.#options.device}`;
    const locks = (globalThis.navigator as Navigator | undefined)?.locks as LockManager | undefined;
    const next = this.#last.then(() => (locks ? locks.request(name, run) : run())) as Promise<T>;
    this.#last = next.catch(() => undefined);
    return next;
  }

  async #save(texts: Record<string, string> = {}): Promise<void> {
    const saved = this.#try(() => this.#device.save(this.#pickleKey));
    await this.#options.storage.put({ device: saved, ...texts });
    this.#saved = saved;
  }

  /** Failures of the module carry their code before a colon. */
  #try<T>(call: () => T): T {
    try {
      return call();
    } catch (error) {
      const [, code, message] = /^([a-z_]+): (.*)$/s.exec((error as Error).message) ?? [];
      throw code === undefined ? error : new E2eeError(code as E2eeCode, message ?? code);
    }
  }
}
