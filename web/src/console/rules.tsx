/** A room's rules, as fields of its settings. What is empty or off is absent. Draws only; the settings form saves. */
import type { Threshold, Verdict } from "@barrage/client";
import { useId, useState } from "preact/hooks";
import type { Moderation } from "./api";
import { Whole } from "./fields";
import { t } from "./i18n";
import { Check, Field } from "./ui";

const seconds = { unique_s: 86_400, delay_s: 60, followers_only_s: 31_622_400, account_age_s: 31_622_400 } as const;
const verdicts: Verdict[] = ["hold", "shadow", "mask", "deny", "allow"];
/** Those of the built-in classifier, as suggestions. */
const labels = ["spam", "insult", "sexual", "links"];

interface Props {
  rules: Moderation;
  set: (rules: Moderation) => void;
}

export function Rules({ rules, set }: Props) {
  const put = <K extends keyof Moderation>(key: K, value: Moderation[K] | undefined) => set(withKey(rules, key, value));
  const percent = (key: "similar" | "capitals") => (
    <Whole name={key} min={1} max={100} empty="off" value={rules[key] === undefined ? null : Math.round(rules[key] * 100)} onInput={(n) => put(key, n === null ? undefined : n / 100)} />
  );
  const slow = rules.level_slow_s;
  return (
    <fieldset>
      <legend>{t("settings.rules")}</legend>
      <p class="hint">{t("settings.rules.hint")}</p>
      <Links rules={rules} set={set} />
      <Lines
        label={t("set.blocked_terms")}
        hint={t("set.blocked_terms.hint")}
        example="hat*"
        between={/\n/}
        lines={rules.blocked_terms ?? []}
        set={(terms) => put("blocked_terms", terms.length === 0 ? undefined : terms)}
      />
      <div class="columns two tight">
        {percent("similar")}
        {percent("capitals")}
        {(Object.keys(seconds) as (keyof typeof seconds)[]).map((key) => (
          <Whole key={key} name={key} min={0} max={seconds[key]} empty="off" value={rules[key] ?? null} onInput={(n) => put(key, n ?? undefined)} />
        ))}
        {typeof slow !== "object" && <Whole name="level_slow_s" min={0} max={86_400} empty="off" value={slow ?? null} onInput={(n) => put("level_slow_s", n ?? undefined)} />}
      </div>
      {typeof slow === "object" && <p class="hint">{t("set.level_slow_s.byLevel", { levels: Object.entries(slow).map(([level, s]) => `${level} ${s} s`).join(", ") })}</p>}
      <Check label={t("set.first_time")} checked={rules.first_time === "hold"} onChange={(on) => put("first_time", on ? "hold" : undefined)} />
      <Check label={t("set.emoji_only")} checked={rules.emoji_only === true} onChange={(on) => put("emoji_only", on || undefined)} />
      <Check label={t("set.verified_only")} checked={rules.verified_only === true} onChange={(on) => put("verified_only", on || undefined)} />
      <div class="columns two tight">
        {(["raid_alarm", "hook"] as const).map((key) => (
          <Choice key={key} name={key} value={rules[key] === undefined ? "" : rules[key] ? "on" : "off"} options={["", "on", "off"]} set={(value) => put(key, value === "" ? undefined : value === "on")} />
        ))}
        <Choice name="fallback" value={rules.fallback ?? ""} options={["", "allow", "hold", "deny"]} set={(value) => put("fallback", value === "" ? undefined : (value as "allow" | "hold" | "deny"))} />
      </div>
      <Thresholds thresholds={rules.thresholds ?? {}} set={(thresholds) => put("thresholds", Object.keys(thresholds).length === 0 ? undefined : thresholds)} />
    </fieldset>
  );
}

function withKey<K extends keyof Moderation>(rules: Moderation, key: K, value: Moderation[K] | undefined): Moderation {
  const others = Object.entries(rules).filter(([name]) => name !== key);
  return Object.fromEntries(value === undefined ? others : [...others, [key, value]]) as Moderation;
}

