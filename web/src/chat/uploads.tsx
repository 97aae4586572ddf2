/** Files on their way to the server, shown under the messages until they are messages themselves. */
import type { Conversation } from "@barrage/client";
import { signal } from "@preact/signals";
import { randomId } from "../shared/ids";
import { sayFile } from "./sealed";
import { complain } from "./session";
import { explain, t } from "./strings";

interface Sending {
  id: string;
  conversation: string;
  name: string;
  /** Of 1. */
  share: number;
}

const sending = signal<Sending[]>([]);

/** Uploads and then says each file, one after the other, in the order given. */
export async function sendFiles(conversation: Conversation, files: File[]): Promise<void> {
  const queue = files.map((file) => ({ file, entry: { id: randomId(), conversation: conversation.key, name: file.name, share: 0 } }));
  sending.value = [...sending.value, ...queue.map(({ entry }) => entry)];
  for (const { file, entry } of queue) {
    const progress = (share: number): void => void (sending.value = sending.value.map((one) => (one.id === entry.id ? { ...one, share } : one)));
    await sayFile(conversation, file, progress).catch((error: unknown) => complain(t("attach.failed", { name: file.name, why: explain(error) })));
    sending.value = sending.value.filter(({ id }) => id !== entry.id);
  }
}

export function Uploads({ conversation }: { conversation: Conversation }) {
  return (
    <ul class="uploads">
      {sending.value
        .filter(({ conversation: key }) => key === conversation.key)
        .map(({ id, name, share }) => (
          <li key={id}>
            <span>{t("attach.progress", { name })}</span>
            <progress value={share} max={1} aria-label={name} />
          </li>
        ))}
    </ul>
  );
}
