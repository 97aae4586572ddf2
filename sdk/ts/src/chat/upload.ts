/** Sends a file's bytes to where the server said. XMLHttpRequest where there is one: only it tells how far it has come. */
import { BarrageError } from "../codes.js";

export async function put(url: string, file: Blob, contentType: string, onProgress?: (share: number) => void): Promise<void> {
  const status = typeof XMLHttpRequest === "undefined" ? await fetched(url, file, contentType) : await requested(url, file, contentType, onProgress);
  if (status < 200 || status > 299) throw new BarrageError(`http_${status}`, "the upload was refused", undefined, status);
}

async function fetched(url: string, file: Blob, contentType: string): Promise<number> {
  try {
    return (await fetch(url, { method: "PUT", body: file, headers: { "content-type": contentType } })).status;
  } catch (error) {
    throw new BarrageError("network", `no answer: ${String(error)}`);
  }
}

function requested(url: string, file: Blob, contentType: string, onProgress?: (share: number) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    request.setRequestHeader("content-type", contentType);
    request.upload.onprogress = ({ loaded, total }) => onProgress?.(total > 0 ? loaded / total : 0);
    request.onload = () => resolve(request.status);
    request.onerror = () => reject(new BarrageError("network", "no answer to the upload"));
    request.send(file);
  });
}
