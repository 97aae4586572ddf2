/** SHA-256 in hex over everything that web/src/chat/e2ee/pkg is built from. */
export function digest(): string;
