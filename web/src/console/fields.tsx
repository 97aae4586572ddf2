/** Fields of a room's settings; each is named, labelled and explained by its key. Draws only. */
import { t } from "./i18n";
import { Field } from "./ui";

export function Text(props: { name: string; max: number; value: string; onInput: (value: string) => void }) {
  return (
    <Field label={t(`set.${props.name}`)} hint={t(`set.${props.name}.hint`)}>
      {(id) => (
        <input id={id} name={props.name} maxLength={props.max} value={props.value} onInput={(e) => props.onInput(e.currentTarget.value)} />
      )}
    </Field>
  );
}

/** A whole number; where `empty` is allowed it says what an empty field means: as the deployment says, or off. */
export function Whole(props: {
  name: string;
  min: number;
  max: number;
  empty?: "default" | "off";
  value: number | null;
  onInput: (value: number | null) => void;
}) {
  const read = (input: HTMLInputElement) => props.onInput(input.value === "" ? null : input.valueAsNumber);
  return (
    <Field label={t(`set.${props.name}`)} hint={t(`set.${props.name}.hint`)}>
      {(id) => (
        <input
          id={id}
          name={props.name}
          type="number"
          inputMode="numeric"
          step={1}
          min={props.min}
          max={props.max}
          required={props.empty === undefined}
          placeholder={props.empty === undefined ? "" : t(props.empty === "off" ? "off" : "set.default")}
          value={props.value ?? ""}
          onInput={(e) => read(e.currentTarget)}
        />
      )}
    </Field>
  );
}
