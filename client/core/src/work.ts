/** What the machine of a space has under way: one of these. */

import type { Asked, Page } from "./load.ts";
import type { SentRow } from "./store.ts";

/** `isEarly`: its mutation was sent before it was numbered. */
export type Push = { kind: "push"; id: number; mutations: SentRow[]; since: boolean; client: string; isEarly: boolean };
/** `queue`: what has come and is not stored; `storing`: the transaction of what is being stored; `over`: nothing more comes. */
export type Pull = { kind: "pull"; id: number; asked: Asked; queue: Page[]; storing: number; over: "" | "broken" | "page" };
export type Work = { kind: "commit"; id: number; then: (result: never) => void } | { kind: "grant" | "conflict"; id: number } | Push | Pull;
