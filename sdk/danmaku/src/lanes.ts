/**
 * Where on the picture a comment may fly. Pure: knows rectangles, speeds and a clock given from outside; no text, no
 * canvas. The engine asks for a place, and either gets one where the comment meets no other, now or at any
 * later moment, or gets none.
 *
 * The stage is cut into lanes of equal height, shared by all three modes: scrolling comments take the first free lane
 * from the top, standing ones the nearest to their edge. Where standing comments are wanted, scrolling ones leave the
 * two outermost lanes to them for a while; the last lanes of the area are kept for privileged comments.
 * Once placed a comment keeps its speed and its place, so a resize, another letter size or another area never pushes two of
 * them together. Times are stage milliseconds: they stand still while the stage is paused.
 */

/** `reverse` scrolls from the left to the right. */
export type Mode = "scroll" | "reverse" | "top" | "bottom";

export interface Geometry {
  /** Stage in CSS pixels. */
  width: number;
  height: number;
  /** Height of one lane. */
  laneHeight: number;
  /** Share of the height in use, 0–1: from the top, for bottom comments from the bottom. */
  area: number;
  /** Time a comment takes from the right edge until it has left at the left. */
  crossingMs: number;
  /** How long top and bottom comments stand. */
  standingMs: number;
  /** Free space kept between two comments of a lane. */
  gap: number;
}

export interface PlaceRequest {
  mode: Mode;
  width: number;
  height: number;
  /** May use the reserved lanes: the viewer's own comments, the owner's, moderators'. */
  privileged: boolean;
}

export interface Placed {
  mode: Mode;
  /** Left edge at `t0`. */
  x0: number;
  t0: number;
  /** Pixels a millisecond to the left, negative to the right; 0 for standing comments. */
  speed: number;
  /** Top edge. */
  y: number;
  width: number;
  height: number;
  /** When it is gone. */
  until: number;
}

/** Lanes at each edge that scrolling comments leave to standing ones… */
const BAND = 2;
/** …for this long after one was asked for. */
const BAND_MS = 20_000;

const SWEEP_MS = 1_000;

