/**
 * Turns a failed call into a sentence for people. Pure apart from the language it reads.
 * The server's own message is shown where it says more than the code does.
 */
import { BarrageError } from "@barrage/client";
import { has, t } from "./i18n";

export function explain(error: unknown): string {
  if (!(error instanceof BarrageError)) return t("error.unknown");
  const wait = error.retryAfterMs === undefined ? "" : ` ${t("error.retry", { s: Math.ceil(error.retryAfterMs / 1000) })}`;
  return `${sentence(error)}${wait}`;
}

function sentence(error: BarrageError): string {
  const key = `error.${error.code}`;
  if (error.code === "invalid_request" && error.message !== "") return t("error.invalid_request", { why: error.message });
  if (has(key)) return t(key);
  return error.message === "" ? t("error.status", { status: error.status ?? "" }) : error.message;
}
