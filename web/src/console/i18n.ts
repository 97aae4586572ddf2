/** The console's own texts in the page's language. */
import { translator } from "./language";
import { en } from "./strings-en";
import { zh } from "./strings-zh";

export { LanguageSwitch, locale } from "./language";
export const { t, has } = translator(en, zh);

/** The actions of the audit trail that have words. */
export const auditActions = Object.keys(en).filter((key) => key.startsWith("audit.")).map((key) => key.slice("audit.".length));
