/** The three word lists: add and remove single words, replace a whole list by pasting, and try it on a room's history first. */
import { useRef, useState } from "preact/hooks";
import { addWord, dryRun, getWords, putWords, removeWord, type DryRun, type WordList, type Words as Lists } from "./api";
import { explain } from "./errors";
import { useFocusHeld } from "./focus";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { number } from "./time";
import { attempt, say } from "./toast";
import { Field, Listing, maxRows, Modal, Section } from "./ui";
import { parseWords } from "./word-list";

const lists: WordList[] = ["mask", "review", "block"];

export function Words() {
  const polled = usePoll(getWords, 15_000, "words");
  const [trying, setTrying] = useState(false);
  return (
    <Section
      title={t("section.words")}
      tools={<button type="button" onClick={() => setTrying(true)}>{t("words.dryRun")}</button>}
    >
      <p class="hint">{t("words.hint")}</p>
      <div class="columns three">
        {lists.map((list) => (
          <List key={list} list={list} words={polled.data?.[list] ?? null} error={polled.error} changed={polled.reload} />
        ))}
      </div>
      {trying && <Trial lists={polled.data ?? { mask: [], review: [], block: [] }} onClose={() => setTrying(false)} />}
    </Section>
  );
}

function List(props: { list: WordList; words: string[] | null; error: unknown; changed: () => void }) {
  const { list, words, changed } = props;
  const [word, setWord] = useState("");
  const [pasting, setPasting] = useState(false);
  const chips = useRef<HTMLUListElement>(null);
  const field = useRef<HTMLInputElement>(null);
  useFocusHeld(chips, field);
  const all = words ?? [];
  const shown = word.trim() === "" ? all : all.filter((one) => one.toLowerCase().includes(word.trim().toLowerCase()));
  const change = async (action: () => Promise<unknown>, done: string, undo?: () => void) => {
    const ok = await attempt(action, done, undo);
    changed();
    return ok;
  };
  const put = (one: string, undo?: () => void) => change(() => addWord(list, one), t("words.added", { word: one }), undo);
  const take = (one: string, undo?: () => void) => change(() => removeWord(list, one), t("words.removed", { word: one }), undo);
  const add = async (event: Event) => {
    event.preventDefault();
    const wanted = word.trim();
    if (await put(wanted, () => void take(wanted))) setWord("");
  };
  return (
    <div class="card word-list" data-list={list}>
      <div class="row between">
        <h2>{t(`words.${list}`)} <span class="dim">{words === null ? "" : number(all.length)}</span></h2>
        <button type="button" class="quiet" disabled={words === null} onClick={() => setPasting(true)}>{t("words.replace")}</button>
      </div>
      <p class="hint">{t(`words.${list}.hint`)}</p>
      <form class="row" onSubmit={(e) => void add(e)}>
        <input
          class="grow"
          ref={field}
          required
          maxLength={64}
          aria-label={t("words.add.to", { list: t(`words.${list}`) })}
          placeholder={t("words.add.placeholder")}
          value={word}
          onInput={(e) => setWord(e.currentTarget.value)}
        />
        <button type="submit">{t("add")}</button>
      </form>
      <Listing loaded={words !== null} error={props.error} count={shown.length} empty={t(all.length === 0 ? "words.empty" : "words.none")}>
        <ul class="chips" ref={chips}>
          {shown.slice(0, maxRows).map((one) => (
            <li key={one} class="chip">
              <span>{one}</span>
              <button
                type="button"
                data-action="remove"
                aria-label={t("words.remove", { word: one })}
                onClick={() => void take(one, () => void put(one))}
              >
                ×
              </button>
            </li>
          ))}
        </ul>
      </Listing>
      {pasting && <Replace list={list} words={all} onClose={() => setPasting(false)} changed={changed} />}
    </div>
  );
}

