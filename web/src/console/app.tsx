/** The console's shell: signing in, the sections' menu, and the section the address names. */
import { useEffect, useRef, useState } from "preact/hooks";
import { getServer, listReviews } from "./api";
import { Audit } from "./audit";
import { Bans } from "./bans";
import { Desk } from "./desk/desk";
import { queueMax } from "./desk/use-queue";
import { RoomPage } from "./room";
import { LanguageSwitch, t } from "./i18n";
import { Overview } from "./overview";
import { usePoll } from "./poll";
import { Rooms } from "./rooms";
import { Settings } from "./settings";
import { linkTo, route, sections, type Route } from "./route";
import { scope, server, signedIn, signOut } from "./session";
import { SignIn } from "./sign-in";
import { Toasts } from "./toast";
import { UserCards } from "./user-card";
import { waitingReviews } from "./waiting";
import { Webhooks } from "./webhooks";
import { Words } from "./words";

export function App() {
  const failed = useServerInfo();
  if (server.value === null && !failed) return null;
  return (
    <>
      {signedIn.value ? <Shell /> : <SignIn ready={server.value !== null} />}
      <Toasts />
    </>
  );
}

/** Asks what kind of server this is until it answers; tells whether it is out of reach. */
function useServerInfo(): boolean {
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    let timer = 0;
    const ask = () =>
      getServer().then(
        (info) => {
          server.value = info;
          setFailed(false);
        },
        () => {
          setFailed(true);
          timer = window.setTimeout(ask, 3000);
        },
      );
    void ask();
    return () => window.clearTimeout(timer);
  }, []);
  return failed;
}

function Shell() {
  const here = route.value;
  return (
    <div class="shell">
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        {t("skip")}
      </button>
      <header class="bar">
        <a class="brand" href="/">
          Barrage <span>{t("console")}</span>
        </a>
        <Menu here={here} />
        <div class="bar-end">
          {server.value?.dev === true && <span class="pill dev" title={t("dev.hint")}>--dev</span>}
          <a class="button messages" href="/chat">
            {t("messages")}
          </a>
          <LanguageSwitch />
          {server.value?.dev !== true && (
            <button type="button" class="quiet" onClick={signOut}>
              {t("signOut")}
            </button>
          )}
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <Page here={here} />
      </main>
      <UserCards />
    </div>
  );
}

/** A moderator's token opens the sections about its rooms; words, audit, webhooks and numbers belong to the admin. */
function Menu({ here }: { here: Route }) {
  useWaitingReviews();
  const waiting = waitingReviews.value;
  const shown = sections.filter((name) => scope.value.everything || ["desk", "rooms", "bans"].includes(name));
  const nav = useRef<HTMLElement>(null);
  // On a phone the menu is pushed sideways: where one is has to be seen.
  useEffect(() => nav.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }), [here.section]);
  return (
    <nav aria-label={t("menu")} ref={nav}>
      {shown.map((name) => (
        <a key={name} href={linkTo(name)} aria-current={here.section === name ? "page" : undefined}>
          {t(`section.${name}`)}
          {name === "desk" && waiting > 0 && <b class="count">{waiting > 99 ? "99+" : waiting}</b>}
        </a>
      ))}
    </nav>
  );
}

/** Keeps the menu's count of waiting comments: a glance every few seconds is enough. */
function useWaitingReviews(): void {
  const { data } = usePoll(() => listReviews("pending", "", queueMax), 8000, "waiting");
  useEffect(() => {
    waitingReviews.value = data?.length ?? 0;
  }, [data]);
}

function Page({ here }: { here: Route }) {
  if (here.room !== undefined) {
    return here.settings === true ? (
      <Settings key={here.room} room={here.room} />
    ) : (
      <RoomPage key={here.room} room={here.room} />
    );
  }
  switch (here.section) {
    case "rooms":
      return <Rooms />;
    case "desk":
      return <Desk />;
    case "words":
      return <Words />;
    case "bans":
      return <Bans />;
    case "audit":
      return <Audit />;
    case "webhooks":
      return <Webhooks />;
    case "overview":
      return <Overview />;
  }
}