export class Lanes {
  #geometry: Geometry;
  /** Lane by lane, what touches it. */
  #lanes: Placed[][] = [];
  /** All that has not left, also what a smaller stage has put out of sight. */
  #flying = new Set<Placed>();
  #sweptAt = 0;
  #bandUntil = { top: 0, bottom: 0 };

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
    this.reshape(geometry, 0);
  }

  /** Lanes a mode may use. */
  get usable(): number {
    return Math.max(1, Math.floor(this.#lanes.length * this.#geometry.area));
  }

  /** Lanes at the far end of the area that only privileged comments may use. */
  get reserved(): number {
    return this.usable < 4 ? 0 : Math.min(2, Math.ceil(this.usable / 12));
  }

  /** Takes another geometry. What is flying goes on as it was and still blocks the lanes it touches. */
  reshape(geometry: Geometry, now: number): void {
    this.#geometry = geometry;
    this.#sweep(now);
    const count = Math.max(1, Math.floor(geometry.height / geometry.laneHeight));
    this.#lanes = Array.from({ length: count }, () => []);
    for (const placed of this.#flying) this.#occupy(placed);
  }

  /** A place starting now, or undefined when there is none. */
  place(request: PlaceRequest, now: number): Placed | undefined {
    if (now - this.#sweptAt > SWEEP_MS) this.#sweep(now);
    if (request.mode === "top" || request.mode === "bottom") this.#bandUntil[request.mode] = now + BAND_MS;
    const span = Math.max(1, Math.ceil(request.height / this.#geometry.laneHeight));
    for (const lane of this.#candidates(request, span, now)) {
      const placed = this.#start(request, lane * this.#geometry.laneHeight, now);
      if (this.#isFree(lane, span, placed, now)) {
        this.#flying.add(placed);
        this.#occupy(placed);
        return placed;
      }
    }
    return undefined;
  }

  /** Takes a comment away before its time; its lanes are free at once. */
  remove(placed: Placed): void {
    this.#flying.delete(placed);
    for (const lane of this.#lanes) {
      const at = lane.indexOf(placed);
      if (at >= 0) lane.splice(at, 1);
    }
  }

  /** Stops a comment where it is. Those already behind it pass over it; new ones keep clear of it. */
  hold(placed: Placed, now: number): void {
    Object.assign(placed, { x0: xAt(placed, now), t0: now, speed: 0, until: Infinity });
  }

  /** Lets a held comment go on as `was`, a copy made before it was held. */
  letGo(placed: Placed, was: Placed, now: number): void {
    const left = was.speed === 0 ? Math.max(1_000, was.until - placed.t0) : (was.speed > 0 ? placed.x0 + placed.width : this.#geometry.width - placed.x0) / Math.abs(was.speed);
    Object.assign(placed, { t0: now, speed: was.speed, until: now + left });
  }

  /** Forgets what has left. */
  #sweep(now: number): void {
    this.#sweptAt = now;
    this.#flying = new Set([...this.#flying].filter(({ until }) => until > now));
    this.#lanes = this.#lanes.map((lane) => lane.filter(({ until }) => until > now));
  }

  /** First lanes to try, best first, for a comment that takes `span` of them. */
  #candidates({ mode, privileged }: PlaceRequest, span: number, now: number): number[] {
    const count = this.#lanes.length;
    // Standing comments keep to the half of the area at their edge: in the middle they would be neither.
    const half = Math.max(span, Math.ceil(this.usable / 2));
    if (mode === "top") return range(0, half - span + 1);
    if (mode === "bottom") return range(count - half, count - span + 1).reverse();
    const band = count > 2 * BAND ? BAND : 0;
    const first = now < this.#bandUntil.top ? band : 0;
    const end = Math.min(this.usable - (privileged ? 0 : this.reserved), now < this.#bandUntil.bottom ? count - band : count);
    return range(first, end - span + 1);
  }

  #start({ mode, width, height }: PlaceRequest, y: number, now: number): Placed {
    const { width: stage, crossingMs, standingMs } = this.#geometry;
    if (mode === "top" || mode === "bottom") {
      return { mode, x0: (stage - width) / 2, t0: now, speed: 0, y, width, height, until: now + standingMs };
    }
    const speed = (stage + width) / crossingMs;
    if (mode === "reverse") return { mode, x0: -width, t0: now, speed: -speed, y, width, height, until: now + crossingMs };
    return { mode, x0: stage, t0: now, speed, y, width, height, until: now + crossingMs };
  }

  #isFree(first: number, span: number, fresh: Placed, now: number): boolean {
    for (let lane = first; lane < first + span; lane++) {
      const occupants = this.#lanes[lane];
      if (!occupants) return false;
      if (occupants.some((placed) => placed.until > now && meets(placed, fresh, now, this.#geometry.gap))) return false;
    }
    return true;
  }

  /** Enters a comment into each lane it touches; outside the stage there are none. */
  #occupy(placed: Placed): void {
    const { laneHeight } = this.#geometry;
    const first = Math.floor(placed.y / laneHeight);
    const last = Math.ceil((placed.y + placed.height) / laneHeight) - 1;
    for (let lane = first; lane <= last; lane++) this.#lanes[lane]?.push(placed);
  }
}

/** Left edge of a comment at stage time `t`. */
export function xAt(placed: Placed, t: number): number {
  return placed.x0 - placed.speed * (t - placed.t0);
}

/**
 * Whether a comment starting now would ever come nearer than `gap` to one already there in the same lane. Everything
 * moves evenly to the left or stands, so it is enough to look at the start of the time they share and at its end
 * (the catch-up test): they keep apart when one is to the right of the other at both.
 */
function meets(earlier: Placed, fresh: Placed, now: number, gap: number): boolean {
  const end = Math.min(earlier.until, fresh.until);
  const right = (a: Placed, b: Placed, t: number, space: number): boolean => xAt(a, t) >= xAt(b, t) + b.width + space;
  if (right(fresh, earlier, now, gap) && right(fresh, earlier, end, 0)) return false;
  return !(right(earlier, fresh, now, gap) && right(earlier, fresh, end, gap));
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
}
