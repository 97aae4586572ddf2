/** Pieces more than one page is made of: a labelled field and a dialog. They say nothing of their own. */
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

/** A label, its control, and a hint beneath. The control gets the id to carry. */
export function Field(props: { label: string; hint?: string | undefined; children: (id: string) => ComponentChildren }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      {props.children(id)}
      {props.hint !== undefined && <small>{props.hint}</small>}
    </div>
  );
}

/** A modal `<dialog>`: focus stays inside, Escape closes, focus returns to where it was before anything else can happen. */
export function Modal(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  // Not after the next paint: the focus would be taken from somebody who types already.
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby={title} onClose={props.onClose}>
      <h2 id={title}>{props.title}</h2>
      {props.children}
    </dialog>
  );
}
