/* tslint:disable */
/* eslint-disable */

/**
 * A device, as JavaScript sees it. Every argument and answer that is not a plain text is JSON.
 */
export class Device {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * The text of a message. Works once: the ratchet has moved on then.
     */
    decrypt(from_user: string, to_user: string, content: string): string;
    /**
     * The content of a message to a user: an envelope for each device reached, one's own others too.
     */
    encrypt(to_user: string, text: string): string;
    /**
     * Forgets a user's devices, so that changed ones can be trusted anew.
     */
    forget(user: string): void;
    /**
     * A device with new keys.
     */
    constructor(user: string, device: string);
    /**
     * What was last given by [`Device::upload`] is on the server.
     */
    published(): void;
    /**
     * Starts sessions with claimed keys: `[{device_id, …, one_time_key}]`.
     */
    reach(user: string, claimed: string): void;
    /**
     * The device that [`Device::save`] wrote, opened with the same 32 bytes.
     */
    static restore(saved: string, key: Uint8Array | number[]): Device;
    /**
     * All of its state, encrypted with 32 bytes. To be kept after every call that changes it.
     */
    save(key: Uint8Array | number[]): string;
    /**
     * Checks and remembers a user's devices: `[{device_id, identity_key, signing_key, signature}]`.
     */
    trust(user: string, devices: string): void;
    /**
     * Which of a user's trusted devices have no session yet, as a JSON list of device ids.
     */
    unreached(user: string): string;
    /**
     * What to publish, when the server holds `kept` of its one-time keys: `{identity_key, …}`.
     */
    upload(kept: number): string;
    /**
     * 60 digits that both people see alike while nobody stands between them.
     */
    verificationCode(_with: string): string;
}

export type InitInput = RequestInfo | URL | Response | BufferSource | WebAssembly.Module;

export interface InitOutput {
    readonly memory: WebAssembly.Memory;
    readonly __wbg_device_free: (a: number, b: number) => void;
    readonly device_decrypt: (a: number, b: number, c: number, d: number, e: number, f: number, g: number) => [number, number, number, number];
    readonly device_encrypt: (a: number, b: number, c: number, d: number, e: number) => [number, number, number, number];
    readonly device_forget: (a: number, b: number, c: number) => void;
    readonly device_new: (a: number, b: number, c: number, d: number) => number;
    readonly device_published: (a: number) => void;
    readonly device_reach: (a: number, b: number, c: number, d: number, e: number) => [number, number];
    readonly device_restore: (a: number, b: number, c: number, d: number) => [number, number, number];
    readonly device_save: (a: number, b: number, c: number) => [number, number, number, number];
    readonly device_trust: (a: number, b: number, c: number, d: number, e: number) => [number, number];
    readonly device_unreached: (a: number, b: number, c: number) => [number, number, number, number];
    readonly device_upload: (a: number, b: number) => [number, number, number, number];
    readonly device_verificationCode: (a: number, b: number, c: number) => [number, number];
    readonly __wbindgen_exn_store: (a: number) => void;
    readonly __externref_table_alloc: () => number;
    readonly __wbindgen_externrefs: WebAssembly.Table;
    readonly __wbindgen_malloc: (a: number, b: number) => number;
    readonly __wbindgen_realloc: (a: number, b: number, c: number, d: number) => number;
    readonly __wbindgen_free: (a: number, b: number, c: number) => void;
    readonly __externref_table_dealloc: (a: number) => void;
    readonly __wbindgen_start: () => void;
}

export type SyncInitInput = BufferSource | WebAssembly.Module;

/**
 * Instantiates the given `module`, which can either be bytes or
 * a precompiled `WebAssembly.Module`.
 *
 * @param {{ module: SyncInitInput }} module - Passing `SyncInitInput` directly is deprecated.
 *
 * @returns {InitOutput}
 */
export function initSync(module: { module: SyncInitInput } | SyncInitInput): InitOutput;

/**
 * If `module_or_path` is {RequestInfo} or {URL}, makes a request and
 * for everything else, calls `WebAssembly.instantiate` directly.
 *
 * @param {{ module_or_path: InitInput | Promise<InitInput> }} module_or_path - Passing `InitInput` directly is deprecated.
 *
 * @returns {Promise<InitOutput>}
 */
export default function __wbg_init (module_or_path?: { module_or_path: InitInput | Promise<InitInput> } | InitInput | Promise<InitInput>): Promise<InitOutput>;
