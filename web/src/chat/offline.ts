/** Lets the messenger open without the network, where the browser can: on https or localhost, with storage allowed. */

export function openOffline(): void {
  // Types say it is always there; plain http has none, and with storage denied it refuses.
  const workers = (navigator as Partial<Navigator>).serviceWorker;
  workers?.register("/chat-worker.js", { scope: "/chat" }).catch(() => undefined);
}
