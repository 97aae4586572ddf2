/** Private and group chat. Start at `Chat`. */
export { Chat } from "./chat.js";
export type { ChatEvents, ChatOptions, Sealing } from "./chat.js";
export { ChatApi } from "./api.js";
export type * from "./api.js";
export { Conversation, uploadType } from "./conversation.js";
export type { ChatMessage, ConversationEvents, MessageState } from "./conversation.js";
export { compareIds } from "./ids.js";
export { OUTBOX_MAX } from "./outbox.js";
export { deviceStorage, eraseDeviceStorage, memoryStorage, webStorage } from "./storage.js";
export type { ChatStorage, DeviceStorageOptions } from "./storage.js";
export type * from "./types.js";
