/** A room's pin, polls and questions, as a moderator runs them. */
import { useState } from "preact/hooks";
import { answerQuestion, closePoll, listPolls, listQuestions, openPoll, unpin, type Room } from "./api";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { lasting, number } from "./time";
import { attempt } from "./toast";
import { Field, Modal } from "./ui";

export function Pinned({ room, changed }: { room: Room; changed: () => void }) {
  const comment = room.pin?.comment;
  if (comment === undefined || comment === null) return null;
  return (
    <p class="card pinned row">
      <span class="pill">{t("pinned")}</span>
      <span class="row-main" dir="auto"><b>{comment.username}</b> {comment.content}</span>
      <button type="button" onClick={() => void attempt(() => unpin(room.room_id), t("pin.off")).then(changed)}>{t("unpin")}</button>
    </p>
  );
}

export function Polls({ room }: { room: string }) {
  const polled = usePoll(() => listPolls(room), 3000, `polls ${room}`);
  const [making, setMaking] = useState(false);
  const close = async (id: string) => {
    await attempt(() => closePoll(room, id), t("poll.closed"));
    polled.reload();
  };
  return (
    <div class="card">
      <div class="row between">
        <h2>{t("polls")}</h2>
        <button type="button" onClick={() => setMaking(true)}>{t("poll.new")}</button>
      </div>
      {polled.data?.length === 0 && <p class="dim">{t("polls.none")}</p>}
      {polled.data?.map(({ poll_id, question, options, ends_at }) => (
        <section key={poll_id} class="poll">
          <div class="row between">
            <b dir="auto">{question}</b>
            <button type="button" onClick={() => void close(poll_id)}>{t("poll.close")}</button>
          </div>
          <ul class="bars">
            {options.map(({ text, votes }) => (
              <li key={text}>
                <span dir="auto">{text}</span>
                <meter min={0} max={Math.max(1, ...options.map((one) => one.votes))} value={votes} aria-label={text} />
                <b>{number(votes)}</b>
              </li>
            ))}
          </ul>
          <p class="dim small">{t("bans.left", { time: lasting((Date.parse(ends_at) - Date.now()) / 1000) })}</p>
        </section>
      ))}
      {making && <NewPoll room={room} onClose={() => setMaking(false)} onDone={polled.reload} />}
    </div>
  );
}

const spansS = [60, 180, 300, 600, 1800, 3600];

function NewPoll({ room, onClose, onDone }: { room: string; onClose: () => void; onDone: () => void }) {
  const [question, setQuestion] = useState("");
  const [text, setText] = useState("");
  const [durationS, setDurationS] = useState(180);
  const options = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const valid = question.trim() !== "" && options.length >= 2 && options.length <= 20;
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!valid || !(await attempt(() => openPoll(room, { question: question.trim(), options, duration_s: durationS }), t("poll.opened")))) return;
    onDone();
    onClose();
  };
  return (
    <Modal title={t("poll.new")} onClose={onClose}>
      <form onSubmit={(e) => void submit(e)}>
        <Field label={t("poll.question")}>{(id) => <input id={id} required autofocus maxLength={200} value={question} onInput={(e) => setQuestion(e.currentTarget.value)} />}</Field>
        <Field label={t("poll.options")} hint={t("poll.options.hint")}>{(id) => <textarea id={id} rows={4} required value={text} onInput={(e) => setText(e.currentTarget.value)} />}</Field>
        <Field label={t("sanction.for")}>
          {(id) => (
            <select id={id} value={String(durationS)} onChange={(e) => setDurationS(Number(e.currentTarget.value))}>
              {spansS.map((s) => <option key={s} value={String(s)}>{lasting(s)}</option>)}
            </select>
          )}
        </Field>
        <div class="row end">
          <button type="button" onClick={onClose}>{t("cancel")}</button>
          <button type="submit" class="primary" aria-disabled={!valid}>{t("poll.open")}</button>
        </div>
      </form>
    </Modal>
  );
}

const questionsShown = 20;

export function Questions({ room }: { room: string }) {
  const polled = usePoll(() => listQuestions(room), 4000, `questions ${room}`);
  const questions = polled.data ?? [];
  const answer = async (id: string) => {
    await attempt(() => answerQuestion(room, id), t("question.done"));
    polled.reload();
  };
  return (
    <div class="card">
      <h2>{t("questions")}</h2>
      {questions.length === 0 && <p class="dim">{t("questions.none")}</p>}
      <ol class="asked">
        {questions.slice(0, questionsShown).map(({ question_id, username, content, upvotes }) => (
          <li key={question_id} class="row">
            <span class="row-main"><span dir="auto">{content}</span> <span class="dim small">{username} · ▲ {number(upvotes)}</span></span>
            <button type="button" onClick={() => void answer(question_id)}>{t("question.answer")}</button>
          </li>
        ))}
      </ol>
    </div>
  );
}
