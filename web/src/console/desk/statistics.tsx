/** How moderation goes: what was held and by which rule, how often the rule was wrong, how long decisions take, who makes them. */
import type { Review } from "../api";
import { explain } from "../errors";
import { t } from "../i18n";
import { lasting, number, when } from "../time";
import { figuresOf } from "./figures";
import { ruleInWords, WhyPill } from "./why";

const hourMs = 3_600_000;
const spans = [hourMs, 24 * hourMs, 7 * 24 * hourMs, 30 * 24 * hourMs];
const latestShown = 50;

interface Props {
  past: { reviews: Review[]; all: boolean } | null;
  error: unknown;
  spanMs: number;
  setSpanMs: (ms: number) => void;
}

export function Statistics({ past, error, spanMs, setSpanMs }: Props) {
  const figures = figuresOf(past?.reviews ?? []);
  const percent = (share: number) => `${number(Math.round(share * 100))} %`;
  return (
    <div class="statistics">
      <div class="row between wrap">
        <p class="hint">{t("stats.hint")}</p>
        <select aria-label={t("stats.span")} value={String(spanMs)} onChange={(e) => setSpanMs(Number(e.currentTarget.value))}>
          {spans.map((ms) => <option key={ms} value={String(ms)}>{t("stats.last", { span: lasting(ms / 1000) })}</option>)}
        </select>
      </div>
      {error !== null && <p class="notice bad" role="alert">{explain(error)}</p>}
      {past !== null && !past.all && <p class="notice">{t("stats.cut")}</p>}
      <dl class="tiles">
        <Tile name={t("stats.held")} value={number(figures.held)} />
        <Tile name={t("stats.approved")} value={number(figures.approved)} />
        <Tile name={t("stats.rejected")} value={number(figures.rejected)} />
        <Tile name={t("stats.falseAlarms")} value={percent(figures.falseAlarms)} />
        <Tile name={t("stats.p50")} value={figures.p50S === null ? "–" : lasting(figures.p50S)} />
        <Tile name={t("stats.p95")} value={figures.p95S === null ? "–" : lasting(figures.p95S)} />
      </dl>
      <div class="columns halves">
        <Table caption={t("stats.byRule")} heads={[t("stats.rule"), t("stats.held"), t("stats.rejected"), t("stats.falseAlarms")]} rows={figures.byRule.map(({ rule, held, rejected, falseAlarms }) => [ruleInWords(rule), number(held), number(rejected), percent(falseAlarms)])} />
        <Table caption={t("stats.byModerator")} heads={[t("stats.who"), t("stats.decided"), "p50", "p95"]} rows={figures.byModerator.map(({ who, decided, p50S, p95S }) => [who, number(decided), lasting(p50S), lasting(p95S)])} />
      </div>
      <Latest reviews={past?.reviews ?? []} />
    </div>
  );
}

function Tile({ name, value }: { name: string; value: string }) {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Table({ caption, heads, rows }: { caption: string; heads: string[]; rows: string[][] }) {
  return (
    <div class="card table">
      <table>
        <caption>{caption}</caption>
        <thead>
          <tr>{heads.map((head) => <th key={head} scope="col">{head}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map(([first, ...rest]) => (
            <tr key={first}>
              <th scope="row">{first}</th>
              {rest.map((cell, at) => <td key={heads[at + 1]}>{cell}</td>)}
            </tr>
          ))}
          {rows.length === 0 && (
            <tr>
              <td colSpan={heads.length} class="dim">{t("stats.none")}</td>
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}

function Latest({ reviews }: { reviews: readonly Review[] }) {
  const decided = reviews.filter(({ status }) => status !== "pending");
  const latest = decided.sort((a, b) => (b.decided_at ?? "").localeCompare(a.decided_at ?? "")).slice(0, latestShown);
  if (latest.length === 0) return null;
  return (
    <section>
      <h2>{t("stats.latest")}</h2>
      <ul class="rows">
        {latest.map((review) => (
          <li key={review.id} class="row" data-decided={review.id}>
            <span class={`outcome ${review.status === "approved" ? "approve" : "reject"}`}>{t(`reviews.${review.status}`)}</span>
            <div class="row-main">
              <p dir="auto">{review.content}</p>
              <p class="dim small meta">
                {review.username ?? review.user_id} · {review.room_id} · {review.decided_at === undefined ? "" : when(review.decided_at)} · {t("reviews.by", { who: review.decided_by ?? "?" })} <WhyPill review={review} />
              </p>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
