/**
 * What one room's page shows live: the last comments and events, how many come a second, and what was left out.
 * Listens on a socket; where the key at hand is no identity for a socket (the admin key), it reads the same
 * comments by long polling. Bounded: the newest lines stay, what falls off is gone. Knows nothing of the page.
 */
import { Client, type Comment, type RoomEvent } from "@barrage/client";
import { computed, signal } from "@preact/signals";
import { readComments } from "./api";
import { isToken } from "./scope";
import { bearer, devIdentity } from "./session";

export type Line = { id: string; comment: Comment } | { id: string; event: RoomEvent };

export type FeedStatus = "connecting" | "live" | "polling" | "lost" | "refused";

/** Lines kept, and lines that may wait while the feed is held. */
const kept = 500;
/** Four redraws a second are as fast as anyone reads, whatever the room's pace. */
const tickMs = 250;
/** The pace is told over this many ticks. */
const paceTicks = 20;
const pollWaitS = 25;
const retryMs = 3000;

export class Feed {
  readonly lines = signal<readonly Line[]>([]);
  readonly deleted = signal<ReadonlySet<string>>(new Set());
  readonly status = signal<FeedStatus>("connecting");
  /** Comments the server did not give us: sampled out, merged away, missed. */
  readonly omitted = signal(0);
  readonly perSecond = computed(() => (this.#pace.value.reduce((sum, n) => sum + n, 0) * 1000) / (tickMs * paceTicks));
  /** Lines that arrived while held. */
  readonly waiting = signal(0);

  readonly #pace = signal<readonly number[]>([]);
  readonly #timer: number;
  #client: Client | null = null;
  #arrived: Line[] = [];
  #counted = 0;
  #held = false;
  #stopped = false;

  constructor(readonly room: string) {
    this.#timer = window.setInterval(() => this.#tick(), tickMs);
    this.#listen();
  }

  /** Holds the lines still while somebody points at one; nothing arrives under the hand. */
  hold(on: boolean): void {
    this.#held = on;
    if (!on) this.#flush();
  }

  /** Marks a comment as deleted before the server's own word of it arrives. */
  strike(ids: readonly string[]): void {
    this.deleted.value = new Set([...[...this.deleted.value].slice(-kept), ...ids]);
  }

  #unstrike(ids: readonly string[]): void {
    this.deleted.value = new Set([...this.deleted.value].filter((id) => !ids.includes(id)));
  }

  /** Puts an event into the line that it has already; tells whether it had one. */
  #replaced(id: string, event: RoomEvent): boolean {
    const at = this.#arrived.findIndex((line) => line.id === id);
    if (at !== -1) this.#arrived[at] = { id, event };
    const shown = this.lines.value.some((line) => line.id === id);
    if (shown) this.lines.value = this.lines.value.map((line) => (line.id === id ? { id, event } : line));
    return at !== -1 || shown;
  }

  stop(): void {
    this.#stopped = true;
    window.clearInterval(this.#timer);
    this.#client?.close();
  }

  #listen(): void {
    const identity = devIdentity();
    const token = isToken(bearer()) ? { token: bearer() } : {};
    const client = new Client({ url: location.origin, ...token, ...(identity === undefined ? {} : { identity }) });
    const room = client.room(this.room);
    this.#client = client;
    client.on("state", (state) => {
      if (state.name === "waiting") this.status.value = "lost";
      if (state.name === "closed" && state.code !== undefined) this.#pollInstead();
    });
    room.on("joined", () => (this.status.value = "live"));
    room.on("refused", () => this.#pollInstead());
    room.on("comments", ({ comments, omitted, source }) => {
      this.#take(comments, source === "live");
      this.#count(omitted, source === "live");
    });
    room.on("event", (event) => this.#happened(event));
    // A refusal is told by the event above.
    room.join({ max_per_s: 200, history: 50 }).catch(() => undefined);
    client.connect();
  }

  #pollInstead(): void {
    if (this.#stopped || this.#client === null) return;
    const client = this.#client;
    this.#client = null;
    client.close();
    void this.#poll();
  }

  async #poll(): Promise<void> {
    let since: string | undefined;
    while (!this.#stopped) {
      try {
        const { comments, latest_id } = await readComments(this.room, since, since === undefined ? 0 : pollWaitS);
        if (this.#stopped) return;
        this.status.value = "polling";
        this.#take(comments, since !== undefined);
        since = latest_id ?? since ?? "0";
      } catch (error) {
        this.status.value = refusedForGood(error) ? "refused" : "lost";
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    }
  }

  #take(comments: readonly Comment[], live: boolean): void {
    this.#arrived.push(...comments.map((comment) => ({ id: comment.id, comment })));
    this.#arrived.splice(0, this.#arrived.length - kept);
    if (live) this.#counted += comments.length;
  }

  #count(omitted: number, live: boolean): void {
    if (omitted === 0) return;
    this.omitted.value += omitted;
    if (live) this.#counted += omitted;
  }

  #happened(event: RoomEvent): void {
    if (event.kind === "comment_deleted") return this.strike(idsOf(event));
    if (event.kind === "ranking" || event.kind === "hot_comments") return;
    if (event.kind === "comments_restored") this.#unstrike(event.comments.map(({ id }) => id));
    // A poll is told with every few votes, a question with each upvote: one line each, where it stands last.
    const id = event.kind === "poll" ? `poll ${event.poll_id}` : event.kind === "question" ? `question ${event.question_id}` : event.event_id;
    if (!this.#replaced(id, event)) this.#arrived.push({ id, event });
  }

  #tick(): void {
    this.#pace.value = [...this.#pace.value.slice(1 - paceTicks), this.#counted];
    this.#counted = 0;
    if (this.#held) this.waiting.value = this.#arrived.length;
    else this.#flush();
  }

  #flush(): void {
    this.waiting.value = 0;
    if (this.#arrived.length === 0) return;
    this.lines.value = [...this.lines.value, ...this.#arrived].slice(-kept);
    this.#arrived = [];
  }
}

/** A purge names many comments at once. */
function idsOf(event: { comment_id?: string; comment_ids?: string[] }): string[] {
  return event.comment_ids ?? (event.comment_id === undefined ? [] : [event.comment_id]);
}

function refusedForGood(error: unknown): boolean {
  const status = (error as { status?: number }).status ?? 0;
  return status === 401 || status === 403 || status === 404;
}
