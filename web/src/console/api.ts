/**
 * The admin API as the console uses it: one function per endpoint over the client package's `Api`, nothing kept
 * between calls. Called by the console's sections and the rooms page. Never touches the DOM and never retries:
 * a failure is a `BarrageError` and the section that asked decides what to say.
 */
import { Api, type BanDraft, type Comment, type GiftDraft, type RankingEntry, type ServerInfo } from "@barrage/client";
import type { RoomInfo, Words, WordList } from "@barrage/client";
import { bearer, devIdentity } from "./session";

export type { Comment, RankingEntry, ServerInfo, WordList, Words };
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
}

export interface Review {
  id: string;
  room_id: string;
  user_id: string;
  username?: string | null;
  content: string;
  created_at: string;
  status: "pending" | "approved" | "rejected";
  decided_by?: string | null;
  decided_at?: string | null;
  /** The word of the review list that held it. */
  word?: string | null;
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

export interface Ban {
  id: string;
  user_id: string;
  room_id?: string | null;
  kind: SanctionKind;
  reason?: string | null;
  created_at?: string | null;
  /** Absent: until someone lifts it. */
  expires_at?: string | null;
  created_by?: string | null;
}

export interface AuditEntry {
  at: string;
  actor: string;
  action: string;
  room_id?: string | null;
  target?: string | null;
  detail?: unknown;
}

/** The endpoints, speaking for this tab's key; with --dev, for an admin of the house. */
function api(token: string = bearer()): Api {
  const identity = devIdentity();
  if (token !== "") return new Api({ token });
  return identity === undefined ? new Api() : new Api({ identity });
}

const seg = encodeURIComponent;
const only = (text: string): string | undefined => (text === "" ? undefined : text);

export const getServer = () => new Api().server();

export const listRooms = async () => (await api().call<{ rooms: Room[] }>("GET", "/rooms")).rooms;
export const getRoom = (room: string) => api().room(room);
export const getSettings = (room: string) => api().call<RoomSettings>("GET", `/admin/rooms/${seg(room)}`);
export const putRoom = (room: string, settings: RoomSettings) =>
  api().call<unknown>("PUT", `/admin/rooms/${seg(room)}`, { body: settings });
export const openRoom = (room: string) => api().admin.openRoom(room);
export const closeRoom = (room: string) => api().admin.closeRoom(room);

export const readComments = (room: string, since: string | undefined, waitS: number) =>
  api().comments(room, { limit: 100, wait_s: waitS, ...(since === undefined ? {} : { since_id: since }) });
export const getHot = (room: string) => api().hot(room, 10);
export const getRanking = (room: string) => api().ranking(room, 10);

export const deleteComment = (id: string) => api().admin.deleteComment(id);
export const announce = (room: string, content: string) => api().admin.announce(room, content);
export const sendGift = (room: string, gift: GiftDraft) => api().admin.gift(room, gift);

export const listReviews = async (status: Review["status"], room: string, limit: number) => {
  const query = { status, room_id: only(room), limit };
  return (await api().call<{ reviews: Review[] }>("GET", "/admin/reviews", { query })).reviews;
};
/** Asks for something only a moderator may see, with a key that is not yet the tab's own. */
export const tryKey = (key: string) => api(key).admin.reviews({ status: "pending", limit: 1 });
export const decideReview = (id: string, decision: "approve" | "reject") => api().admin[decision](id);

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

export const listAudit = async (room: string, limit: number) => {
  const query = { room_id: only(room), limit };
  return (await api().call<{ entries: AuditEntry[] }>("GET", "/admin/audit", { query })).entries;
};
