/**
 * The few pieces every section is made of: a section's frame, a labelled field, a dialog, a list's
 * empty and failed states. Draws only; knows nothing of the API.
 */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Modal } from "../shared/pieces";
import { explain } from "./errors";
import { t } from "./i18n";

export { Field, Modal } from "../shared/pieces";

/** Rows a list draws at most; what is left out is said beneath it. */
export const maxRows = 500;

export function Section(props: { title: string; tools?: ComponentChildren; children: ComponentChildren }) {
  return (
    <section class="section">
      <header class="section-head">
        <h1>{props.title}</h1>
        <div class="tools">{props.tools}</div>
      </header>
      {props.children}
    </section>
  );
}

export function Check(props: { label: string; checked: boolean; onChange: (on: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={props.checked} onChange={(e) => props.onChange(e.currentTarget.checked)} />
      <span>{props.label}</span>
    </label>
  );
}

/** Asks before something is done that cannot be undone. The focus starts on the way out. */
export function Confirm(props: { title: string; text: string; action: string; onYes: () => Promise<unknown>; onClose: () => void }) {
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    await props.onYes();
    props.onClose();
  };
  return (
    <Modal title={props.title} onClose={props.onClose}>
      <form onSubmit={(e) => void submit(e)}>
        <p>{props.text}</p>
        <div class="row end">
          <button type="button" autofocus onClick={props.onClose}>{t("cancel")}</button>
          <button type="submit" class="primary danger" aria-disabled={busy}>{props.action}</button>
        </div>
      </form>
    </Modal>
  );
}

/** What stands where a list would be: loading, failed, empty; or the list, with a line about what is left out. */
export function Listing(props: {
  loaded: boolean;
  error: unknown;
  count: number;
  empty: string;
  children: ComponentChildren;
}) {
  return (
    <>
      {props.error !== null && (
        <p class="notice bad" role="alert">
          {explain(props.error)}
        </p>
      )}
      {!props.loaded && props.error === null && <p class="notice">{t("loading")}</p>}
      {props.loaded && props.count === 0 && <p class="notice">{props.empty}</p>}
      {props.loaded && props.count > 0 && props.children}
      {props.count > maxRows && <p class="notice">{t("more", { shown: maxRows, all: props.count })}</p>}
    </>
  );
}
