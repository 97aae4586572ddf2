/**
 * Reads the Prometheus text format (https://prometheus.io/docs/instrumenting/exposition_formats/)
 * far enough for a few numbers on the overview. Pure; unreadable lines are skipped.
 */

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const line = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const label = /([a-zA-Z_]\w*)="((?:\\.|[^"\\])*)"/g;

export function parseMetrics(text: string): Sample[] {
  return text.split("\n").flatMap((row) => {
    const sample = parseLine(row);
    return sample === null ? [] : [sample];
  });
}

function parseLine(row: string): Sample | null {
  const [, name, labels, number] = row.startsWith("#") ? [] : (line.exec(row) ?? []);
  const value = Number(number);
  if (name === undefined || number === undefined || Number.isNaN(value)) return null;
  return { name, labels: parseLabels(labels ?? ""), value };
}

function parseLabels(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, key, value] of text.matchAll(label)) {
    if (key !== undefined && value !== undefined) found[key] = value.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
  }
  return found;
}

/** The sum of every sample of one metric, or null when the server does not report it. */
export function total(samples: Sample[], name: string): number | null {
  const own = samples.filter((sample) => sample.name === name);
  return own.length === 0 ? null : own.reduce((sum, sample) => sum + sample.value, 0);
}

/** A metric's sums by the value of one label, largest first, zeros left out. */
export function byLabel(samples: Sample[], name: string, key: string): [string, number][] {
  const sums = new Map<string, number>();
  for (const sample of samples) {
    const group = sample.labels[key];
    if (sample.name === name && group !== undefined) sums.set(group, (sums.get(group) ?? 0) + sample.value);
  }
  return [...sums].filter(([, sum]) => sum > 0).sort((a, b) => b[1] - a[1]);
}
