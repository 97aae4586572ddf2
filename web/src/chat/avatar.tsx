/** A person or group as a coloured circle with a letter; with a dot when the person is online. */
import { hueOf, initial } from "./format";
import { t } from "./strings";

export function Avatar({ id, name, online }: { id: string; name: string; online?: boolean | undefined }) {
  return (
    <span class="avatar" style={{ "--hue": hueOf(id) }}>
      <span aria-hidden="true">{initial(name)}</span>
      {online === true && <i class="dot" role="img" aria-label={t("online")} />}
    </span>
  );
}
