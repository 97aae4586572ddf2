/**
 * What is inside an encrypted message: a text, another wording of it, a file that was uploaded encrypted, or the
 * agreement to encrypt. Pure.
 * A text is sent as it is; the others follow a record separator (U+001E), which no text begins with.
 */
import type { Id, UploadType } from "@barrage/client";

/** Names the upload that holds the encrypted bytes, and how to read them (AES-256-GCM; key and nonce in hexadecimal). */
export interface SealedFile {
  kind: "file";
  upload_id: string;
  key: string;
  nonce: string;
  name: string;
  content_type: string;
  size_bytes: number;
  msg_type: UploadType;
}

/** Says that this conversation is encrypted from here on, or is not any more. */
export interface SealedSetting {
  kind: "setting";
  sealed: boolean;
}

/** Another text for a message. It names the message, so that nobody puts it in the place of a different one. */
export interface SealedEdit {
  kind: "edit";
  of: Id;
  text: string;
}

export type SealedBody = { kind: "text"; text: string } | SealedEdit | SealedFile | SealedSetting;

const MARK = "\u001e";

export function encodeBody(body: SealedBody): string {
  if (body.kind !== "text") return MARK + JSON.stringify(body);
  return body.text.startsWith(MARK) ? encodeBody({ ...body, text: body.text.slice(MARK.length) }) : body.text;
}

/** Undefined for a kind that this version does not know. */
export function decodeBody(text: string): SealedBody | undefined {
  if (!text.startsWith(MARK)) return { kind: "text", text };
  try {
    const body = JSON.parse(text.slice(MARK.length)) as Record<string, unknown>;
    if (body["kind"] === "setting" && typeof body["sealed"] === "boolean") return { kind: "setting", sealed: body["sealed"] };
    if (body["kind"] === "edit" && typeof body["of"] === "string" && typeof body["text"] === "string") return { kind: "edit", of: body["of"], text: body["text"] };
    if (body["kind"] === "file" && isFile(body)) return body;
  } catch {
    // Not one of ours.
  }
  return undefined;
}

function isFile(body: object): body is SealedFile {
  const file = body as Partial<Record<keyof SealedFile, unknown>>;
  const texts = [file.upload_id, file.key, file.nonce, file.name, file.content_type];
  return texts.every((text) => typeof text === "string") && typeof file.size_bytes === "number" && ["image", "video", "file"].includes(String(file.msg_type));
}