/** Pastes a whole list. The other two lists are read again first, because saving replaces all three. */
function Replace(props: { list: WordList; words: string[]; onClose: () => void; changed: () => void }) {
  const { list, onClose, changed } = props;
  const [text, setText] = useState(() => props.words.join("\n"));
  const [busy, setBusy] = useState(false);
  const parsed = parseWords(text);
  const save = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    let before: string[] = [];
    const replace = (words: string[], undo?: () => void) =>
      attempt(
        async () => {
          const inForce = await getWords();
          before = inForce[list];
          await putWords({ ...inForce, [list]: words });
        },
        t("words.replaced", { n: number(words.length) }),
        undo,
      );
    const saved = await replace(parsed, () => void replace(before).then(changed));
    setBusy(false);
    changed();
    if (saved) onClose();
  };
  return (
    <Modal title={t("words.replace.title", { list: t(`words.${list}`) })} onClose={onClose}>
      <form onSubmit={(e) => void save(e)}>
        <Field label={t("words.perLine")} hint={t("words.change", { before: number(props.words.length), after: number(parsed.length) })}>
          {(id) => <textarea id={id} rows={12} spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} />}
        </Field>
        <Tester lists={{ mask: [], review: [], block: [], [list]: parsed }} />
        <div class="row end">
          <button type="button" onClick={onClose}>{t("cancel")}</button>
          <button type="submit" class="primary" aria-disabled={busy}>{t("words.replace.save")}</button>
        </div>
      </form>
    </Modal>
  );
}

/** What the lists in force would hit in a room's history. */
function Trial({ lists: inForce, onClose }: { lists: Lists; onClose: () => void }) {
  return (
    <Modal title={t("words.dryRun")} onClose={onClose}>
      <p class="hint">{t("words.dryRun.hint")}</p>
      <Tester lists={inForce} />
      <div class="row end">
        <button type="button" onClick={onClose}>{t("close")}</button>
      </div>
    </Modal>
  );
}

function Tester({ lists: tried }: { lists: Lists }) {
  const [room, setRoom] = useState("");
  const [result, setResult] = useState<DryRun | null>(null);
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    try {
      setResult(await dryRun(room.trim(), tried, 5000));
    } catch (error) {
      setResult(null);
      say(explain(error), "bad");
    }
    setBusy(false);
  };
  return (
    <div class="tester">
      <Field label={t("words.tryOn")}>
        {(id) => (
          <span class="row">
            <input
              id={id}
              class="grow"
              placeholder={t("room.id")}
              value={room}
              onInput={(e) => setRoom(e.currentTarget.value)}
              onKeyDown={(e) => {
                // Enter tries the list; it must not save it.
                if (e.key !== "Enter" || e.isComposing || e.keyCode === 229) return;
                e.preventDefault();
                if (room.trim() !== "") void run();
              }}
            />
            <button type="button" disabled={busy || room.trim() === ""} onClick={() => void run()}>{t("words.try")}</button>
          </span>
        )}
      </Field>
      {result !== null && <Result result={result} />}
    </div>
  );
}

function Result({ result }: { result: DryRun }) {
  const percent = `${(result.share * 100).toFixed(result.share < 0.1 ? 2 : 1)} %`;
  return (
    <div class="result" role="status">
      <p>{result.checked === 0 ? t("words.nothingToCheck") : t("words.hit", { percent, checked: number(result.checked) })}</p>
      <p class="dim small">
        {lists.map((list) => `${t(`words.${list}`)} ${number(result[`${list}_hits`])}`).join(" · ")}
      </p>
      <p class="pills">
        {(result.words ?? []).slice(0, 12).map((hit) => (
          <span key={`${hit.list} ${hit.word}`} class={`pill ${hit.list}`}>{hit.word} ×{number(hit.hits)}</span>
        ))}
      </p>
      <ul class="samples">
        {result.samples.slice(0, 50).map((sample, index) => (
          <li key={index}>
            <span class={`pill ${sample.list}`}>{sample.word}</span> {sample.text ?? sample.content}
          </li>
        ))}
      </ul>
    </div>
  );
}
