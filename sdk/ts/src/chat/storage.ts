/**
 * Where a device keeps the little that should outlive the page: its two cursors and what it has not sent yet.
 * One text, read once at the start and written when it changes.
 */
export interface ChatStorage {
  load(): string | null;
  save(text: string): void;
}

/** Nothing outlives the page. */
export function memoryStorage(): ChatStorage {
  let kept: string | null = null;
  return {
    load: () => kept,
    save: (text) => void (kept = text),
  };
}

/** In the browser's localStorage (or what looks like it), under a key that names the user and the device. */
export function webStorage(key: string, storage: Pick<Storage, "getItem" | "setItem"> = localStorage): ChatStorage {
  return {
    load: () => storage.getItem(key),
    save(text) {
      try {
        storage.setItem(key, text);
      } catch {
        // Full or forbidden: this visit goes on in memory; what the server acknowledged is not touched by it.
      }
    },
  };
}
