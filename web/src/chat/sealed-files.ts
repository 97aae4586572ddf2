/** Files of encrypted conversations: encrypted before they are uploaded, decrypted where they are shown. */
import { uploadType } from "@barrage/client";
import { fromHex, toHex } from "./e2ee/hex";
import type { SealedFile } from "./sealed-body";

/** The name of every upload of ciphertext, so that a device without the key does not take it for a plain file. */
export const SEALED_NAME = "barrage.sealed";

/** The encrypted bytes to upload, and what the readers need; the upload's id is not known yet. */
export async function sealFile(file: File): Promise<{ bytes: File; sealed: Omit<SealedFile, "upload_id"> }> {
  const key = crypto.getRandomValues(new Uint8Array(32));
  const nonce = crypto.getRandomValues(new Uint8Array(12));
  const bytes = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce }, await aesKey(key, "encrypt"), await file.arrayBuffer());
  const content_type = file.type || "application/octet-stream";
  return {
    bytes: new File([bytes], SEALED_NAME, { type: "application/octet-stream" }),
    sealed: { kind: "file", key: toHex(key), nonce: toHex(nonce), name: file.name, content_type, size_bytes: file.size, msg_type: uploadType(content_type) },
  };
}

/** Rejects when the bytes are not those that were sealed. */
export async function openFile({ key, nonce, content_type, msg_type }: SealedFile, bytes: ArrayBuffer): Promise<Blob> {
  const plain = await crypto.subtle.decrypt({ name: "AES-GCM", iv: fromHex(nonce) }, await aesKey(fromHex(key), "decrypt"), bytes);
  // The sender chose the type. Only what a picture or a video is drawn from may have one: anything else could be a page of this site.
  const harmless = msg_type !== "file" && uploadType(content_type) === msg_type;
  return new Blob([plain], { type: harmless ? content_type : "application/octet-stream" });
}

function aesKey(bytes: Uint8Array<ArrayBuffer>, use: "encrypt" | "decrypt"): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", bytes, "AES-GCM", false, [use]);
}
