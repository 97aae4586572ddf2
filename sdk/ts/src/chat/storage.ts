/**
 * Where a device keeps what should outlive the page: what it has not sent yet, its cursors, the messages it knows. One text a
 * storage, read once at the start and written when it changes.
 */
export interface ChatStorage {
  load(): string | null;
  save(text: string): void;
  /** Nothing of it stays on the device, and nothing is saved any more. */
  erase?(): Promise<void>;
}

/** Nothing outlives the page. */
export function memoryStorage(): ChatStorage {
  let kept: string | null = null;
  return {
    load: () => kept,
    save: (text) => void (kept = text),
    erase: () => ((kept = null), Promise.resolve()),
  };
}

/**
 * In the browser's localStorage (or what looks like it), under a key that names the user and the device. Where the
 * browser denies it, or it is full, the visit goes on in memory; what the server acknowledged is not touched by that.
 */
export function webStorage(key: string, storage?: Pick<Storage, "getItem" | "setItem"> & Partial<Pick<Storage, "removeItem">>): ChatStorage {
  let erased = false;
  return {
    load() {
      try {
        return (storage ?? localStorage).getItem(key);
      } catch {
        return null;
      }
    },
    save(text) {
      if (erased) return;
      try {
        (storage ?? localStorage).setItem(key, text);
      } catch {
        // The next save tries again.
      }
    },
    erase() {
      erased = true;
      try {
        const area = storage ?? localStorage;
        if (area.removeItem) area.removeItem(key);
        else area.setItem(key, "");
      } catch {
        // What denies that has kept nothing.
      }
      return Promise.resolve();
    },
  };
}

/** A browser that denies it throws at its mere name. */
function hasLocalStorage(): boolean {
  try {
    return typeof localStorage !== "undefined";
  } catch {
    return false;
  }
}

const DATABASE = "barrage";
const TEXTS = "texts";
/** A database that another tab blocks is not waited for. */
const OPEN_MS = 2_000;

export interface DeviceStorageOptions {
  /** Where there is no IndexedDB: `local` is localStorage, which holds 5 MB of everything. Default `local`. */
  otherwise?: "local" | "memory";
}

/**
 * In IndexedDB, which holds far more than localStorage; where there is none, or it is denied, in localStorage; else in memory. The text is read
 * before this resolves. Writes follow each other; of several that wait only the last is made. A text that cannot be written, as on a
 * full disk, takes the older one with it: what was recalled since must not stay.
 */
export async function deviceStorage(key: string, { otherwise = "local" }: DeviceStorageOptions = {}): Promise<ChatStorage> {
  const database = await openDatabase().catch(() => undefined);
  if (!database) return otherwise === "local" && hasLocalStorage() ? webStorage(key) : memoryStorage();
  let kept = await read(database, key).catch(() => null);
  let waiting = false;
  let writing: Promise<void> | undefined;
  let erased = false;
  const write = (): void => {
    waiting = false;
    writing = put(database, key, kept ?? "").catch(() => remove(database, key)).catch(() => undefined).then(() => {
      writing = undefined;
      if (waiting) write();
    });
  };
  return {
    load: () => kept,
    save(text) {
      if (erased) return;
      kept = text;
      waiting = true;
      if (!writing) write();
    },
    async erase() {
      [erased, waiting, kept] = [true, false, null];
      await writing;
      await remove(database, key);
    },
  };
}

/** Erases everything that `deviceStorage` keeps in this browser, whoever's it is; for a page that signs somebody out. */
export async function eraseDeviceStorage(): Promise<void> {
  const database = await openDatabase().catch(() => undefined);
  if (database) await change(database, (texts) => texts.clear()).finally(() => database.close());
}

function openDatabase(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => void opening.result.createObjectStore(TEXTS);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(new Error("IndexedDB is not available"));
    setTimeout(() => reject(new Error("IndexedDB did not open")), OPEN_MS);
  });
}

function read(database: IDBDatabase, key: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const request = database.transaction(TEXTS).objectStore(TEXTS).get(key) as IDBRequest<unknown>;
    request.onsuccess = () => resolve(typeof request.result === "string" ? request.result : null);
    request.onerror = () => reject(new Error("IndexedDB cannot be read"));
  });
}

function put(database: IDBDatabase, key: string, text: string): Promise<void> {
  return change(database, (texts) => texts.put(text, key));
}

function remove(database: IDBDatabase, key: string): Promise<void> {
  return change(database, (texts) => texts.delete(key));
}

function change(database: IDBDatabase, make: (texts: IDBObjectStore) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(TEXTS, "readwrite");
    make(transaction.objectStore(TEXTS));
    transaction.oncomplete = () => resolve();
    transaction.onerror = () => reject(new Error("IndexedDB cannot be written"));
    transaction.onabort = () => reject(new Error("IndexedDB cannot be written"));
  });
}
