/** The fields of `after` that differ from `before`, compared by their JSON. Pure. */
export function changes<T extends object>(before: T, after: T): Partial<T> {
  const old = new Map(Object.entries(before).map(([name, value]) => [name, JSON.stringify(value)]));
  const differing = Object.entries(after).filter(([name, value]) => JSON.stringify(value) !== old.get(name));
  return Object.fromEntries(differing) as Partial<T>;
}
