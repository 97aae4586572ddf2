/** Signing in with the admin key or a moderator's token. With --dev nobody gets here. */
import { BarrageError } from "@barrage/client";
import { useState } from "preact/hooks";
import { tryKey } from "./api";
import { explain } from "./errors";
import { LanguageSwitch, t } from "./i18n";
import { signIn } from "./session";
import { Field } from "./ui";

export function SignIn({ ready }: { ready: boolean }) {
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(await enter(key.trim()));
    setBusy(false);
  };
  return (
    <main class="sign-in">
      <form class="card" onSubmit={(e) => void submit(e)}>
        <div class="row between">
          <h1>
            Barrage <span class="dim">{t("console")}</span>
          </h1>
          <LanguageSwitch />
        </div>
        <Field label={t("signIn.key")} hint={t("signIn.hint")}>
          {(id) => (
            <input
              id={id}
              type="password"
              autocomplete="off"
              autofocus
              required
              value={key}
              onInput={(e) => setKey(e.currentTarget.value)}
            />
          )}
        </Field>
        {problem !== "" && (
          <p class="notice bad" role="alert">
            {problem}
          </p>
        )}
        {!ready && <p class="notice bad">{t("error.network")}</p>}
        <button type="submit" class="primary" disabled={busy || !ready}>
          {t("signIn")}
        </button>
      </form>
    </main>
  );
}

/** Keeps the key if the server knows it; otherwise says why not. A token for some rooms may well be refused the whole list. */
async function enter(key: string): Promise<string> {
  try {
    await tryKey(key);
  } catch (error) {
    if (!(error instanceof BarrageError)) return explain(error);
    if (error.status === 401) return t("signIn.wrong");
    if (error.code !== "forbidden") return explain(error);
  }
  signIn(key);
  return "";
}
