/**
 * How the text of a comment is laid out: lines, size of letters, direction, colour of the outline. Pure: it is told how
 * wide a line is. Called by the sprites, and by the list for the direction alone.
 */

export interface Layout {
  /** Size of letters, CSS pixels. */
  px: number;
  lines: string[];
  /** The widest line, CSS pixels. */
  width: number;
}

export interface LayoutRequest {
  text: string;
  px: number;
  /** Wider text is shrunk, then wrapped, then cut. Infinity: never. */
  widthMax: number;
  /** More lines than fit are shrunk. */
  heightMax: number;
}

/** How wide a line is with letters of `px`. */
export type Measure = (line: string, px: number) => number;

export const LINE_HEIGHT = 1.24;
/** Letters of a comment that is too long shrink to this share, no further. */
const SHRINK_MIN = 0.7;
/** Letters do not shrink evenly. */
const ROUNDING_PX = 2;
const WRAPPED_LINES_MAX = 4;
/** Art of more lines is cut. */
const LINES_MAX = 40;
/** Hebrew, Arabic and its relatives, Syriac, Thaana, N'Ko, and the presentation forms. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const LETTER = /\p{L}/u;

export function layOut({ text, px, widthMax, heightMax }: LayoutRequest, measure: Measure): Layout {
  let lines = text.split("\n").slice(0, LINES_MAX);
  let size = px * Math.min(1, heightMax / (lines.length * LINE_HEIGHT * px));
  const widest = (): number => Math.max(...lines.map((line) => measure(line, size)));
  let width = widest();
  if (width > widthMax) {
    size *= Math.max(SHRINK_MIN, widthMax / width);
    width = widest();
    if (width > widthMax + ROUNDING_PX) {
      lines = lines.flatMap((line) => wrap(line, widthMax, (part) => measure(part, size)));
      width = widest();
    }
  }
  return { px: size, lines, width };
}

/** Whether its first letter belongs to a script that is written from the right (UAX #9, rule P2). */
export function isRightToLeft(text: string): boolean {
  const first = LETTER.exec(text)?.[0];
  return first !== undefined && RIGHT_TO_LEFT.test(first);
}

/** The outline that can be told apart from the letters better: black or white, by WCAG contrast. */
export function outlineOf(color: string): "dark" | "light" {
  const luminance = luminanceOf(color);
  return (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) ? "dark" : "light";
}

function luminanceOf(color: string): number {
  const rgb = Number.parseInt(color.slice(1), 16);
  const linear = (channel: number): number => (channel <= 10 ? channel / 3_294.6 : ((channel / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(rgb >> 16) + 0.7152 * linear((rgb >> 8) & 255) + 0.0722 * linear(rgb & 255);
}

/** Breaks at spaces where there are some, else anywhere between two characters. */
function wrap(line: string, widthMax: number, measure: (part: string) => number): string[] {
  const lines: string[] = [];
  let rest = [...line];
  while (rest.length > 0 && lines.length < WRAPPED_LINES_MAX) {
    const fits = fitting(rest, widthMax, measure);
    if (fits >= rest.length) return [...lines, rest.join("")];
    const space = rest.lastIndexOf(" ", fits);
    const end = space > fits / 2 ? space : fits;
    lines.push(rest.slice(0, end).join("").trimEnd());
    rest = rest.slice(rest[end] === " " ? end + 1 : end);
  }
  if (rest.length > 0) lines.push(`${[...(lines.pop() ?? "")].slice(0, -1).join("")}…`);
  return lines;
}

/** How many of the first characters fit, at least one. */
function fitting(characters: string[], widthMax: number, measure: (part: string) => number): number {
  let low = 1;
  let high = characters.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (measure(characters.slice(0, middle).join("")) <= widthMax) low = middle;
    else high = middle - 1;
  }
  return low;
}
