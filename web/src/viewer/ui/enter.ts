/** The Enter key of a text field, told apart from the Enter that ends a word in an input method. */

/** Safari ends the composition first and sends the key after it, within this time. */
const AFTER_COMPOSITION_MS = 50;

/** Calls `entered` for an Enter that ends no composition; the field's form is never submitted by the key itself. */
export function onEnter(input: HTMLInputElement, entered: () => void): void {
  let composedAt = -Infinity;
  input.addEventListener("compositionend", ({ timeStamp }) => (composedAt = timeStamp));
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    // 229 is what Safari says of a key that its input method took.
    const composing = event.isComposing || event.keyCode === 229 || event.timeStamp - composedAt < AFTER_COMPOSITION_MS;
    if (!composing) entered();
  });
}
