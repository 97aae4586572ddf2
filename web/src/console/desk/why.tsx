/** Why a comment was held: the word, rule, hook or classifier, and the labels with their scores. */
import type { Review } from "../api";
import { has, t } from "../i18n";
import { number } from "../time";
import { ruleOf } from "./figures";

/** A rule as people call it; a hook's own words as they are. */
export const ruleInWords = (rule: string): string => (has(`rule.${rule}`) ? t(`rule.${rule}`) : rule);

export function WhyPill({ review }: { review: Review }) {
  const { word } = review;
  const label = word === undefined ? ruleInWords(ruleOf(review)) : t("desk.word", { word });
  return <span class="pill review-word">{label}</span>;
}

export function Why({ review }: { review: Review }) {
  const { word, reason, labels = [] } = review;
  const rule = ruleInWords(ruleOf(review));
  return (
    <section class="why">
      <h2>{t("desk.why")}</h2>
      <p>
        {word === undefined ? rule : t("desk.why.word", { word })}
        {reason !== undefined && reason !== "" && reason !== ruleOf(review) && <span class="dim"> · {reason}</span>}
      </p>
      {labels.length > 0 && (
        <ul class="bars">
          {[...labels].sort((a, b) => b.score - a.score).map(({ name, score }) => (
            <li key={name}>
              <span>{has(`label.${name}`) ? t(`label.${name}`) : name}</span>
              <meter min={0} max={1} value={score} aria-label={name} />
              <b>{number(Math.round(score * 100) / 100)}</b>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
