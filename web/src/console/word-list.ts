/** Reads a pasted list of words: one to a line, blank lines and repeats dropped, order kept. Pure. */
export function parseWords(text: string): string[] {
  return [...new Set(text.split(/\r?\n/).map((line) => line.trim()))].filter((word) => word !== "");
}
