import { describe, expect, it } from "vitest";
import { type Geometry, Lanes, type Mode, type Placed, type PlaceRequest, xAt } from "../src/lanes";

const stage: Geometry = { width: 1_280, height: 720, laneHeight: 30, area: 1, crossingMs: 9_000, standingMs: 4_000, gap: 20 };

const scroll = (width: number, more: Partial<PlaceRequest> = {}): PlaceRequest => ({ mode: "scroll", width, height: 30, privileged: false, ...more });

/** mulberry32: the same numbers for the same seed. */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function overlap(a: Placed, b: Placed, t: number): boolean {
  const vertically = a.y < b.y + b.height && b.y < a.y + a.height;
  // A thousandth of a pixel for the rounding of floating point.
  return vertically && xAt(a, t) + a.width > xAt(b, t) + 0.001 && xAt(b, t) + b.width > xAt(a, t) + 0.001;
}

function overlapping(all: Placed[], t: number): [Placed, Placed] | undefined {
  const present = all.filter((p) => p.t0 <= t && t < p.until);
  for (const [i, a] of present.entries()) for (const b of present.slice(i + 1)) if (overlap(a, b, t)) return [a, b];
  return undefined;
}

describe("scrolling comments", () => {
  it("enter at the right edge of the first lane and leave at the left on time", () => {
    const placed = new Lanes(stage).place(scroll(200), 0) as Placed;
    expect(placed.y).toBe(0);
    expect(xAt(placed, 0)).toBe(1_280);
    expect(xAt(placed, 9_000)).toBeCloseTo(-200);
    expect(placed.until).toBe(9_000);
  });

  it("take the next lane until the tail of the one before has come in, with a gap", () => {
    const lanes = new Lanes(stage);
    const first = lanes.place(scroll(200), 0) as Placed;
    const clear = (200 + stage.gap) / first.speed;
    expect(lanes.place(scroll(200), clear - 1)?.y).toBe(30);
    expect(lanes.place(scroll(200), clear + 1)?.y).toBe(0);
  });

  it("a longer and so faster one does not catch up", () => {
    const lanes = new Lanes({ ...stage, height: 30 });
    lanes.place(scroll(100), 0);
    // At 2 s the slow one is well inside, and 800 px more would still run into it before it has left.
    expect(lanes.place(scroll(800), 2_000)).toBeUndefined();
    expect(lanes.place(scroll(100), 2_000)).toBeDefined();
  });

  it("taller ones take as many lanes as they touch", () => {
    const lanes = new Lanes(stage);
    lanes.place(scroll(200, { height: 42 }), 0);
    expect(lanes.place(scroll(200), 0)?.y).toBe(60);
  });

  it("leave the reserved lanes to the privileged", () => {
    const lanes = new Lanes(stage);
    const ordinary = Array.from({ length: 40 }, () => lanes.place(scroll(200), 0)).filter(Boolean);
    expect(ordinary).toHaveLength(22);
    expect(lanes.place(scroll(200, { privileged: true }), 0)?.y).toBe(22 * 30);
    expect(lanes.place(scroll(200, { privileged: true }), 0)?.y).toBe(23 * 30);
    expect(lanes.place(scroll(200, { privileged: true }), 0)).toBeUndefined();
  });

  it("keep to the area", () => {
    const lanes = new Lanes({ ...stage, area: 0.25 });
    expect(Array.from({ length: 40 }, () => lanes.place(scroll(200, { privileged: true }), 0)).filter(Boolean)).toHaveLength(6);
  });

  it("a removed comment's lane is free at once", () => {
    const lanes = new Lanes({ ...stage, height: 30 });
    const placed = lanes.place(scroll(200), 0) as Placed;
    expect(lanes.place(scroll(200), 10)).toBeUndefined();
    lanes.remove(placed);
    expect(lanes.place(scroll(200), 10)).toBeDefined();
  });
});

describe("standing comments", () => {
  it("stand in the middle, at their edge, one under the other", () => {
    const lanes = new Lanes(stage);
    expect(lanes.place(scroll(200, { mode: "top" }), 0)).toMatchObject({ x0: 540, y: 0, speed: 0, until: 4_000 });
    expect(lanes.place(scroll(200, { mode: "top" }), 0)?.y).toBe(30);
    expect(lanes.place(scroll(200, { mode: "bottom" }), 0)?.y).toBe(690);
    expect(lanes.place(scroll(200, { mode: "top" }), 4_000)?.y).toBe(0);
  });

  it("make the scrolling ones leave the outermost lanes to them for a while", () => {
    const lanes = new Lanes(stage);
    lanes.place(scroll(200, { mode: "top" }), 0);
    expect(lanes.place(scroll(200), 10_000)?.y).toBe(60);
    expect(lanes.place(scroll(200), 20_001)?.y).toBe(0);
  });

  it("wait for what scrolls through the middle", () => {
    const lanes = new Lanes({ ...stage, height: 30 });
    lanes.place(scroll(100), 0);
    expect(lanes.place(scroll(200, { mode: "top" }), 3_000)).toBeUndefined();
    expect(lanes.place(scroll(200, { mode: "top" }), 6_000)).toBeDefined();
  });
});

