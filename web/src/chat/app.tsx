/** The messenger's shell: finding out who we are, the connection's line, the list beside the open conversation. */
import { Api, type ServerInfo } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { LanguageSwitch } from "../console/language";
import { keepToken, pageIdentity } from "../shared/identity";
import { Field } from "../shared/pieces";
import { ConnectionLine } from "./connection";
import { IconButton } from "./icons";
import { List } from "./list";
import { Me } from "./me";
import { openSealing } from "./sealed";
import { attempt, conversationOf, follow, loadBlocked, open, problem, type Session, startSession } from "./session";
import { t } from "./strings";
import { Thread } from "./thread";

export function App() {
  const [server, setServer] = useState<ServerInfo | "away" | undefined>();
  const [session, setSession] = useState<Session | undefined>();
  useEffect(() => {
    const ask = (): void =>
      void new Api().server().then(setServer, () => {
        setServer("away");
        window.setTimeout(ask, 3_000);
      });
    ask();
  }, []);
  useEffect(() => {
    if (server === undefined || server === "away" || session) return;
    const who = pageIdentity(server.dev);
    if (who.token !== undefined || who.identity) void startSession(who).then(setSession);
  }, [server]);
  if (session) return <Shell session={session} />;
  if (server === undefined) return null;
  return <SignIn dev={server !== "away" && server.dev} away={server === "away"} />;
}

function Shell({ session }: { session: Session }) {
  follow();
  const { chat, client } = session;
  const conversation = conversationOf(chat, open.value);
  const [me, setMe] = useState(false);
  const { unread } = chat;
  useEffect(() => {
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${t("title")} · Barrage`;
  });
  useEffect(() => client.on("identified", () => void attempt(() => loadBlocked(session))), [client]);
  useEffect(() => chat.on("live", () => void openSealing(session).catch(() => undefined)), [chat]); // no lock is shown then
  return (
    <div class={`messenger ${conversation ? "in-thread" : ""}`}>
      <header class="bar">
        <a class="brand" href="/">
          Barrage <span>{t("title")}</span>
        </a>
        <div class="bar-end">
          <ConnectionLine session={session} />
          <LanguageSwitch />
          <IconButton icon="person" label={t("me")} onClick={() => setMe(true)} />
        </div>
      </header>
      <List session={session} open={conversation?.key} />
      <main class="pane">
        {conversation ? <Thread key={conversation.key} session={session} conversation={conversation} /> : <p class="choose">{t("choose")}</p>}
      </main>
      {me && <Me session={session} onClose={() => setMe(false)} />}
      <p class="problem" role="alert" hidden={problem.value === ""}>
        {problem.value}
      </p>
    </div>
  );
}

/** Nobody yet: a name for a `--dev` server, a token for any other. */
function SignIn({ dev, away }: { dev: boolean; away: boolean }) {
  const [user, setUser] = useState("");
  const [name, setName] = useState("");
  const [token, setToken] = useState("");
  const submit = (event: Event): void => {
    event.preventDefault();
    if (!dev) {
      keepToken(token.trim());
      return location.reload();
    }
    location.search = new URLSearchParams({ user_id: user.trim(), ...(name.trim() ? { username: name.trim() } : {}) }).toString();
  };
  return (
    <main class="sign-in">
      <form class="card" onSubmit={submit}>
        <div class="row between">
          <h1>
            Barrage <span class="dim">{t("title")}</span>
          </h1>
          <LanguageSwitch />
        </div>
        {away && <p class="notice bad">{t("error.network")}</p>}
        {dev && <p class="dim">{t("signIn.dev")}</p>}
        {dev && (
          <Field label={t("signIn.user")} hint={t("idHint")}>
            {(id) => <input id={id} required maxLength={64} pattern="[A-Za-z0-9_.:@\-]+" autocapitalize="off" spellcheck={false} autofocus value={user} onInput={(e) => setUser(e.currentTarget.value)} />}
          </Field>
        )}
        {dev && <Field label={t("signIn.name")}>{(id) => <input id={id} maxLength={32} value={name} onInput={(e) => setName(e.currentTarget.value)} />}</Field>}
        {!dev && (
          <Field label={t("signIn.token")} hint={t("signIn.hint")}>
            {(id) => <input id={id} type="password" required autocomplete="off" autofocus value={token} onInput={(e) => setToken(e.currentTarget.value)} />}
          </Field>
        )}
        <button type="submit" class="primary" disabled={away}>
          {t("signIn.enter")}
        </button>
      </form>
    </main>
  );
}
