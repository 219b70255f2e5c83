// What must be true in a world, whatever has happened: after every transaction of a device, and when all is quiet.

import assert from "node:assert/strict";
import { reaches } from "../src/positions.ts";
import type { ConflictNote } from "../src/store.ts";
import { type Device, type Edit, SPACES, type World } from "./world.ts";

/** After every transaction of a device. */
export function checkDevice(world: World, device: Device): void {
  for (const { space, position } of device.store.spaces.rows.values()) {
    const before = device.positions.get(space) ?? null;
    if (before) assert.ok(position && reaches(position, before), `the position of ${device.name} went back`);
    if (position) device.positions.set(space, position);
  }
  if (world.hasRestored) return;
  const all = [...device.store.notes.rows.values()];
  const notes = all.map(({ changes }) => changes.join()).join();
  // What is queued behind a conflict is spoken of by its note: it names the record, and the edit joins it.
  const inConflict = all.flatMap((note) => (note.kind === "conflict" ? note.records.map(({ key }) => key) : []));
  for (const edit of world.edits) {
    if (edit.device !== device || !edit.key.includes("own-")) continue;
    const row = device.store.rows.rows.get(edit.key);
    const isSeen = (row && edit.mark in JSON.parse(row.value)) || notes.includes(`"${edit.mark}"`) || inConflict.includes(edit.key);
    assert.ok(isSeen, `edit ${edit.mark} of ${edit.key} left the screen of ${device.name} without a word`);
  }
  for (const [key, row] of device.store.rows.rows) {
    if (!key.endsWith(" count")) continue;
    const made = world.edits.filter((edit) => edit.key === key).length;
    assert.ok(JSON.parse(row.value).n <= made, `${device.name} counts ${row.value} where ${made} were made`);
  }
}

/** At the end, when all is quiet. */
export function checkEnd(world: World): void {
  for (const space of SPACES) {
    const server = world.server(space);
    for (const device of world.devices) {
      assert.deepEqual(device.store.state(space), server.state(), `${device.name} shows in ${space} what the server has`);
      assert.equal([...device.store.outbox.rows.values(), ...device.store.base.rows.values(), ...device.store.sent.rows.values()].length, 0, "nothing is left over");
    }
    // A conflict of a history that was restored away is settled anew in the present one.
    for (const conflict of server.model.parked.keys()) {
      const isShown = world.devices.some(({ store }) => [...store.notes.rows.values()].some((note) => note.kind === "conflict" && note.conflict === conflict));
      assert.ok(isShown, `conflict ${conflict} is shown`);
    }
    // Announcements of a shared space say nothing to a device that does not know its members.
    for (const { name, store } of space === "~" ? world.devices : []) {
      const notes = [...store.notes.rows.values()].filter((note) => note.kind === "conflict" && note.space === space) as ConflictNote[];
      const isWhole = ({ fetched, changes }: ConflictNote) => fetched !== false && changes.length > 0;
      for (const id of server.model.parked.keys()) assert.ok(notes.some((note) => note.conflict === id && isWhole(note)), `${name} shows ${id} as a whole`);
      for (const { fetched, conflict } of notes) assert.ok(fetched === undefined || server.model.parked.has(conflict), `${name} shows ${conflict}, which is closed`);
    }
  }
  for (const edit of world.edits) {
    checkEdit(world, edit);
    checkUnseen(world, edit);
  }
}

/** Nobody's change is replaced by an edit whose user had not seen it. */
function checkUnseen(world: World, { device, space, key, mark, change }: Edit): void {
  if (change.op === "add" || change.op === "delete") return;
  const isForeign = (name: string) => name[0] === "o" || world.edits[Number(name.slice(1))]?.device !== device;
  for (const { text, status, before, isForgotten } of world.server(space).log) {
    if (!text.includes(`"${mark}"`)) continue;
    const isAlone = key.includes("own-") && before.length === 1;
    if (!world.hasRestored && isAlone) assert.ok(!isForgotten, `${key} is of one device alone, and conflicts`);
    if (status !== "applied") continue;
    const there = before.find(([other]) => other === key)?.[1] ?? {};
    // A mutation may hold several edits, of which the later ones saw what the first had made.
    const all = world.edits.filter((edit) => edit.key === key && edit.device === device).map((edit) => edit.seen ?? {});
    const unseen = Object.keys(there).filter((name) => isForeign(name) && !all.some((one) => name in one));
    assert.deepEqual(unseen, [], `edit ${mark} of ${key} replaced what its user had not seen: ${text}`);
  }
}

function checkEdit(world: World, { device, space, key, mark, change, isOver }: Edit): void {
  const { log, model } = world.server(space);
  if (change.op === "add") {
    if (world.hasRestored) return;
    const isOfKey = (one: { collection: string; id: string; op: string }) => one.op === "add" && `${one.collection} ${one.id}` === key;
    const countOf = (isApplied: boolean) =>
      log.filter(({ status }) => (status === "applied") === isApplied).flatMap(({ text }) => JSON.parse(text).changes).filter(isOfKey).length;
    const made = world.edits.filter((one) => one.key === key).length;
    // What was given up because nothing let it through may have been done, and need not.
    const given = world.devices.flatMap(({ store }) => [...store.notes.rows.values()]).filter((note) => note.kind === "rejected" && note.code === "blocked");
    const blocked = given.flatMap(({ changes }) => changes.map((text) => JSON.parse(text))).filter(isOfKey).length;
    const settled = countOf(true) + countOf(false);
    assert.ok(settled <= made && settled >= made - blocked, `${made} additions were made, and ${settled} settled`);
    assert.equal((model.records.get(key)?.value as { n: number } | undefined)?.n ?? 0, countOf(true));
    return;
  }
  if (isOver) return;
  const inLog = log.filter(({ text }) => text.includes(`"${mark}"`));
  const noted = [...device.store.notes.rows.values()].filter(({ changes }) => changes.join().includes(`"${mark}"`));
  assert.ok(inLog.length > 0 || noted.length > 0, `edit ${mark} is neither settled nor shown`);
  const refused = inLog.filter(({ status }) => status !== "applied");
  // What was refused in a history that was restored away may be applied in the present one.
  if (refused.length === inLog.length && refused.length > 0) assert.ok(noted.length > 0, `edit ${mark} was refused, and nobody was told`);
  if (!world.hasRestored) assert.ok(inLog.length <= 1, `edit ${mark} was settled twice: ${JSON.stringify(inLog)}`);
}
