/** The deployment at a glance: is it ready, and a few numbers from its metrics with their change per second. */
import { BarrageError } from "@barrage/client";
import { useRef } from "preact/hooks";
import { has, t } from "./i18n";
import { byLabel, parseMetrics, total, type Sample } from "./metrics";
import { usePoll } from "./poll";
import { bearer, server } from "./session";
import { number } from "./time";
import { Section } from "./ui";
import { explain } from "./errors";

const everyMs = 3000;

interface Ready {
  status: string;
  /** Each dependency and its state, as the server names them. */
  parts: [string, string][];
}

export function Overview() {
  const ready = usePoll(readReady, everyMs, "ready");
  const metrics = usePoll(readMetrics, everyMs, "metrics");
  return (
    <Section title={t("section.overview")} tools={<span class="dim">{server.value?.version ?? ""}</span>}>
      {ready.error !== null && <p class="notice bad" role="alert">{explain(ready.error)}</p>}
      {ready.data !== null && <Readiness ready={ready.data} />}
      {metrics.error !== null && <p class="notice bad">{explain(metrics.error)}</p>}
      {metrics.data !== null && <Numbers reading={metrics.data} />}
    </Section>
  );
}

function Readiness({ ready }: { ready: Ready }) {
  return (
    <p class="pills">
      <span class={`pill big ${mood(ready.status)}`}>{has(`ready.${ready.status}`) ? t(`ready.${ready.status}`) : ready.status}</span>
      {ready.parts.map(([name, state]) => (
        <span key={name} class={`pill ${mood(state)}`}>{name}: {state}</span>
      ))}
    </p>
  );
}

const mood = (state: string): string =>
  ["ok", "ready", "up", "healthy"].includes(state) ? "good" : ["degraded", "starting", "draining"].includes(state) ? "warn" : "bad";

interface Reading {
  at: number;
  samples: Sample[];
}

function Numbers({ reading }: { reading: Reading }) {
  const before = useLast(reading);
  const value = (name: string) => total(reading.samples, `barrage_${name}`);
  const rate = (name: string) => perSecond(before, reading, `barrage_${name}`);
  const resident = value("process_resident_bytes");
  return (
    <>
      <dl class="tiles">
        <Tile name={t("m.connections")} value={value("connections")} />
        <Tile name={t("m.streams")} value={value("streams")} />
        <Tile name={t("m.rooms")} value={value("rooms_held")} />
        <Tile name={t("m.comments")} value={value("comments_total")} rate={rate("comments_total")} />
        <Tile name={t("m.delivered")} value={value("delivered_comments_total")} rate={rate("delivered_comments_total")} />
        <Tile name={t("m.omitted")} value={value("omitted_comments_total")} rate={rate("omitted_comments_total")} />
        <Tile name={t("m.memory")} value={resident === null ? null : Math.round(resident / 1_048_576)} unit="MiB" />
      </dl>
      <div class="columns three">
        <Breakdown title={t("m.byOutcome")} rows={byLabel(reading.samples, "barrage_comments_total", "outcome")} />
        <Breakdown title={t("m.omittedBy")} rows={byLabel(reading.samples, "barrage_omitted_comments_total", "reason")} />
        <Breakdown title={t("m.closesBy")} rows={byLabel(reading.samples, "barrage_closes_total", "code")} />
        <Breakdown title={t("m.fallbacksBy")} names="noAnswer" rows={fallbacks(reading.samples)} />
      </div>
    </>
  );
}

/** Comments about which the moderation hook gave no answer in time, by why; and answers that came too late. */
function fallbacks(samples: Sample[]): [string, number][] {
  const late = total(samples, "barrage_moderation_hook_late_total") ?? 0;
  return [...byLabel(samples, "barrage_moderation_hook_fallbacks_total", "reason"), ...(late > 0 ? [["late", late] as [string, number]] : [])];
}

/** The reading before this one, to tell rates by. */
function useLast(reading: Reading): Reading | null {
  const seen = useRef<{ now: Reading; before: Reading | null }>({ now: reading, before: null });
  if (seen.current.now !== reading) seen.current = { now: reading, before: seen.current.now };
  return seen.current.before;
}

function perSecond(before: Reading | null, now: Reading, name: string): number | null {
  const [old, fresh] = [before === null ? null : total(before.samples, name), total(now.samples, name)];
  if (before === null || old === null || fresh === null || fresh < old) return null;
  return ((fresh - old) * 1000) / Math.max(1, now.at - before.at);
}

function Tile(props: { name: string; value: number | null; rate?: number | null; unit?: string }) {
  const value = props.value === null ? "–" : number(props.value);
  return (
    <div class="tile">
      <dt>{props.name}</dt>
      <dd>
        {value} {props.unit !== undefined && <small>{props.unit}</small>}
        {props.rate !== null && props.rate !== undefined && (
          <small class="rate">{t("perSecond", { n: number(Math.round(props.rate * 10) / 10) })}</small>
        )}
      </dd>
    </div>
  );
}

function Breakdown({ title, rows, names = "outcome" }: { title: string; rows: [string, number][]; names?: string }) {
  const most = Math.max(1, ...rows.map(([, value]) => value));
  return (
    <div class="card">
      <h2>{title}</h2>
      {rows.length === 0 && <p class="dim">{t("m.none")}</p>}
      <ul class="bars">
        {rows.map(([name, value]) => (
          <li key={name}>
            <span>{has(`${names}.${name}`) ? t(`${names}.${name}`) : name}</span>
            <meter min={0} max={most} value={value} aria-label={name} />
            <b>{number(value)}</b>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** `/readyz` answers 503 with the same body when it is not ready: both are news, not failures. */
async function readReady(): Promise<Ready> {
  const answer = await get("/readyz");
  const body = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
  const status = typeof body["status"] === "string" ? body["status"] : answer.ok ? "ready" : "unavailable";
  const parts = body["dependencies"] ?? body["checks"] ?? {};
  return { status, parts: Object.entries(parts as object).map(([name, state]) => [name, stateOf(state)]) };
}

function stateOf(state: unknown): string {
  if (typeof state === "string") return state;
  const inner = (state as { state?: unknown; status?: unknown } | null) ?? {};
  return String(inner.state ?? inner.status ?? "?");
}

async function readMetrics(): Promise<Reading> {
  const answer = await get("/metrics");
  if (!answer.ok) throw new BarrageError(`http_${answer.status}`, "", undefined, answer.status);
  return { at: Date.now(), samples: parseMetrics(await answer.text()) };
}

function get(path: string): Promise<Response> {
  const headers: Record<string, string> = bearer() === "" ? {} : { authorization: `Bearer ${bearer()}` };
  return fetch(path, { headers, cache: "no-store" }).catch((cause: unknown) => {
    throw new BarrageError("network", `no answer: ${String(cause)}`);
  });
}
