/** Copies text, also on pages served over plain http, where the platform offers no `navigator.clipboard`. */

/** Resolves to whether the text is on the clipboard now. Never rejects. */
export async function copyText(text: string): Promise<boolean> {
  try {
    // Types say it is always there; a page served without TLS has none.
    const clipboard = navigator.clipboard as Clipboard | undefined;
    if (clipboard) {
      await clipboard.writeText(text);
      return true;
    }
  } catch {
    // Denied by the browser: the older way below may still be allowed.
  }
  return copySelection(text);
}

/** Copies through a selected text field. Inside an open dialog, because focus cannot leave that. */
function copySelection(text: string): boolean {
  const before = document.activeElement;
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  field.style.cssText = "position: fixed; inset: 0 auto auto -9999px";
  (document.querySelector("dialog[open]") ?? document.fullscreenElement ?? document.body).append(field);
  field.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    field.remove();
    if (before instanceof HTMLElement) before.focus();
  }
}