function Choice(props: { name: "hook" | "fallback" | "raid_alarm"; value: string; options: string[]; set: (value: string) => void }) {
  return (
    <Field label={t(`set.${props.name}`)}>
      {(id) => (
        <select id={id} value={props.value} onChange={(e) => props.set(e.currentTarget.value)}>
          {props.options.map((one) => <option key={one} value={one}>{one === "" ? t("set.default") : t(props.name === "fallback" ? `fallback.${one}` : `switch.${one}`)}</option>)}
        </select>
      )}
    </Field>
  );
}

function Links({ rules, set }: Props) {
  const { links } = rules;
  const how = links === undefined ? "any" : links === "none" ? "none" : "hosts";
  const choose = (value: string) => set(withKey(rules, "links", value === "any" ? undefined : value === "none" ? "none" : []));
  return (
    <>
      <Field label={t("set.links")}>
        {(id) => (
          <select id={id} value={how} onChange={(e) => choose(e.currentTarget.value)}>
            {["any", "none", "hosts"].map((one) => <option key={one} value={one}>{t(`links.${one}`)}</option>)}
          </select>
        )}
      </Field>
      {Array.isArray(links) && <Lines label={t("set.hosts")} hint={t("set.hosts.hint")} example="example.com" between={/[\s,]+/} lines={links} set={(hosts) => set(withKey(rules, "links", hosts))} />}
    </>
  );
}

/** Keeps what is typed as it is; the list is what it says. */
function Lines(props: { label: string; hint: string; example: string; between: RegExp; lines: string[]; set: (lines: string[]) => void }) {
  const [text, setText] = useState(props.lines.join("\n"));
  const change = (value: string) => {
    setText(value);
    props.set(value.split(props.between).map((line) => line.trim()).filter((line) => line !== ""));
  };
  return (
    <Field label={props.label} hint={props.hint}>
      {(id) => <textarea id={id} rows={3} value={text} placeholder={props.example} onInput={(e) => change(e.currentTarget.value)} />}
    </Field>
  );
}

function Thresholds({ thresholds, set }: { thresholds: Record<string, Threshold>; set: (thresholds: Record<string, Threshold>) => void }) {
  const [name, setName] = useState("");
  const known = useId();
  const without = (label: string) => Object.fromEntries(Object.entries(thresholds).filter(([one]) => one !== label));
  const add = () => {
    const label = name.trim();
    if (label === "" || label in thresholds) return;
    set({ ...thresholds, [label]: { verdict: "hold", score: 0.7 } });
    setName("");
  };
  return (
    <div class="thresholds">
      <h2>{t("set.thresholds")}</h2>
      <p class="hint">{t("set.thresholds.hint")}</p>
      <ul>
        {Object.entries(thresholds).map(([label, { verdict, score }]) => (
          <li key={label} class="row">
            <span class="grow mono">{label}</span>
            <input
              type="number"
              aria-label={t("threshold.score", { label })}
              min={0}
              max={1}
              step={0.01}
              required
              value={score}
              onInput={(e) => Number.isFinite(e.currentTarget.valueAsNumber) && set({ ...thresholds, [label]: { verdict, score: e.currentTarget.valueAsNumber } })}
            />
            <select aria-label={t("threshold.verdict", { label })} value={verdict} onChange={(e) => set({ ...thresholds, [label]: { score, verdict: e.currentTarget.value as Verdict } })}>
              {verdicts.map((one) => <option key={one} value={one}>{t(`verdict.${one}`)}</option>)}
            </select>
            <button type="button" aria-label={t("threshold.remove", { label })} onClick={() => set(without(label))}>×</button>
          </li>
        ))}
      </ul>
      <div class="row">
        <input class="grow" maxLength={64} list={known} aria-label={t("threshold.label")} placeholder={t("threshold.label")} value={name} onInput={(e) => setName(e.currentTarget.value)} />
        <datalist id={known}>{labels.map((label) => <option key={label} value={label} />)}</datalist>
        <button type="button" onClick={add}>{t("add")}</button>
      </div>
    </div>
  );
}
