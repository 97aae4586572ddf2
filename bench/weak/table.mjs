// What bench/weak found, as a page of Markdown and as a picture.

const names = { wss: "WSS", wt: "WebTransport, stream", "wt-datagrams": "WebTransport, datagrams" };
const kinds = Object.keys(names);
const whole = (n) => Math.round(n).toLocaleString("en-US");
const table = ([head, ...rows]) => [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

const faults = ({ loss, rtt, reorder }) => `${loss} % · ${rtt} ms${reorder > 0 ? ` · ${reorder} % reordered` : ""}`;

/** Comments that were not shown, in percent of those that every viewer would have had. */
const notShown = (row) => ((1 - row.arrived_share) * 100).toFixed(2);

function rooms(rows) {
  const head = ["loss · RTT", "", "p50 ms", "p99 ms", "worst ms", "not shown %", "`omitted`", "KB down · up a viewer", "packets lost", "µs server CPU a delivery"];
  return table([
    head,
    ...rows.map((row) => [
      row.transport === kinds[0] ? faults(row) : "",
      names[row.transport],
      whole(row.p50_ms),
      whole(row.p99_ms),
      whole(row.max_ms),
      notShown(row),
      row.omitted + row.batches_lost,
      `${row.kb_down.toFixed(0)} · ${row.kb_up.toFixed(0)}`,
      `${((100 * row.lost_packets) / row.packets).toFixed(1)} %`,
      row.us_per_delivery.toFixed(0) + (row.foreign_cpus > 0.1 ? " !" : ""),
    ]),
  ]);
}

function moved(rows) {
  const rtts = [...new Set(rows.map((row) => row.rtt))];
  const cell = (rtt, transport) => {
    const row = rows.find((row) => row.rtt === rtt && row.transport === transport);
    return `${whole(row.p50_ms)} · ${whole(row.p99_ms)}`;
  };
  return table([["RTT", ...Object.values(names)], ...rtts.map((rtt) => [`${rtt} ms`, ...kinds.map((kind) => cell(rtt, kind))])]);
}

/** The page. */
export function page({ at, minutes, host, load, reconnect, rooms: rows, moved: moves }) {
  return [
    "# Over bad networks",
    "",
    "![publish to shown, 50 % and 99 %](RESULTS.svg)",
    "",
    "## Publish → shown",
    "",
    rooms(rows),
    "",
    "## Change of address → next comment, p50 · p99 ms",
    "",
    moved(moves),
    "",
    "WebTransport goes on from the new address; a WebSocket connects anew. The WebSocket's viewers learn of the change at once, which is the best that a browser can do: " +
      "without a word from the system they would wait for a missed heartbeat. " +
      `${reconnect.sockets} viewers, ${reconnect.times} times; medians. With ${reconnect.rate} comments/s up to ${1000 / reconnect.rate} ms of each figure are the wait for the next one. TLS resumes with tickets.`,
    "",
    "## Setup",
    "",
    `${at.slice(0, 10)}, ${Math.ceil(minutes)} minutes, one run, one server: \`bench/weak/run.mjs\`. Linux ${host.kernel}, ${host.cpus} × ${host.cpu}, ${host.memory_gib} GiB; the server on CPU 0, the load generator and the link on CPU 1, all three at nice -15.`,
    "",
    `- ${load.sockets} viewers of one room, each with a socket (TCP or UDP) of its own; ${load.rate} comments/s from 10 authors for ${load.seconds} s, after 2 s that are not measured. JSON, about 450 bytes a comment; default windows; ` +
      "each comment is durable before it is sent. The authors reach the server over a link of their own without faults.",
    `- The network between server and viewers is \`weak-link\`: two TUN devices (MTU 1,500) in two namespaces. Each direction delays by half of the RTT and loses that share of its packets, each by itself (seed ${load.seed}). ` +
      "Reordered packets arrive 10 ms after their turn. No limit of bandwidth, no queue that overflows.",
    "- TCP is Linux's with its defaults (CUBIC, SACK, RACK, TCP_NODELAY), QUIC is quinn's at both ends (CUBIC). TLS 1.3, full handshakes, at both.",
    "- Latency counts from the moment a comment was due. Bytes are IP packets of the viewers' connections from connecting to the end, delivered ones, headers, handshakes and acknowledgements included.",
    "- `omitted`: what the server said it left out, and datagram batches whose number never came; a client shows a gap for each. `!`: other programs used more than a tenth of a CPU meanwhile.",
    "",
  ].join("\n");
}

/** A panel for each loss; in it, for each RTT, bars up to p99 with the median marked. */
export function picture({ rooms: rows, load }) {
  const panels = [...new Map(rows.map((row) => [`${row.loss}/${row.reorder > 0}`, row])).values()];
  const [left, barHeight, width] = [250, 14, 420];
  const top = Math.max(...rows.map((row) => row.p99_ms));
  // A logarithmic scale from 1 ms: the interesting differences are factors.
  const x = (ms) => (Math.log10(Math.max(ms, 1)) / Math.log10(top)) * width;
  const out = [];
  let y = 30;
  for (const { loss, reorder } of panels) {
    out.push(`<text class="title" x="8" y="${y}">${loss} % of the packets lost${reorder > 0 ? `, ${reorder} % reordered` : ""}</text>`);
    y += 10;
    const same = rows.filter((row) => row.loss === loss && row.reorder > 0 === reorder > 0);
    for (const row of same) {
      if (row.transport === kinds[0]) y += 8;
      const long = x(row.p99_ms);
      out.push(`<text x="${left - 8}" y="${y + 11}" text-anchor="end">${row.transport === kinds[0] ? `RTT ${row.rtt} ms · ` : ""}${names[row.transport]}</text>`);
      out.push(`<rect class="${row.transport}" x="${left}" y="${y}" width="${long.toFixed(1)}" height="${barHeight}"/>`);
      out.push(`<rect class="median" x="${(left + x(row.p50_ms)).toFixed(1)}" y="${y}" width="2" height="${barHeight}"/>`);
      const lost = Number(notShown(row));
      out.push(`<text x="${(left + long + 6).toFixed(1)}" y="${y + 11}">${whole(row.p50_ms)} · ${whole(row.p99_ms)} ms${lost > 0 ? ` · ${lost} % not shown` : ""}</text>`);
      y += barHeight + 3;
    }
    y += 28;
  }
  const note = `Publish to shown, p50 (mark) · p99 (bar), logarithmic; ${load.sockets} viewers, ${load.rate} comments/s, two CPUs of one machine`;
  out.push(`<text x="8" y="${y}">${note}</text>`);
  const style =
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:13px}.wss{fill:#adb5bd}.wt{fill:#4c8bbf}.wt-datagrams{fill:#d6336c}.median{fill:#111}" +
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.back{fill:#16181d}.median{fill:#fff}}";
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 190}" height="${y + 12}"><style>${style}</style><rect class="back" width="100%" height="100%" fill="#fff"/>\n${out.join("\n")}\n</svg>\n`;
}
