/** The fields of `after` that differ from `before`, compared by their JSON. Pure. */
export function changes<T extends object>(before: T, after: T): Partial<T> {
  const old = new Map(Object.entries(before).map(([name, value]) => [name, JSON.stringify(value)]));
  const differing = Object.entries(after).filter(([name, value]) => JSON.stringify(value) !== old.get(name));
  return Object.fromEntries(differing) as Partial<T>;
}

/** What turns `before` into `after` by a merge patch (RFC 7396): what is gone is null. Pure. */
export function merge<T extends object>(before: T, after: T): { [K in keyof T]?: T[K] | null } {
  const old = before as Record<string, unknown>;
  const patch: Record<string, unknown> = {};
  for (const name of Object.keys(old)) if (!(name in after)) patch[name] = null;
  for (const [name, value] of Object.entries(after)) {
    if (JSON.stringify(value) === JSON.stringify(old[name])) continue;
    patch[name] = isObject(value) && isObject(old[name]) ? merge(old[name], value) : value;
  }
  return patch as { [K in keyof T]?: T[K] | null };
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null && !Array.isArray(value);
