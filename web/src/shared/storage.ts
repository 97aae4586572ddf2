/**
 * The page's stored texts: `readStored` and its siblings for the browser, `readInTab` and its siblings for this tab alone.
 * Where the browser denies storage, or it is full, values live as long as the page does.
 * Every page reads and writes through here; nothing here throws.
 */

interface SafeStorage {
  /** The text stored under `key`, or null. */
  read(key: string): string | null;
  write(key: string, value: string): void;
  remove(key: string): void;
  /** Removes every text whose key begins so. */
  removeAll(prefix: string): void;
}

/** `area` is a function because a browser that denies storage throws at the mere name of it. */
function safe(area: () => Storage): SafeStorage {
  /** What the browser did not take; it wins over what is stored. `null` marks a removed key. */
  const inMemory = new Map<string, string | null>();
  const change = (key: string, value: string | null): void => {
    try {
      if (value === null) area().removeItem(key);
      else area().setItem(key, value);
      inMemory.delete(key);
    } catch {
      inMemory.set(key, value);
    }
  };
  return {
    read(key) {
      const kept = inMemory.get(key);
      if (kept !== undefined) return kept;
      try {
        return area().getItem(key);
      } catch {
        return null;
      }
    },
    write: change,
    remove: (key) => change(key, null),
    removeAll(prefix) {
      let stored: string[] = [];
      try {
        stored = Object.keys(area());
      } catch {
        // Then there are none.
      }
      for (const key of [...stored, ...inMemory.keys()]) if (key.startsWith(prefix)) change(key, null);
    },
  };
}

export const { read: readStored, write: writeStored, remove: removeStored, removeAll: removeAllStored } = safe(() => localStorage);
export const { read: readInTab, write: writeInTab, remove: removeInTab, removeAll: removeAllInTab } = safe(() => sessionStorage);
