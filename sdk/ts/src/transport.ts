/**
 * What carries text messages between client and server. WebSocket is the one that exists; another transport is another
 * `Connect` function. A transport knows nothing of messages, rooms or reconnecting.
 */

export interface TransportHandlers {
  opened(): void;
  received(text: string): void;
  /** Called exactly once, also when opening failed (then with code 1006). */
  closed(code: number, reason: string): void;
}

export interface Transport {
  /** Sends one message. Dropped silently after the end: `closed` has told or will tell. */
  send(text: string): void;
  /** Ends it from this side; `closed` is called at once, not when the other side agrees. */
  close(reason?: string): void;
}

export type Connect = (url: string, handlers: TransportHandlers) => Transport;

/** Sub-protocol asked for in the WebSocket handshake. */
export const SUBPROTOCOL = "barrage.v1.json";

const NORMAL = 1000;

/** Opens WebSockets with the given constructor (the platform's own by default). */
export function webSocketTransport(Socket: typeof WebSocket = WebSocket): Connect {
  return (url, handlers) => {
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
  };
}
