// Where a device's keys and readable texts are kept: IndexedDB, each value encrypted with an AES-GCM key that
// the browser never hands out (non-extractable). Whoever can use this browser profile can still use it;
// whoever copies the files of the database alone cannot read them without the browser's own key store.

/** Named texts that outlive the page. `put` keeps all of its entries or none. */
export interface Storage {
  get(name: string): Promise<string | undefined>;
  put(entries: Record<string, string>): Promise<void>;
  remove(name: string): Promise<void>;
}

interface Sealed {
  iv: Uint8Array<ArrayBuffer>;
  bytes: ArrayBuffer;
}

const TABLE = "entries";
const KEY = "key";

const done = <T>(request: IDBRequest<T>) =>
  new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser's database failed"));
  });

const committed = (transaction: IDBTransaction) =>
  new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the browser's database is full or failed"));
  });

/** Opens a database of this name, made when it is missing. Needs HTTPS or localhost, as all cryptography of browsers does. */
export async function browserStorage(name: string): Promise<Storage> {
  // Types say it is always there; a page served without TLS has none.
  if (!(globalThis.crypto as Crypto | undefined)?.subtle) throw new Error("end-to-end encryption needs HTTPS");
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE);
  const db = await done(opening);
  const key = await keyOf(db);
  return {
    async get(name) {
      const sealed = (await done(db.transaction(TABLE).objectStore(TABLE).get(`v:${name}`))) as Sealed | undefined;
      if (!sealed) return undefined;
      return new TextDecoder().decode(await crypto.subtle.decrypt({ name: "AES-GCM", iv: sealed.iv }, key, sealed.bytes));
    },
    async put(entries) {
      const sealed = await Promise.all(Object.entries(entries).map(async ([name, text]) => [name, await seal(key, text)] as const));
      const transaction = db.transaction(TABLE, "readwrite", { durability: "strict" });
      for (const [name, value] of sealed) transaction.objectStore(TABLE).put(value, `v:${name}`);
      await committed(transaction);
    },
    async remove(name) {
      const transaction = db.transaction(TABLE, "readwrite");
      transaction.objectStore(TABLE).delete(`v:${name}`);
      await committed(transaction);
    },
  };
}

async function seal(key: CryptoKey, text: string): Promise<Sealed> {
  const iv = crypto.getRandomValues(new Uint8Array(12));
  return { iv, bytes: await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, new TextEncoder().encode(text)) };
}

/** The database's key; two pages that open it for the first time at once settle on one. */
async function keyOf(db: IDBDatabase): Promise<CryptoKey> {
  const fresh = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const table = db.transaction(TABLE, "readwrite").objectStore(TABLE);
  const kept = (await done(table.get(KEY))) as CryptoKey | undefined;
  if (kept) return kept;
  table.put(fresh, KEY);
  await committed(table.transaction);
  return fresh;
}
