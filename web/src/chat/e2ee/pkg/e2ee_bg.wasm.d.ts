/* tslint:disable */
/* eslint-disable */
export const memory: WebAssembly.Memory;
export const __wbg_device_free: (a: number, b: number) => void;
export const device_decrypt: (a: number, b: number, c: number, d: number, e: number, f: number, g: number) => [number, number, number, number];
export const device_encrypt: (a: number, b: number, c: number, d: number, e: number) => [number, number, number, number];
export const device_forget: (a: number, b: number, c: number) => void;
export const device_new: (a: number, b: number, c: number, d: number) => number;
export const device_published: (a: number) => void;
export const device_reach: (a: number, b: number, c: number, d: number, e: number) => [number, number];
export const device_restore: (a: number, b: number, c: number, d: number) => [number, number, number];
export const device_save: (a: number, b: number, c: number) => [number, number, number, number];
export const device_trust: (a: number, b: number, c: number, d: number, e: number) => [number, number];
export const device_unreached: (a: number, b: number, c: number) => [number, number, number, number];
export const device_upload: (a: number, b: number) => [number, number, number, number];
export const device_verificationCode: (a: number, b: number, c: number) => [number, number];
export const __wbindgen_exn_store: (a: number) => void;
export const __externref_table_alloc: () => number;
export const __wbindgen_externrefs: WebAssembly.Table;
export const __wbindgen_malloc: (a: number, b: number) => number;
export const __wbindgen_realloc: (a: number, b: number, c: number, d: number) => number;
export const __wbindgen_free: (a: number, b: number, c: number) => void;
export const __externref_table_dealloc: (a: number) => void;
export const __wbindgen_start: () => void;
