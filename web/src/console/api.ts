/**
 * The admin API as the console uses it: one function per endpoint over the client package's `Api`, nothing kept
 * between calls. Called by the console's sections and the rooms page. Never touches the DOM and never retries:
 * a failure is a `BarrageError` and the section that asked decides what to say.
 */
import { Api, type BanDraft, type Comment, type GiftDraft, type RankingEntry, type ServerInfo } from "@barrage/client";
import type {
  Appeal, AuditEntry, AuditQuery, Ban as BanOnWire, Decided, Moderation, Note, NukeRequest, PollDraft, Review, RoleGiven, RoomInfo, WebhookDraft, Words, WordList,
} from "@barrage/client";
import { idAt } from "./snowflake";
import { bearer, devIdentity } from "./session";

export type { Appeal, AuditEntry, Comment, Decided, Moderation, Note, RankingEntry, Review, ServerInfo, WordList, Words };
export type Room = RoomInfo;
export type SanctionKind = BanDraft["kind"];
export type Speakers = "everyone" | "vip" | "moderators" | "nobody";

/** What a moderator may set. Absent keeps the value; null clears it, so that the deployment's applies. */
export interface RoomSettings {
  name?: string;
  owner_id?: string | null;
  video_url?: string | null;
  enabled?: boolean;
  private?: boolean;
  priority?: number;
  speakers?: Speakers;
  slow_mode_s?: number;
  limits?: Record<string, number>;
  window_ms_max?: number | null;
  reader_groups?: number;
  store?: boolean;
  retention_days?: number | null;
  /** Merged key by key by the server; null removes a key. */
  moderation?: Moderation;
}

export interface DryRun {
  checked: number;
  mask_hits: number;
  review_hits: number;
  block_hits: number;
  /** Part of the checked comments that any list hit, 0 to 1. */
  share: number;
  /** The first comments hit; the server calls their text `text` or `content`. */
  samples: { text?: string; content?: string; list: WordList; word: string }[];
  /** The words that decided most often: an over-eager one stands out here. */
  words?: { list: WordList; word: string; hits: number }[];
}

/** Without an end: until someone lifts it. */
export type Ban = Omit<BanOnWire, "duration_s" | "purge">;

/** The endpoints, speaking for this tab's key; with --dev, for an admin of the house. */
function api(token: string = bearer()): Api {
  const identity = devIdentity();
  if (token !== "") return new Api({ token });
  return identity === undefined ? new Api() : new Api({ identity });
}

const seg = encodeURIComponent;
const only = (text: string): string | undefined => (text === "" ? undefined : text);
const inRoom = (room: string): { room_id?: string } => (room === "" ? {} : { room_id: room });

export const getServer = () => new Api().server();

export const listRooms = async () => (await api().call<{ rooms: Room[] }>("GET", "/rooms")).rooms;
export const getRoom = (room: string) => api().room(room);
export const getSettings = (room: string) => api().call<RoomSettings>("GET", `/admin/rooms/${seg(room)}`);
/** Of the rules only what changed is sent; null switches one off. */
export type RoomChange = Omit<RoomSettings, "moderation"> & { moderation?: { [K in keyof Moderation]?: Moderation[K] | null } };
export const putRoom = (room: string, settings: RoomChange) =>
  api().call<unknown>("PUT", `/admin/rooms/${seg(room)}`, { body: settings });
export const openRoom = (room: string) => api().admin.openRoom(room);
export const closeRoom = (room: string) => api().admin.closeRoom(room);

export const readComments = (room: string, since: string | undefined, waitS: number) =>
  api().comments(room, { limit: 100, wait_s: waitS, ...(since === undefined ? {} : { since_id: since }) });
export const getHot = (room: string) => api().hot(room, 10);
export const getRanking = (room: string) => api().ranking(room, 10);

/** What one user wrote in a room, over all its sessions. */
export const commentsOf = async (room: string, userId: string, limit: number) => (await api().replay(room, { by_user: userId, limit })).comments;

export const deleteComment = (id: string, reason?: string) => api().admin.deleteComment(id, reason);
export const announce = (room: string, content: string) => api().admin.announce(room, content);
export const sendGift = (room: string, gift: GiftDraft) => api().admin.gift(room, gift);

export const listReviews = async (status: Decided, room: string, limit: number) =>
  (await api().admin.reviews({ status, limit, ...inRoom(room) })).reviews;
/** Asks for something only a moderator may see, with a key that is not yet the tab's own. */
export const tryKey = (key: string) => api(key).admin.reviews({ status: "pending", limit: 1 });
export const claimReview = (id: string) => api().admin.claim(id);
export const decideReview = (id: string, decision: "approve" | "reject", reason?: string) =>
  decision === "approve" ? api().admin.approve(id) : api().admin.reject(id, reason);
/** The reasons that a decision may have, in the order in which they are offered. */
export const listReasons = async () => (await api().admin.reasons()).reasons;

/** Pages that one look at the past reads at most. Of what waits the oldest are enough: the queue has the others. */
const pagesMax = { pending: 1, approved: 5, rejected: 5 };
const pageRows = 1000;

