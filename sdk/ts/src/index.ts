/** Client for Barrage servers. Start at `Client`; `Api` has the HTTP endpoints. */
export { Client } from "./client.js";
export type { ClientEvents, ClientOptions, ClientState, DevIdentity } from "./client.js";
export { Room } from "./room.js";
export type { BatchSource, CommentBatch, RoomEvents } from "./room.js";
export * from "./chat/index.js";
export { Api } from "./http.js";
export type * from "./http.js";
export { BarrageError, CloseCode, isFatalClose } from "./codes.js";
export type { ErrorCode, LocalErrorCode, ServerErrorCode } from "./codes.js";
export { ServerClock } from "./clock.js";
export { fullJitter } from "./retry.js";
export type { FullJitterOptions, RetryPolicy } from "./retry.js";
export { webSocketTransport } from "./transport.js";
export type { Connect, Transport, TransportHandlers } from "./transport.js";
export type * from "./types.js";
