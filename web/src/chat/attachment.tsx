/** What a message of an upload shows: the picture, the video, or the file's name and size. Asks for the address once. */
import type { Upload } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { fileSize } from "./format";
import { Icon } from "./icons";
import type { Session } from "./session";
import { t } from "./strings";

/** Addresses are signed for a while only, so old ones are asked for again; the oldest go when there are too many. */
const KEPT = 200;
const SPARE_MS = 30_000;
const known = new Map<string, Promise<Upload>>();

async function find({ chat }: Session, id: string): Promise<Upload> {
  const upload = known.get(id);
  const held = await upload?.catch(() => undefined);
  if (held && Date.parse(held.expires_at) - Date.now() > SPARE_MS) return held;
  const asked = chat.api.upload(id);
  known.delete(id);
  known.set(id, asked);
  const oldest = known.keys().next();
  if (known.size > KEPT && !oldest.done) known.delete(oldest.value);
  return asked;
}

export function Attachment({ session, uploadId, type }: { session: Session; uploadId: string; type: "image" | "video" | "file" }) {
  const [upload, setUpload] = useState<Upload | "gone" | undefined>();
  useEffect(() => {
    let current = true;
    find(session, uploadId).then((found) => current && setUpload(found), () => current && setUpload("gone"));
    return () => void (current = false);
  }, [uploadId]);
  if (upload === "gone") return <p class="text dim">{t("attach.gone")}</p>;
  const name = upload?.name ?? t(`msg.${type}`);
  if (type === "image") {
    return (
      <a class="picture" href={upload?.url} target="_blank" rel="noopener noreferrer" aria-label={t("download", { name })}>
        {upload && <img src={upload.url} alt={name} />}
      </a>
    );
  }
  if (type === "video") return <video class="picture" controls preload="metadata" src={upload?.url} aria-label={name} />;
  return (
    <a class="file" href={upload?.url} download={upload?.name ?? ""} rel="noopener noreferrer" aria-label={t("download", { name })}>
      <Icon name="file" />
      <span>
        <strong>{name}</strong>
        <small>{upload ? fileSize(upload.size_bytes) : t("loading")}</small>
      </span>
    </a>
  );
}
