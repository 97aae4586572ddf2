/** Entry of the viewer page: finds out which room, which server and who we are, and starts the viewer. */
import { Api, Client, type ClientOptions, type Level, type ServerInfo } from "@barrage/client";
import { keepToken, onTokenChanged, pageIdentity } from "../shared/identity";
import { readStored, writeStored } from "../shared/storage";
import { claimsOf } from "../shared/token";
import { SettingsStore } from "./settings";
import { preferredLanguage, stringsFor } from "./strings";
import { stress } from "./stress";
import { type Me, Viewer } from "./viewer";
import "./viewer.css";

const LEVELS: readonly Level[] = ["normal", "vip", "owner", "moderator", "admin"];

async function main(): Promise<void> {
  const settings = new SettingsStore({ getItem: readStored, setItem: writeStored }, preferredLanguage());
  const t = stringsFor(settings.value.language);
  document.documentElement.lang = settings.value.language === "zh" ? "zh-CN" : "en";
  const roomId = roomFromAddress();
  const { dev, webtransport } = await serverInfo();
  const who = pageIdentity(dev, t.guest);
  const client = new Client({ url: location.origin, ...who, ...overQuic(webtransport) });
  const viewer = new Viewer({
    root: document.getElementById("app") ?? document.body,
    client,
    api: new Api(who),
    roomId,
    me: who.identity ? { username: who.identity.user_id, level: "normal", ...who.identity } : holderOf(who.token),
    hasToken: who.token !== undefined,
    settings,
    t,
    identity: { useToken: (token) => switchTo(token), forgetToken: () => switchTo(undefined) },
  });
  viewer.start();
  // Signed in or out in another tab: this one is somebody else's now.
  onTokenChanged(() => location.reload());
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

/** What the client is told of the server's WebTransport, if it has any. */
function overQuic(told: ServerInfo["webtransport"]): Pick<ClientOptions, "webTransport"> {
  if (!told) return {};
  const { port, certificate_hash: hash } = told;
  return { webTransport: { ...(port === undefined ? {} : { port }), certificateHashes: hash === undefined ? [] : [hash] } };
}

function switchTo(token: string | undefined): void {
  keepToken(token);
  location.reload();
}

/** What a token says about us, for showing only: the server is the one that verifies. */
function holderOf(token: string | undefined): Me | undefined {
  const { sub, name, level } = claimsOf(token ?? "") ?? {};
  if (typeof sub !== "string") return undefined;
  return { user_id: sub, username: typeof name === "string" ? name : sub, level: LEVELS.find((known) => known === level) ?? "normal" };
}

void main();
