// A result as a page of Markdown and as a chart. Says of every figure what disturbed it.

/** A foreign share of the machine above which a figure counts as disturbed, in CPUs. */
const CONTENDED = 0.1;
/** Below this share of what was offered a server has fallen behind. */
const KEPT_UP = 0.98;

const grouped = (n) => Math.round(n).toLocaleString("en-US");
const fixed = (n) => (n < 1 ? n.toFixed(3) : n < 10 ? n.toFixed(2) : n.toFixed(1));

/** Marks: others used the machine, or the generator was the limit. */
function marks({ round }) {
  return (round.foreign_cpus > CONTENDED ? " !" : "") + (round.generator_limited ? " g" : "");
}

function fellBehind({ round }) {
  const offered = round.expected / round.seconds;
  return !round.load.endsWith("in flight") && round.deliveries_per_s < offered * KEPT_UP;
}

/** A server that had its core and could not keep up is slow; one that waited for it proves nothing. */
const excuse = ({ round }) => (round.server?.cpus > 0.9 ? "falls behind" : "*kept from its core*");

/** One cell: microseconds of CPU, how many times the floor, and when the last socket had it. */
function cell(run, floor) {
  if (run === undefined) return "–";
  if (run.failed !== undefined) return "failed";
  const { round } = run;
  if (fellBehind(run)) return `${excuse(run)} at ${grouped(round.deliveries_per_s)}/s${marks(run)}`;
  const cost = round.server.us_per_delivery;
  const ratio = floor ? ` (${(cost / floor).toFixed(2)} ×)` : "";
  const paced = !round.load.endsWith("in flight");
  const latency = paced ? ` · ${round.last_socket.p99_ms.toFixed(0)} ms` : "";
  return `${fixed(cost)}${ratio}${latency}${marks(run)}`;
}

const floorOf = (runs) => runs?.["floor-message"]?.round?.server?.us_per_delivery;

function summary({ loads, targets, runs }) {
  const opened = (key) => runs.paced?.[key]?.opened;
  const head = ["", ...loads.map((load) => load.name), "bytes a connection", "µs CPU a handshake"];
  const rows = Object.entries(targets).map(([key, target]) => [
    `${target.name} (${target.version})`,
    ...loads.map((load) => cell(runs[load.key]?.[key], floorOf(runs[load.key]))),
    opened(key)?.bytes_per_connection === undefined ? "–" : grouped(opened(key).bytes_per_connection),
    opened(key)?.us_per_handshake === undefined ? "–" : fixed(opened(key).us_per_handshake),
  ]);
  return markdown([head, ...rows]);
}

function details({ targets, runs }, load) {
  const head = ["", "deliveries/s", "arrived", "batch: comments · bytes", "p50 · p99 ms", "last socket p50 · p99 ms",
    "server CPUs · waited", "server MiB", "generator's busiest thread", "others, CPUs"];
  const rows = Object.entries(targets).map(([key, target]) => {
    const run = runs[load.key]?.[key];
    if (run?.round === undefined) return [target.name, run?.failed ?? "–", ...Array(8).fill("")];
    const { round } = run;
    const pair = ({ p50_ms, p99_ms }) => `${p50_ms.toFixed(1)} · ${p99_ms.toFixed(1)}`;
    return [
      target.name,
      grouped(round.deliveries_per_s),
      `${(round.arrived_share * 100).toFixed(1)} %`,
      `${round.batch_mean.toFixed(1)} · ${grouped(round.batch_bytes_mean)}`,
      pair(round.delivery),
      pair(round.last_socket),
      `${round.server.cpus.toFixed(2)} · ${(round.server.waited_share * 100).toFixed(0)} %`,
      round.server.resident_mib.toFixed(0),
      `${(round.generator_busiest * 100).toFixed(0)} %`,
      round.foreign_cpus.toFixed(2),
    ];
  });
  const commands = Object.keys(targets).map((key) => runs[load.key]?.[key]?.command).filter(Boolean);
  const shown = commands.map((command) => command.replaceAll(/\S*\/bench\//g, "bench/"));
  return [`### ${load.name}`, "", markdown([head, ...rows]), "", "```", ...shown, "```", ""].join("\n");
}

function markdown([head, ...rows]) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** The page. */
export function page(result) {
  const run = Object.values(result.runs).flatMap((runs) => Object.values(runs)).find((run) => run.host);
  const host = run?.host;
  const machine = host ? `Linux ${host.kernel}, ${host.cpus} × ${host.cpu}, ${host.memory_gib} GiB` : "nothing was measured";
  return [
    "# Results",
    "",
    `${result.at.slice(0, 10)} · ${machine} · loopback, no TLS, no compression · server on CPU 0, generator on CPU 1 · ` +
      `one room · ${Math.ceil(result.minutes)} minutes with \`make bench\`${result.quick ? " (quick)" : ""}`,
    "",
    "Each cell: µs of the server's CPU for one delivery (times the floor with a send for each comment) · p99 from the planned moment of " +
      "publishing until the *last* socket has it. `!`: other programs used more than a tenth of a CPU meanwhile. A server that has to wait sends more at once, so such CPU " +
      "figures are good to a third at best, and such latencies mean nothing. `g`: the generator was the limit, so the server can do better. Floor and Barrage send whole comments (64 bytes of text, " +
      "about 426 of JSON), with identity, rules, and each comment durable before it is acknowledged; rivals send 150 bytes and keep nothing.",
    "",
    summary(result),
    "",
    "![µs of CPU a delivery](RESULTS.svg)",
    "",
    ...result.loads.map((load) => details(result, load)),
  ].join("\n");
}

/** Bars of µs a delivery, a panel for each load. A server that fell behind has no bar. */
export function chart({ loads, targets, runs }) {
  const keys = Object.keys(targets);
  const [left, bar, width, panel] = [290, 18, 460, keys.length * 22 + 44];
  const plain = (text) => text.replaceAll(/[*`]/g, "");
  const out = [];
  loads.forEach((load, i) => {
    const y = i * panel;
    const values = keys.map((key) => {
      const run = runs[load.key]?.[key];
      return run?.round?.server && !fellBehind(run) ? run.round.server.us_per_delivery : undefined;
    });
    const top = Math.max(...values.filter((value) => value !== undefined), 0.001);
    out.push(`<text class="title" x="8" y="${y + 24}">${load.name}</text>`);
    keys.forEach((key, row) => {
      const at = y + 34 + row * 22;
      const [value, kind] = [values[row], key.startsWith("barrage") ? "ours" : targets[key].floor ? "floor" : "rival"];
      const long = value === undefined ? 0 : Math.max((value / top) * width, 1);
      const run = runs[load.key]?.[key];
      const said = value !== undefined ? `${fixed(value)} µs` : run?.round ? plain(excuse(run)) : "–";
      out.push(`<text x="${left - 8}" y="${at + 13}" text-anchor="end">${plain(targets[key].name)}</text>`);
      out.push(`<rect class="${kind}" x="${left}" y="${at}" width="${long.toFixed(1)}" height="${bar}"/>`);
      out.push(`<text x="${(left + long + 6).toFixed(1)}" y="${at + 13}">${said}</text>`);
    });
  });
  const size = `width="${left + width + 100}" height="${loads.length * panel + 8}"`;
  const style =
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:13px}.ours{fill:#d6336c}.floor{fill:#adb5bd}.rival{fill:#4c8bbf}";
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}><style>${style}</style><rect width="100%" height="100%" fill="#fff"/>\n${out.join("\n")}\n</svg>\n`;
}
