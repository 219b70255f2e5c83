/** Positions: ordered by epoch, then by version. */

import type { Answer } from "./requests.ts";
import type { Position } from "./store.ts";

/** Whether a state at `position` holds everything up to `goal`. */
export const reaches = (position: Position | null, goal: Position): boolean =>
  position !== null &&
  (position.epoch > goal.epoch || (position.epoch === goal.epoch && position.version >= goal.version));

export const later = (a: Position | null, b: Position | null): Position | null =>
  a === null || (b !== null && !reaches(a, b)) ? b : a;

export const textOf = ({ epoch, version }: Position): string => `${epoch}.${version}`;

/** The position of an answer, as the wire writes it in the body or beside it; null if there is none. */
export function positionOf({ body, position }: Answer): Position | null {
  const [, epoch, version] = /^([0-9a-z]+)\.(\d+)$/.exec(String(body?.["position"] ?? position)) ?? [];
  return epoch && version ? { epoch, version: Number(version) } : null;
}
