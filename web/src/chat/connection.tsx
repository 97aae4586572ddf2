/** Says in one line whether what is on screen is up to date, and why not. */
import { CloseCode } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { follow, leave, type Session } from "./session";
import { t } from "./strings";

export function ConnectionLine({ session }: { session: Session }) {
  follow();
  const { client, chat } = session;
  const { state } = client;
  const seconds = useCountdown(state.name === "waiting" ? state.retryInMs : undefined, state);
  const name = state.name === "connected" && !chat.live ? "syncing" : state.name;
  const text = state.name === "closed" && state.code !== undefined ? closedText(state.code, state.reason) : t(`state.${name}`, { s: seconds });
  const again = (): void => {
    if (state.name === "closed" && state.code === CloseCode.Unauthorized) {
      return void leave(session).then(() => location.reload());
    }
    client.connect();
  };
  return (
    <span class="connection" data-state={name} role="status">
      <span class="words">{text}</span>
      {(state.name === "closed" || state.name === "waiting") && (
        <button type="button" class="quiet" onClick={again}>
          {t("reconnect")}
        </button>
      )}
    </span>
  );
}

function closedText(code: number, reason: string | undefined): string {
  const known = t(`closed.${code}`);
  return known === `closed.${code}` ? `${t("state.closed")} ${reason ?? ""}` : known;
}

/** Whole seconds left of a wait; `of` is what was waited for, so that a new wait starts anew. */
function useCountdown(ms: number | undefined, of: unknown): number {
  const [left, setLeft] = useState(0);
  useEffect(() => {
    if (ms === undefined) return;
    const until = performance.now() + ms;
    const tell = (): void => setLeft(Math.max(0, Math.ceil((until - performance.now()) / 1_000)));
    tell();
    const timer = window.setInterval(tell, 250);
    return () => window.clearInterval(timer);
  }, [of]);
  return left;
}
