/**
 * The messenger's service worker: keeps its page and assets, so that it opens without the network. It holds nothing of
 * anybody: conversations are kept by the page itself, and requests to the API pass by. One page and what it names, no more.
 */
const CACHE = "barrage-chat";
const PAGE = "/chat";
const ASSETS = "/assets/";
/** A network that has not answered by then counts as none. */
const NETWORK_MS = 3_000;
/** Assets loaded when they are needed, such as the cryptography, are kept as well; an odd page must not fill the disk. */
const ENTRIES_MAX = 60;
/** How one asset names another. */
const NAMES = /[\w.-]+-[\w-]{8}\.(?:js|css|svg)/g;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(fresh());
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== self.location.origin) return;
  if (request.mode === "navigate" && pathname === PAGE) event.respondWith(page(event));
  else if (pathname.startsWith(ASSETS)) event.respondWith(asset(request, pathname));
});

/** The newest page; the kept one where the server is away. Its address may carry a token, which is kept nowhere. */
async function page(event) {
  const known = await (await caches.open(CACHE)).match(PAGE);
  const asked = fresh();
  if (!known) return asked;
  event.waitUntil(asked.catch(() => undefined));
  const late = new Promise((resolve) => setTimeout(resolve, NETWORK_MS));
  return (await Promise.race([asked.catch(() => undefined), late])) ?? known;
}

/** Names carry a hash of the content: what is kept never changes. */
async function asset(request, pathname) {
  const cache = await caches.open(CACHE);
  const known = await cache.match(pathname);
  if (known) return known;
  const response = await fetch(request);
  if (response.ok && (await cache.keys()).length < ENTRIES_MAX) await cache.put(pathname, response.clone()).catch(() => undefined);
  return response;
}

/** Asks for the page. Another one than the kept one takes its place, with its assets. */
async function fresh() {
  const response = await fetch(PAGE, { cache: "no-cache" });
  if (!response.ok) throw new Error(`the page answers ${response.status}`);
  const cache = await caches.open(CACHE);
  const text = await response.clone().text();
  if (text === (await (await cache.match(PAGE))?.text())) return response;
  const wanted = await keepAssets(cache, text);
  await cache.put(PAGE, response.clone());
  for (const { url } of await cache.keys()) {
    const { pathname } = new URL(url);
    if (pathname !== PAGE && !wanted.has(pathname)) await cache.delete(pathname);
  }
  return response;
}

/** Keeps the assets that the page names, and those that they name. */
async function keepAssets(cache, html) {
  const wanted = new Set();
  const namedIn = (text) => (text.match(NAMES) ?? []).map((name) => ASSETS + name).filter((path) => !wanted.has(path) && wanted.add(path));
  for (let next = namedIn(html); next.length > 0; ) {
    const texts = await Promise.all(next.slice(0, ENTRIES_MAX).map((path) => keep(cache, path)));
    next = texts.flatMap(namedIn);
  }
  return wanted;
}

async function keep(cache, path) {
  const known = (await cache.match(path)) ?? (await fetch(path));
  if (known.status === 404) return ""; // what only looks like a name
  if (!known.ok) throw new Error(`${path} answers ${known.status}`);
  await cache.put(path, known.clone());
  return path.endsWith(".js") ? known.text() : "";
}
