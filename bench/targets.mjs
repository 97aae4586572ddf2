// The targets: how to start each, and its version. A target that reports no version counts as absent.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

const here = import.meta.dirname;
const debian = join(here, "../target/bench/debian/usr");
process.env.PATH += [
  "",
  join(here, "node_modules/.bin"),
  "/usr/sbin",
  join(debian, "sbin"),
  join(debian, "bin"),
].join(delimiter);

/** What a program says of itself, on either output. */
function said(program, ...args) {
  return execFileSync("sh", ["-c", '"$0" "$@" 2>&1', program, ...args], { encoding: "utf8" }).trim();
}

/** The first part of it that looks like a version. */
const version = (program, ...args) => /\d+\.\d+\.\d+/.exec(said(program, ...args))[0];
const npm = (name) =>
  JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8")).version;

/** The module does not tell its own version; Debian's package does. */
function nchan() {
  const packages = join(here, "../target/bench/packages");
  const names = existsSync(packages) ? said("ls", packages) : said("dpkg-query", "-W", "libnginx-mod-nchan");
  return /libnginx-mod-nchan\S*?(?:%3a|:)([\d.]+)/.exec(names)?.[1] ?? /([\d.]+)\+dfsg/.exec(names)[1];
}

/** A rival's message is the text alone, shorter than a comment of Barrage's with all its fields. */
const RIVAL_BYTES = "150";
const rival = (adapter, folder, name, told) => ({
  name,
  told,
  args: ["--adapter", adapter, "--start", join(here, folder, "start"), "--payload", RIVAL_BYTES],
});
const floor = (how, name) => ({ name, told: () => "built in", args: ["--floor", how, "--only-floor"], floor: true });

/** In the order of the table. */
export const targets = {
  "floor-message": floor("message", "floor: one send per comment and socket"),
  "floor-100": floor("100", "floor: one send per 100 ms and socket"),
  barrage: { name: "**Barrage**, default windows", told: (barrage) => version(barrage, "--version"), args: [] },
  "barrage-100": {
    name: "**Barrage**, `window_ms_max = 100`",
    told: (barrage) => version(barrage, "--version"),
    args: ["--set", "rooms.window_ms_max=100"],
  },
  bun: rival("ws", "bun", "Bun `server.publish`", () => `Bun ${version("bun", "--version")}`),
  nats: rival("nats", "nats", "NATS over WebSocket", () => `nats-server ${version("nats-server", "--version")}`),
  nchan: rival("nchan", "nchan", "nchan", () => `nchan ${nchan()}, nginx ${version("nginx", "-v")}`),
  centrifugo: rival("centrifugo", "centrifugo", "Centrifugo, JSON", centrifugo),
  "centrifugo-proto": rival("centrifugo-proto", "centrifugo", "Centrifugo, Protobuf", centrifugo),
  ws: rival("ws", "ws", "Node `ws`", () => `ws ${npm("ws")}, Node ${process.versions.node}`),
  socketio: rival("socket-io", "socketio", "Socket.IO", () => `${npm("socket.io")}, Node ${process.versions.node}`),
};

function centrifugo() {
  const told = version(process.env.CENTRIFUGO ?? "centrifugo", "version");
  return told === "0.0.0" ? "built from source" : told;
}
