/**
 * What a message of an upload shows: the picture, the video, or the file's name and size. Asks for the address once.
 * Files of encrypted conversations are decrypted here, pictures at once and everything else when it is asked for.
 */
import type { ChatMessage, Upload } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { fileSize } from "./format";
import { Icon } from "./icons";
import { showPicture } from "./lightbox";
import type { SealedFile } from "./sealed-body";
import { openFile, SEALED_NAME } from "./sealed-files";
import { complain, type Session } from "./session";
import { t } from "./strings";

/** Addresses are signed for a while only, so old ones are asked for again; the oldest go when there are too many. */
const KEPT = 200;
const SPARE_MS = 30_000;
/** A sealed picture up to this size is fetched and decrypted without being asked for. */
const EAGER_BYTES = 20 * 1024 * 1024;
const OPENED_MAX = 50;
const known = new Map<string, Promise<Upload>>();
const opened = new Map<string, Promise<string>>();

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

/** The address of a sealed file's bytes in this page's memory. The oldest are let go. */
function open(session: Session, file: SealedFile): Promise<string> {
  const held = opened.get(file.upload_id);
  if (held) return held;
  const begun = find(session, file.upload_id)
    .then(({ url }) => fetch(url))
    .then(async (answer) => {
      if (!answer.ok) throw new Error(`the upload answered ${answer.status}`);
      return URL.createObjectURL(await openFile(file, await answer.arrayBuffer()));
    });
  begun.catch(() => opened.delete(file.upload_id));
  opened.set(file.upload_id, begun);
  const [oldest] = opened;
  if (opened.size > OPENED_MAX && oldest) {
    opened.delete(oldest[0]);
    void oldest[1].then((url) => URL.revokeObjectURL(url), () => undefined);
  }
  return begun;
}

/** Where a picture is, for drawing it somewhere else. */
export async function pictureOf(session: Session, source: Source): Promise<{ url: string; name: string }> {
  if ("sealed" in source) return { url: await open(session, source.sealed), name: source.sealed.name };
  const { url, name } = await find(session, source.uploadId);
  return { url, name: name ?? t("msg.image") };
}

export type Source = { uploadId: string } | { sealed: SealedFile };

interface Props {
  session: Session;
  source: Source;
  type: "image" | "video" | "file";
  message: ChatMessage;
  /** Stands in an encrypted conversation: says so if it is not encrypted itself. */
  leak: boolean;
}

export function Attachment({ session, source, type, message, leak }: Props) {
  if (type === "image" && !("sealed" in source && source.sealed.size_bytes > EAGER_BYTES)) return <Picture session={session} source={source} message={message} leak={leak} />;
  return "sealed" in source ? <SealedRow session={session} file={source.sealed} /> : <Plain session={session} uploadId={source.uploadId} type={type} leak={leak} />;
}

function Picture({ session, source, message, leak }: Omit<Props, "type">) {
  const id = "sealed" in source ? source.sealed.upload_id : source.uploadId;
  const [shown, setShown] = useState<{ url: string; name: string } | "gone" | undefined>();
  useEffect(() => {
    let current = true;
    pictureOf(session, source).then((found) => current && setShown(found), () => current && setShown("gone"));
    return () => void (current = false);
  }, [id]);
  if (shown === "gone") return <p class="text dim">{t("attach.gone")}</p>;
  return (
    <>
      <button type="button" class="picture" disabled={!shown} aria-label={t("picture.show", { name: shown?.name ?? t("msg.image") })} onClick={() => showPicture(message)}>
        {shown && <img src={shown.url} alt={shown.name} />}
      </button>
      {leak && <Leak />}
    </>
  );
}

/** Says of something in an encrypted conversation that it is not encrypted. */
export function Leak() {
  return <small class="leak">{t("plain.message")}</small>;
}

function Plain({ session, uploadId, type, leak }: { session: Session; uploadId: string; type: "image" | "video" | "file"; leak: boolean }) {
  const [upload, setUpload] = useState<Upload | "gone" | undefined>();
  useEffect(() => {
    let current = true;
    find(session, uploadId).then((found) => current && setUpload(found), () => current && setUpload("gone"));
    return () => void (current = false);
  }, [uploadId]);
  if (upload === "gone") return <p class="text dim">{t("attach.gone")}</p>;
  // Its key is in an encrypted message that this device cannot read.
  if (upload?.name === SEALED_NAME) return <p class="text unreadable">{t("msg.encrypted")}</p>;
  const name = upload?.name ?? t(`msg.${type}`);
  return (
    <>
      {type === "video" ? (
        <video class="picture" controls preload="metadata" src={upload?.url} aria-label={name} />
      ) : (
        <a class="file" href={upload?.url} download={upload?.name ?? ""} rel="noopener noreferrer" aria-label={t("download", { name })}>
          <FileRow name={name} size={upload?.size_bytes} />
        </a>
      )}
      {leak && upload && <Leak />}
    </>
  );
}

function SealedRow({ session, file }: { session: Session; file: SealedFile }) {
  const [video, setVideo] = useState<string | undefined>();
  const fetchIt = async (): Promise<void> => {
    try {
      const url = await open(session, file);
      if (file.msg_type === "video") return setVideo(url);
      const link = document.createElement("a");
      Object.assign(link, { href: url, download: file.name });
      link.click();
    } catch {
      complain(t("attach.gone"));
    }
  };
  if (video !== undefined) return <video class="picture" controls autoplay src={video} aria-label={file.name} />;
  return (
    <button type="button" class="file" aria-label={t(file.msg_type === "file" ? "download" : "picture.show", { name: file.name })} onClick={() => void fetchIt()}>
      <FileRow name={file.name} size={file.size_bytes} />
    </button>
  );
}

function FileRow({ name, size }: { name: string; size: number | undefined }) {
  return (
    <>
      <Icon name="file" />
      <span>
        <strong>{name}</strong>
        <small>{size === undefined ? t("loading") : fileSize(size)}</small>
      </span>
    </>
  );
}
