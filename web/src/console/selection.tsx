/** Choosing many rows of a list, and the bar of what can be done with them. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { t } from "./i18n";
import { number } from "./time";

export interface Selection {
  /** Those of the rows shown that are chosen, in their order. */
  ids: string[];
  has: (id: string) => boolean;
  set: (ids: readonly string[], on: boolean) => void;
  clear: () => void;
}

/** `shown` are the rows that can be chosen now: one that is gone is not chosen any more. */
export function useSelection(shown: readonly string[]): Selection {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  return {
    ids: shown.filter((id) => chosen.has(id)),
    has: (id) => chosen.has(id),
    set: (ids, on) =>
      setChosen((old) => {
        const next = new Set(old);
        for (const id of ids) {
          if (on) next.add(id);
          else next.delete(id);
        }
        return next;
      }),
    clear: () => setChosen(new Set()),
  };
}

export function Choose({ selection, id, label }: { selection: Selection; id: string; label: string }) {
  return <input type="checkbox" class="choose" aria-label={t("select", { what: label })} checked={selection.has(id)} onChange={(e) => selection.set([id], e.currentTarget.checked)} />;
}

/** Above the list, always there, so that rows do not move when the first one is chosen. */
export function SelectionBar(props: { selection: Selection; shown: readonly string[]; children: ComponentChildren }) {
  const { selection, shown } = props;
  const all = shown.length > 0 && selection.ids.length === shown.length;
  return (
    <div class="selection" role="group" aria-label={t("selection")}>
      <label class="check">
        <input
          type="checkbox"
          checked={all}
          ref={(box) => {
            if (box) box.indeterminate = !all && selection.ids.length > 0;
          }}
          onChange={() => selection.set(shown, !all)}
        />
        <span>{selection.ids.length === 0 ? t("select.all") : t("selected", { n: number(selection.ids.length) })}</span>
      </label>
      {selection.ids.length > 0 && <span class="actions">{props.children}</span>}
    </div>
  );
}
