/** `@barrage/client/proto`: the same client over `barrage.v1.proto`, whose frames are smaller. `new Client({ transport: protoTransport() })`. */
import { type Connect, labelled } from "../transport.js";
import { parseMessage } from "../types.js";
import { readFrame, writeFrame } from "./messages.js";

export { readFrame, writeFrame };

export const PROTO_SUBPROTOCOL = "barrage.v1.proto";

const NORMAL = 1000;

/** Opens WebSockets that carry Protobuf, with the given constructor (the platform's own by default). */
export function protoTransport(Socket: typeof WebSocket = WebSocket): Connect {
  return labelled("protobuf", (url, handlers) => {
    const socket = new Socket(url, PROTO_SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    let over = false;
    const end = (code: number, reason: string): void => {
      if (over) return;
      over = true;
      handlers.closed(code, reason);
    };
    socket.onopen = () => {
      if (!over) handlers.opened();
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (over || !(data instanceof ArrayBuffer)) return;
      const message = read(new Uint8Array(data));
      if (message) handlers.received(message);
    };
    socket.onerror = () => undefined; // says nothing of use, and `close` follows it
    socket.onclose = ({ code, reason }) => end(code, reason);
    return {
      send(text) {
        const message = parseMessage(text);
        if (!message || socket.readyState !== Socket.OPEN) return;
        const frame = writeFrame(message);
        if (frame) socket.send(frame as Uint8Array<ArrayBuffer>);
        else handlers.received({ type: "error", ...(message.ref === undefined ? {} : { ref: message.ref }), code: "unavailable", message: `${message.type} is not in this schema` });
      },
      close(reason = "") {
        socket.close(NORMAL, reason);
        end(NORMAL, reason);
      },
    };
  });
}

/** A frame that does not parse is ignored, as one of JSON would be. */
function read(bytes: Uint8Array): ReturnType<typeof readFrame> {
  try {
    return readFrame(bytes);
  } catch {
    return undefined;
  }
}
