/** The three lines that get somebody speaking: a token, a room's address, a request. */
import { t } from "./strings";

export function QuickStart({ dev }: { dev: boolean }) {
  const { origin } = location;
  const who = dev ? "?user_id=alice&username=Alice" : "?token=TOKEN";
  const post = dev
    ? `curl '${origin}/api/v1/rooms/hall/comments${who}' \\\n  -H 'content-type: application/json' -d '{"content":"hello"}'`
    : `curl ${origin}/api/v1/rooms/hall/comments -H 'authorization: Bearer TOKEN' \\\n  -H 'content-type: application/json' -d '{"content":"hello"}'`;
  return (
    <section class="quick">
      <h2>{t("start")}</h2>
      {dev ? (
        <p class="dim">{t("start.dev")} {t("enter.dev")}</p>
      ) : (
        <>
          <p>{t("start.token")}</p>
          <pre tabIndex={0}>barrage token --user alice --name Alice</pre>
        </>
      )}
      <p>{t("start.open")}</p>
      <pre tabIndex={0}>{`${origin}/rooms/hall${who}`}</pre>
      <p>{t("start.post")}</p>
      <pre tabIndex={0}>{post}</pre>
      <p class="links">
        <a href="/admin">{t("console")}</a> · <a href="/api/openapi.json">{t("api")}</a>
      </p>
    </section>
  );
}
