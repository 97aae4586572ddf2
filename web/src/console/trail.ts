/** Entries of the audit trail as people read them. Pure apart from the language it reads. */
import type { AuditEntry } from "./api";
import { has, t } from "./i18n";
import { reasonInWords } from "./reasons";

/** As much as fits a row. */
const detailMax = 300;

export const actionInWords = (action: string): string => (has(`audit.${action}`) ? t(`audit.${action}`) : action.replace(/[._]/g, " "));

/** Details are an object of what a decision had besides, or whatever the action wrote down. Shown as text. */
export function detailInWords({ detail = "" }: Pick<AuditEntry, "detail">): string {
  const parts = partsOf(detail);
  const text = parts === undefined ? detail : parts.map(([name, value]) => partInWords(name, value)).filter((part) => part !== "").join(" · ");
  return text.length > detailMax ? `${text.slice(0, detailMax)}…` : text;
}

function partsOf(detail: string): [string, unknown][] | undefined {
  if (!detail.startsWith("{")) return undefined;
  try {
    return Object.entries(JSON.parse(detail) as object);
  } catch {
    return undefined;
  }
}

function partInWords(name: string, value: unknown): string {
  switch (name) {
    case "reason":
      return t("reasons.given", { reason: reasonInWords(String(value)) });
    case "held":
    case "purge":
      return t(`trail.${name}`);
    case "note_id":
      return "";
    default:
      return `${has(`nuke.${name}`) ? t(`nuke.${name}`) : name}: ${typeof value === "string" ? value : JSON.stringify(value)}`;
  }
}