/** What was held since then, by what became of it, each oldest first, and whether there was more than is read. */
export async function heldSince(sinceMs: number, room: string): Promise<{ reviews: Review[]; all: boolean }> {
  const read = async (status: Decided) => {
    const reviews: Review[] = [];
    let cursor: string | undefined = idAt(sinceMs);
    for (let page = 0; cursor !== undefined && page < pagesMax[status]; page++) {
      const answer: { reviews: Review[]; next_cursor?: string } = await api().admin.reviews({ status, limit: pageRows, cursor, ...inRoom(room) });
      reviews.push(...answer.reviews);
      cursor = answer.next_cursor;
    }
    return { reviews, all: cursor === undefined };
  };
  const kinds = await Promise.all([read("pending"), read("approved"), read("rejected")]);
  return { reviews: kinds.flatMap(({ reviews }) => reviews), all: kinds.every(({ all }) => all) };
}

export const listAppeals = async (status: Decided, room: string, limit: number) => (await api().admin.appeals({ status, limit, ...inRoom(room) })).appeals;
export const decideAppeal = (id: string, decision: "approve" | "reject", reason?: string) => api().admin.decideAppeal(id, decision, reason);

/** The room's sessions, newest first, and a stretch of one: what was said around a moment. */
export const listSessions = (room: string) => api().sessions(room, 20);
export const readStretch = async (room: string, sessionId: string, fromMs: number, toMs: number) =>
  (await api().replay(room, { session_id: sessionId, from_ms: fromMs, to_ms: toMs, limit: 500 })).comments;

export const listRoles = async (room: string) => (await api().admin.roles(room)).roles;
export const giveRole = (given: RoleGiven) => api().admin.giveRole(given);
export const raiseShield = (room: string, on: boolean) => api().admin.shield(room, on);
export const nuke = (room: string, request: NukeRequest) => api().admin.nuke(room, request);
export const undoNuke = (room: string, actionId: string) => api().admin.undo(room, actionId);

/** None where the server knows no such alarm, or the key may not see it. */
export const listRaids = async (room: string) => (await api().admin.raids(only(room)).catch(() => ({ raids: [] }))).raids;
export const dismissRaid = (room: string) => api().admin.dismissRaid(room);
/** The last of what was kept for quality control, newest first; none where nothing is kept. */
export const keptSamples = async (room: string, sinceMs: number, limit: number) => {
  const query = { since: new Date(sinceMs).toISOString(), limit, ...inRoom(room) };
  const { samples } = await api().admin.samples(query).catch(() => ({ samples: [] }));
  return samples.reverse();
};

export const pinComment = (room: string, commentId: string, durationS?: number) => api().admin.pin(room, commentId, durationS);
export const unpin = (room: string) => api().admin.unpin(room);
export const listPolls = (room: string) => api().polls(room);
export const openPoll = (room: string, draft: PollDraft) => api().openPoll(room, draft);
export const closePoll = (room: string, pollId: string) => api().closePoll(room, pollId);
export const listQuestions = (room: string) => api().questions(room);
export const answerQuestion = (room: string, id: string) => api().answer(room, id);

export const listWebhooks = async () => (await api().admin.webhooks()).webhooks;
export const addWebhook = (draft: WebhookDraft) => api().admin.addWebhook(draft);
export const removeWebhook = (id: string) => api().admin.removeWebhook(id);
export const testWebhook = (id: string) => api().admin.testWebhook(id);
export const rotateWebhook = (id: string) => api().admin.rotateWebhook(id);
export const listDeadLetters = async (id: string) => (await api().admin.deadLetters(id)).dead_letters;
export const replayWebhook = (id: string) => api().admin.replayWebhook(id);

export const getWords = () => api().admin.words();
export const putWords = (words: Words) => api().admin.saveWords(words);
export const addWord = (list: WordList, word: string) => api().admin.addWord(list, word);
export const removeWord = (list: WordList, word: string) => api().admin.removeWord(list, word);
export const dryRun = (room: string, lists: Words, limit: number) =>
  api().call<DryRun>("POST", "/admin/words/dry-run", { body: { room_id: room, lists, limit } });

export const listBans = async (room: string) =>
  (await api().call<{ bans: Ban[] }>("GET", "/admin/bans", { query: { room_id: only(room) } })).bans;
export const addBan = (ban: BanDraft) => api().admin.ban(ban);
export const liftBan = (id: string) => api().admin.unban(id);

export const listAudit = (query: AuditQuery) => api().admin.audit(query);
/** What was done to somebody, newest first: where this key may read it, or in one room. */
export const decisionsAbout = async (userId: string, room: string, limit: number) =>
  (await listAudit({ target: userId, limit, ...inRoom(room) })).entries;

/** Notes of moderators about somebody, newest first: all that this key may read, or those of one room. */
export const listNotes = async (userId: string, room: string, limit: number) => (await api().admin.notes(userId, { limit, ...inRoom(room) })).notes;
/** In a room, or with "" for the whole deployment. */
export const addNote = (userId: string, text: string, room: string) => api().admin.addNote(userId, { text, ...inRoom(room) });
export const removeNote = ({ user_id, id }: Note) => api().admin.removeNote(user_id, id);
