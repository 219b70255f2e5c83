/** What an adapter uses of the core. */

export { capture, type Choice, type Edit, resolve } from "./capture.ts";
export * from "./codec.ts";
export { Device, type DeviceOptions, userOf } from "./device.ts";
export type { Event } from "./events.ts";
export { type Change, fold } from "./ops.ts";
export type * from "./ports.ts";
export { reaches } from "./positions.ts";
export { refold, write } from "./records.ts";
export type * from "./status.ts";
export * from "./store.ts";
