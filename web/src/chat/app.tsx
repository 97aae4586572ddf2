/** The messenger's shell: finding out who we are, the connection's line, the list beside the open conversation. */
import { Api, type ServerInfo } from "@barrage/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { LanguageSwitch } from "../console/language";
import { keepToken, onTokenChanged, pageIdentity } from "../shared/identity";
import { eraseKept } from "../shared/kept";
import { Field } from "../shared/pieces";
import { readStored, writeStored } from "../shared/storage";
import { ConnectionLine } from "./connection";
import { IconButton } from "./icons";
import { List } from "./list";
import { Me } from "./me";
import { startNotifying } from "./notify";
import { openSealing, publishWhenIdle } from "./sealed";
import { attempt, conversationOf, follow, loadBlocked, open, problem, type Session, startSession } from "./session";
import { t } from "./strings";
import { Thread } from "./thread";

/** Whether the server took names at the last visit: what it would say, were there a network. */
const DEV_KEY = "barrage.dev";

export function App() {
  const [server, setServer] = useState<ServerInfo | "away" | undefined>();
  const [session, setSession] = useState<Session | undefined>();
  const [token, setToken] = useState("");
  const starting = useRef(false);
  useEffect(() => {
    const told = (info: ServerInfo): void => {
      writeStored(DEV_KEY, info.dev ? "yes" : "no");
      setServer(info);
    };
    const ask = (): void =>
      void new Api().server().then(told, () => {
        setServer("away");
        window.setTimeout(ask, 3_000);
      });
    ask();
  }, []);
  useEffect(() => {
    if (server === undefined || starting.current) return;
    const dev = server === "away" ? readStored(DEV_KEY) === "yes" : server.dev;
    const who = pageIdentity(dev);
    if (who.token !== undefined || who.identity) {
      starting.current = true;
      void startSession(who).then(setSession);
    } else if (!dev) void eraseKept(); // somebody signed out where no messenger was open
  }, [server, token]);
  // Signed in or out in another tab: this one is somebody else now.
  useEffect(() => onTokenChanged(() => location.reload()), []);
  if (session) return <Shell session={session} />;
  if (server === undefined) return null;
  return <SignIn dev={server !== "away" && server.dev} away={server === "away"} enter={(pasted) => (keepToken(pasted), setToken(pasted))} />;
}

function Shell({ session }: { session: Session }) {
  follow();
  const { chat, client } = session;
  const conversation = conversationOf(chat, open.value);
  const [me, setMe] = useState(false);
  const { unread } = chat;
  const met = useRef(false); // connected once: from then on a lost connection is news
  met.current ||= chat.live;
  useEffect(() => {
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${t("title")} · Barrage`;
  });
  useEffect(() => client.on("identified", () => void attempt(() => loadBlocked(session))), [client]);
  useEffect(() => {
    const begin = (): void => void openSealing(session).then(() => publishWhenIdle(session), () => undefined); // no lock is shown then
    // Who this is may be known from an earlier visit, when there is no network.
    if (chat.me !== "") begin();
    return chat.on("live", begin);
  }, [chat]);
  useEffect(() => startNotifying(session), [session]);
  return (
    <div class={`messenger ${conversation ? "in-thread" : ""} ${met.current ? "met" : ""}`}>
      <header class="bar">
        {conversation ? <Brand /> : <h1><Brand /></h1>}
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

function Brand() {
  return (
    <a class="brand" href="/">
      Barrage <span>{t("title")}</span>
    </a>
  );
}

/** Nobody yet: a name for a `--dev` server, a token for any other. */
function SignIn({ dev, away, enter }: { dev: boolean; away: boolean; enter: (token: string) => void }) {
  const [user, setUser] = useState("");
  const [name, setName] = useState("");
  const [token, setToken] = useState("");
  const submit = (event: Event): void => {
    event.preventDefault();
    if (!dev) return enter(token.trim());
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
        {!dev && !away && <p>{t("signIn.link")}</p>}
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