describe("a held comment", () => {
  it("stands still, new ones keep clear of it, and then goes on at its old speed", () => {
    const lanes = new Lanes({ ...stage, height: 30 });
    const held = lanes.place(scroll(100), 0) as Placed;
    const was = { ...held };
    lanes.hold(held, 4_500);
    const at = xAt(held, 4_500);
    expect(xAt(held, 9_000)).toBe(at);
    expect(lanes.place(scroll(100), 20_000)).toBeUndefined();
    lanes.letGo(held, was, 20_000);
    expect(held.speed).toBe(was.speed);
    expect(xAt(held, held.until)).toBeCloseTo(-100);
    expect(lanes.place(scroll(100), 20_000)).toBeDefined();
  });
});

describe("any sequence", () => {
  const seeds = Array.from({ length: 40 }, (_, i) => i + 1);

  it.each(seeds)("of comments, removals and reshapings never brings two together (seed %i)", (seed) => {
    const next = random(seed);
    let geometry = stage;
    const lanes = new Lanes(geometry);
    const all: Placed[] = [];
    for (let t = 0; t < 40_000; t += 20 + next() * 120) {
      const chance = next();
      if (chance < 0.01) {
        geometry = {
          ...geometry,
          width: 300 + next() * 1_600, height: 180 + next() * 900, laneHeight: 18 + Math.floor(next() * 30),
          area: [0.25, 0.5, 0.75, 1][Math.floor(next() * 4)] ?? 1, crossingMs: 4_000 + next() * 6_000,
        };
        lanes.reshape(geometry, t);
      } else if (chance < 0.03) {
        const gone = all.splice(Math.floor(next() * all.length), 1)[0];
        if (gone) lanes.remove(gone);
      } else {
        const mode: Mode = next() < 0.85 ? "scroll" : next() < 0.5 ? "top" : "bottom";
        const placed = lanes.place(scroll(20 + next() * next() * 1_500, { mode, height: geometry.laneHeight * (0.5 + next()), privileged: next() < 0.2 }), t);
        if (placed) all.push(placed);
      }
      expect(overlapping(all, t)).toBeUndefined();
    }
    expect(all.length).toBeGreaterThan(50);
  });

  it("fills a 720p screen with about as many as it can hold", () => {
    const next = random(7);
    const lanes = new Lanes(stage);
    let shown = 0;
    for (let t = 0; t < 60_000; t += 6) if (lanes.place(scroll(75 + next() * 525), t)) shown++;
    expect(shown).toBeGreaterThan(1_200);
  });
});

describe("comments from the left", () => {
  const reverse = (width: number): PlaceRequest => scroll(width, { mode: "reverse" });

  it("enter at the left edge and leave at the right on time", () => {
    const placed = new Lanes(stage).place(reverse(200), 0) as Placed;
    expect([xAt(placed, 0), Math.round(xAt(placed, placed.until))]).toEqual([-200, 1_280]);
  });

  it("never share a lane with those from the right", () => {
    const lanes = new Lanes({ ...stage, height: 30 });
    expect(lanes.place(scroll(100), 0)).toBeDefined();
    expect(lanes.place(reverse(100), 3_000)).toBeUndefined();
  });

  it("meet none of each other", () => {
    const lanes = new Lanes(stage);
    const next = random(7);
    const all: Placed[] = [];
    for (let now = 0; now < 30_000; now += 50) {
      const placed = lanes.place(reverse(40 + next() * 700), now);
      if (placed) all.push(placed);
    }
    expect(all.length).toBeGreaterThan(100);
    for (let t = 0; t < 40_000; t += 97) expect(overlapping(all, t)).toBeUndefined();
  });

  it("go on to the right after they were held", () => {
    const lanes = new Lanes(stage);
    const placed = lanes.place(reverse(200), 0) as Placed;
    const was = { ...placed };
    lanes.hold(placed, 3_000);
    const at = xAt(placed, 9_000);
    lanes.letGo(placed, was, 9_000);
    expect(xAt(placed, 9_000)).toBe(at);
    expect(Math.round(xAt(placed, placed.until))).toBe(1_280);
  });
});
