/** Entry of the viewer page: finds out which room, which server and who we are, and starts the viewer. */
import { Api, Client, type ServerInfo } from "@barrage/client";
import { keepToken, pageIdentity } from "../shared/identity";
import { SettingsStore } from "./settings";
import { preferredLanguage, stringsFor } from "./strings";
import { stress } from "./stress";
import { Viewer } from "./viewer";
import "./viewer.css";

async function main(): Promise<void> {
  const settings = new SettingsStore(localStorage, preferredLanguage());
  const t = stringsFor(settings.value.language);
  document.documentElement.lang = settings.value.language === "zh" ? "zh-CN" : "en";
  const roomId = roomFromAddress();
  const { dev } = await serverInfo();
  const who = pageIdentity(dev, t.guest);
  const client = new Client({ url: location.origin, ...who });
  const viewer = new Viewer({
    root: document.getElementById("app") ?? document.body,
    client,
    api: new Api(who),
    roomId,
    me: who.identity ? { user_id: who.identity.user_id, username: who.identity.username ?? who.identity.user_id } : claims(who.token),
    hasToken: who.token !== undefined,
    settings,
    t,
    identity: { useToken: (token) => switchTo(token), forgetToken: () => switchTo(undefined) },
  });
  viewer.start();
  const perMinute = Number(new URLSearchParams(location.search).get("stress"));
  if (perMinute > 0) stress(perMinute, roomId, (comments) => viewer.receive({ comments, omitted: 0, source: "live" }));
}

/** `/rooms/{room_id}` */
function roomFromAddress(): string {
  return decodeURIComponent(location.pathname.split("/")[2] ?? "") || "lobby";
}

/** A server that does not say is taken for one that wants tokens. */
async function serverInfo(): Promise<ServerInfo> {
  return new Api().server().catch(() => ({ dev: false, anonymous_read: false, version: "" }));
}

function switchTo(token: string | undefined): void {
  keepToken(token);
  location.reload();
}

/** What a token says about us, for showing only: the server is the one that verifies. */
function claims(token: string | undefined): { user_id: string; username: string } | undefined {
  try {
    const part = (token ?? "").split(".")[1]?.replace(/-/g, "+").replace(/_/g, "/") ?? "";
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    const { sub, name } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown; name?: unknown };
    return typeof sub === "string" ? { user_id: sub, username: typeof name === "string" ? name : sub } : undefined;
  } catch {
    return undefined;
  }
}

void main();
