/**
 * What carries messages between client and server. Each transport is a `Connect` function: WebSocket here, event streams and
 * long polling in `http-transport.ts`, Protobuf in `proto/`. A transport knows nothing of reconnecting.
 */
import type { AnyMessage } from "./types.js";

export interface TransportHandlers {
  opened(): void;
  /** One message: its text, or what a transport has read from another form already. */
  received(message: string | AnyMessage): void;
  /** Whether the server would rather have viewers read live segments. */
  prefers?(segments: boolean): void;
  /** Called exactly once, also when opening failed (then with code 1006). */
  closed(code: number, reason: string): void;
}

export interface Transport {
  /** Sends one message. Dropped silently after the end: `closed` has told or will tell. */
  send(text: string): void;
  /** Ends it from this side; `closed` is called at once, not when the other side agrees. */
  close(reason?: string): void;
}

export interface Connect {
  /** `url` is that of the socket, `ws:` or `wss:`, with identity and device in its query. */
  (url: string, handlers: TransportHandlers): Transport;
  /** What `Client.transport` says while this one is in use. */
  readonly label?: string;
}

/** Close code, of this side alone, of a transport that cannot work here at all, such as through a proxy that collects streams. */
export const UNUSABLE = 4900;

/** The label of the transport to which a server with too much to do sends its viewers. */
export const SEGMENTS = "segments";

/** Gives a `Connect` function its name. */
export function labelled(label: string, connect: Connect): Connect {
  return Object.assign(connect, { label });
}

/** Sub-protocol asked for in the WebSocket handshake. */
export const SUBPROTOCOL = "barrage.v1.json";

const NORMAL = 1000;

/** Opens WebSockets with the given constructor (the platform's own by default). */
export function webSocketTransport(Socket: typeof WebSocket = WebSocket): Connect {
  return labelled("websocket", (url, handlers) => {
    const socket = new Socket(url, SUBPROTOCOL);
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
      if (!over && typeof data === "string") handlers.received(data);
    };
    socket.onerror = () => undefined; // says nothing of use, and `close` follows it
    socket.onclose = ({ code, reason }) => end(code, reason);
    return {
      send(text) {
        if (socket.readyState === Socket.OPEN) socket.send(text);
      },
      close(reason = "") {
        socket.close(NORMAL, reason);
        end(NORMAL, reason);
      },
    };
  });
}
