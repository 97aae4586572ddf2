/** What was said around a held comment, from the recording of its session. Keeps nothing. */
import { type Comment, listSessions, readStretch, type Review } from "../api";

export interface Context {
  before: Comment[];
  after: Comment[];
}

const beforeMax = 6;
const afterMax = 3;
/** A fast room is looked at closely first; a slow one over a longer stretch. */
const stretchesMs = [
  { before: 3_000, after: 3_000 },
  { before: 300_000, after: 60_000 },
] as const;
/** As many as a page has: the nearest may be missing. */
const pageMax = 500;

/** Empty where the room keeps nothing, or nothing was said. */
export async function contextOf({ id, room_id, created_at }: Review): Promise<Context> {
  const at = Date.parse(created_at);
  const session = (await listSessions(room_id)).find(({ started_at, ended_at }) => Date.parse(started_at) <= at && (ended_at === undefined || at <= Date.parse(ended_at)));
  if (session === undefined) return { before: [], after: [] };
  const offset = at - Date.parse(session.started_at);
  let found: Context = { before: [], after: [] };
  for (const { before, after } of stretchesMs) {
    const said = (await readStretch(room_id, session.session_id, Math.max(0, offset - before), offset + after)).filter((comment) => comment.id !== id);
    found = around(said, offset);
    if (found.before.length >= beforeMax || said.length >= pageMax - 1) break;
  }
  return found;
}

function around(said: readonly Comment[], offset: number): Context {
  return {
    before: said.filter(({ offset_ms }) => offset_ms <= offset).slice(-beforeMax),
    after: said.filter(({ offset_ms }) => offset_ms > offset).slice(0, afterMax),
  };
}
