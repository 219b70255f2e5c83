// A world of devices and servers in which everything that can be late, lost or repeated is, as a list of steps says. Every
// step names by a number what it means among what is there, so that any list of steps is a schedule, and shrinks.

import assert from "node:assert/strict";
import { capture } from "../src/capture.ts";
import type { Early, Effect, Event, TimerName } from "../src/events.ts";
import type { Page } from "../src/load.ts";
import { SpaceMachine } from "../src/space.ts";
import type { Change } from "../src/ops.ts";
import type { Answer, Live, Request } from "../src/requests.ts";
import { DeviceFull, type Position } from "../src/store.ts";
import { checkDevice, checkEnd } from "./checks.ts";
import { type Push, Server } from "./server.ts";
import { MemoryStore } from "./store.ts";

export type Step = [what: number, which: number, how: number];
export const SPACES = ["~", "s1"];
const QUIET_MAX = 4000;

/** A request on its way, or its answer on the way back. */
interface Flight {
  tab: Tab;
  id: number;
  space: string;
  request: Request;
  pages: Page[];
  answer: Answer | null;
}

/** An edit that a user made, with a mark that no other has. */
export interface Edit {
  device: Device;
  space: string;
  key: string;
  mark: string;
  change: Change;
  /** What the user saw of the record when making it. */
  seen: Record<string, unknown> | null;
  /** The user has put or deleted the same record since: it may be gone for that. */
  isOver: boolean;
}

/** A tab that leads, or did: after a stolen lock two are at work. */
class Tab {
  device: Device;
  term: number;
  machines = new Map<string, SpaceMachine>();
  timers = new Map<string, { space: string; name: TimerName }>();
  isClosed = false;
  constructor(device: Device) {
    this.device = device;
    this.term = device.store.term;
  }
}

export class Device {
  name: string;
  store = new MemoryStore();
  leader: Tab | null = null;
  live = new Map<string, Live[]>();
  positions = new Map<string, Position>();
  constructor(name: string) {
    this.name = name;
  }
}

export class World {
  now = 0;
  ids = 0;
  servers = new Map(SPACES.map((space) => [space, new Server(`0epoch${space === "~" ? "p" : space}`.padEnd(12, "0"))]));
  devices = ["a", "b", "c"].map((name) => new Device(name));
  flights: Flight[] = [];
  edits: Edit[] = [];
  restores = SPACES.map((space) => this.server(space).backup());
  /** The next transaction of this device that writes rows finds no room. */
  fills: Device | null = null;
  hasRestored = false;
  hasReset = false;

  constructor() {
    for (const space of SPACES) {
      this.server(space).onCommit = (from) => {
        for (const device of this.devices) device.live.get(space)?.push(this.server(space).live(from) as unknown as Live);
      };
    }
  }

  server(space: string): Server {
    return this.servers.get(space) as Server;
  }

  newId = (): string => {
    this.ids += 1;
    return `id_${String(this.ids).padStart(6, "0")}`;
  };

  // ——— Devices.

  async open(device: Device, stolen = false): Promise<void> {
    device.store.term += 1;
    const tab = new Tab(device);
    device.leader = tab;
    for (const space of SPACES) {
      device.live.set(space, []);
      tab.machines.set(space, new SpaceMachine({ space, newId: this.newId }));
      await this.tell(tab, space, { type: "open", user: "user", stolen });
    }
  }

  /** Ends the leader of a device as a crash does: nothing is told, answers reach nobody, live messages are lost. */
  crash(device: Device): void {
    const tab = device.leader;
    if (!tab) return;
    tab.isClosed = true;
    device.leader = null;
    device.live.clear();
  }

  /** Tells a machine, and carries out what it wants done, transactions at once and everything else when its time comes. */
  async tell(tab: Tab, space: string, event: Event): Promise<void> {
    const machine = tab.machines.get(space);
    if (!machine || tab.isClosed) return;
    const effects: Effect[] = machine.on(event, this.now);
    for (const effect of effects) await this.carryOut(tab, space, effect);
  }

  async carryOut(tab: Tab, space: string, effect: Effect): Promise<void> {
    const timer = "name" in effect ? `${space} ${effect.name}` : "";
    if (effect.type === "commit") {
      let event: Event;
      if (this.fills === tab.device && effect.scope.wake !== "nothing") {
        this.fills = null;
        tab.device.store.failure = new DeviceFull();
      }
      try {
        const result = await tab.device.store.commit(tab.term, effect.scope, effect.body);
        event = { type: "committed", id: effect.id, result };
      } catch (error) {
        event = { type: "failed", id: effect.id, error };
      }
      this.checkDevice(tab.device);
      await this.tell(tab, space, event);
    } else if (effect.type === "send") {
      this.flights.push({ tab, id: effect.id, space, request: effect.request, pages: [], answer: null });
    } else if (effect.type === "timer") tab.timers.set(timer, { space, name: effect.name });
    else if (effect.type === "cancel") tab.timers.delete(timer);
    else if (effect.type === "released") for (const other of SPACES) await this.tell(tab, other, { type: "captured", seq: 0 });
    else if (effect.type === "tell" && effect.tell.type === "log") {
      throw new Error(`logged: ${effect.tell.message} ${JSON.stringify(effect.tell.detail)} ${(effect.tell.detail as Error)?.stack ?? ""}`);
    } else if (effect.type === "token") await this.tell(tab, space, { type: "token", user: "user" });
    else if (effect.type === "tell" && effect.tell.type === "status" && effect.tell.status.held) {
      const { why, detail } = effect.tell.status.held;
      const isMeant = ["timeout", "blocked", "signed-out"].includes(why) || detail === "cursors expire at once";
      assert.ok(isMeant, `held: ${why} ${detail}`);
    }
  }

  // ——— The network.

  /** A request arrives at the server. `breakAfter`: the connection ends when so many mutations are settled. */
  arrive(flight: Flight, breakAfter: number, cursorExpired: boolean): void {
    const { request, space } = flight;
    const server = this.server(space);
    if (request.kind === "grant") {
      flight.answer = { status: 200, body: { grant: "grant", expiresIn: 600_000, role: "owner" } };
      return;
    }
    if (request.kind === "conflict") {
      flight.answer = server.list(request.cursor);
      return;
    }
    const body = JSON.parse(request.body);
    const reply = request.kind === "push" ? server.push(body as Push, breakAfter) : server.pull(body, cursorExpired);
    flight.answer = reply;
    if (!request.isStream || reply.status !== 200) return;
    // A stream: pages as lines, with a cursor behind each, and its end in the last one.
    flight.pages = [];
    for (let answer = reply.body; answer; ) {
      const { epoch, version, reset, more, cursor, changes } = answer as unknown as Page & { more: boolean; changes: Page["lines"] };
      // Not every chunk that is stored ends with a cursor.
      const isChunk = (this.now / 10) % 3 === 0;
      flight.pages.push({ epoch, version, reset, cursor: isChunk ? null : cursor, lines: changes, end: !more });
      answer = more ? server.pull({ ...body, cursor }).body : null;
    }
    flight.answer = { status: 200, body: { isStream: true } };
  }

  /** The answer of a flight comes back; `cut`: a stream breaks off after so many of its pages. */
  async comeBack(flight: Flight, cut = Number.POSITIVE_INFINITY): Promise<void> {
    const { tab, id, space, pages, answer } = flight;
    for (const page of pages.slice(0, cut)) await this.tell(tab, space, { type: "page", id, page: structuredClone(page), bytes: 1 });
    await this.tell(tab, space, { type: "answer", id, answer: structuredClone(answer ?? { status: 0, body: null }) });
  }

  land(flight: Flight): void {
    this.flights.splice(this.flights.indexOf(flight), 1);
  }

  // ——— Users.

  async edit(device: Device, which: number, how: number): Promise<void> {
    const space = SPACES[how % 7 === 0 ? 1 : 0] as string;
    const mark = `e${this.edits.length}`;
    const id = ["t1", "t2", "t3", `own-${device.name}`, "count"][which % 5] as string;
    const named = { collection: space === "~" ? "c" : "d", id };
    const key = `${named.collection} ${id}`;
    const seen = await this.valueOf(device, space, key);
    const change = this.changeOf(named, mark, seen !== null, which, how);
    if (!change) return;
    if (change.op === "put" || change.op === "delete") {
      for (const edit of this.edits) if (edit.device === device && edit.key === key) edit.isOver = true;
    }
    this.edits.push({ device, space, key, mark, change, seen, isOver: change.op === "delete" });
    // Several edits in one transaction of the app, now and then.
    const tx = how % 5 === 0 && this.edits.length > 1 ? `tx-${device.name}-${space}-open` : this.newId();
    const ahead = how % 5 > 1 ? device.leader?.machines.get(space)?.ahead(this.now) : null;
    const early = await device.store.commit(device.store.term, { wake: "rows" }, async (store): Promise<Early | undefined> => {
      const row = await store.spaces.get(space);
      const isEarly = row && ahead && row.client === ahead.client && row.next === ahead.next && (await store.outbox.list()).length === 0;
      await capture(store, { space, tx, at: this.now, changes: [change], ...(isEarly && { early: true }) });
      return isEarly ? { row, rows: await store.outbox.list(), fresh: seen ? [] : [key] } : undefined;
    });
    if (device.leader) await this.tell(device.leader, space, { type: "captured", seq: device.store.seq, early });
  }

  /** Moves a record from the private space to the shared one: made there, and deleted here when that is applied. */
  async move(device: Device): Promise<void> {
    const key = "c m";
    const seen = await this.valueOf(device, "~", key);
    const mark = `e${this.edits.length}`;
    const named = { collection: "c", id: "m" };
    const [from, to] = SPACES as [string, string];
    const tx = this.newId();
    const put: Change = { op: "put", ...named, value: { [mark]: 1 } };
    for (const edit of this.edits) if (edit.device === device && edit.key === key) edit.isOver = true;
    this.edits.push({ device, space: seen ? to : from, key, mark, change: put, seen, isOver: false });
    if (!seen && device.store.rows.rows.has(key)) {
      this.edits.pop();
      return;
    }
    await device.store.commit(device.store.term, { wake: "rows" }, async (store) => {
      await capture(store, { space: seen ? to : from, tx, at: this.now, changes: [put] });
      if (seen) await capture(store, { space: from, tx, at: this.now, changes: [{ op: "delete", ...named }], waits: { space: to, tx } });
    });
    if (device.leader) for (const space of SPACES) await this.tell(device.leader, space, { type: "captured", seq: device.store.seq });
  }

  changeOf(named: { collection: string; id: string }, mark: string, there: boolean, which: number, how: number): Change | null {
    // Everybody adds to one record, which nobody puts or deletes: doubled and lost additions show.
    if (named.id === "count") return { op: "add", ...named, path: "n", by: 1, orPut: { n: 1 } };
    // A record to which one device alone adds fields: each stays in sight for ever.
    if (named.id.startsWith("own-")) return there ? { op: "patch", ...named, set: { [mark]: 1 } } : { op: "put", ...named, value: { [mark]: 1 } };
    if (!there) return { op: "put", ...named, value: { [mark]: 1 } };
    const kind = Math.floor(which / 5) % 4;
    if (kind === 0) return { op: "put", ...named, value: { [mark]: 1 } };
    if (kind === 1) return { op: "delete", ...named };
    return { op: "patch", ...named, set: { [mark]: how } };
  }

  async valueOf(device: Device, space: string, key: string): Promise<Record<string, unknown> | null> {
    const row = device.store.rows.rows.get(key);
    return row?.space === space ? JSON.parse(row.value) : null;
  }

  // ——— Steps.

  async take([what, which, how]: Step): Promise<void> {
    this.now += 10;
    const device = this.devices[which % 3] as Device;
    const flight = this.flights[which % Math.max(1, this.flights.length)];
    const space = SPACES[how % 2] as string;
    const kind = what % 100;
    if (kind < 3) return this.move(device);
    if (kind < 25) return this.edit(device, Math.floor(which / 3), how);
    if (kind < 45) return this.runTimer(device, how);
    if (kind < 60 && flight) {
      if (!flight.answer) this.arrive(flight, how % 6 === 0 ? how % 3 : Number.POSITIVE_INFINITY, how % 11 === 0);
      // A copy of it that comes later, or its answer that does not come back.
      if (how % 5 === 1) return;
      if (how % 5 !== 2) this.land(flight);
      if (how % 7 === 2) return this.comeBack({ ...flight, pages: [], answer: { status: 0, body: null } });
      return this.comeBack(flight, how % 3 === 0 ? how % 4 : undefined);
    }
    if (kind < 66 && flight) return this.refuse(flight, how);
    if (kind < 74) return this.hearLive(device, space);
    if (kind < 78) return void device.live.get(space)?.shift();
    if (kind === 78) this.fills = device;
    else if (kind < 82) return this.crash(device);
    if (kind < 86) return device.leader ? undefined : this.open(device);
    if (kind < 88) return this.open(device, true);
    if (kind < 90 && device.leader) return this.tell(device.leader, space, { type: "poll" });
    if (kind === 90 && device.leader) return this.tell(device.leader, space, { type: how % 3 === 0 ? "offline" : "online" });
    if (kind < 97) {
      const id = ["t1", "t2", "t3"][which % 3] as string;
      const collection = space === "~" ? "c" : "d";
      const change = how % 4 === 0 ? { op: "delete", collection, id } : { op: "put", collection, id, value: { [`o${this.now}`]: 1 } };
      return this.server(space).write([change]);
    }
    if (kind === 97) this.restores[how % 2] = this.server(space).backup();
    if (kind === 98 && how % 3 === 0) {
      this.hasRestored = true;
      this.restores[how % 2]?.();
    }
    if (kind === 99) {
      this.hasReset = true;
      this.server(space).forget();
    }
  }

  /** The request is refused, or its answer is lost or replaced; it may have been done, in part or as a whole. */
  async refuse(flight: Flight, how: number): Promise<void> {
    const { request } = flight;
    const isPush = request.kind === "push";
    const kind = how % 9;
    const isDone = kind < 4 || kind === 8;
    if (isDone && !flight.answer && how % 2 === 0) this.arrive(flight, how % 5, false);
    this.land(flight);
    const code = (status: number, name: string): Answer => ({ status, body: { code: name } });
    const none: Answer = { status: 0, body: null };
    // Only what is more than one can be too large here: what is too large alone is never done.
    const tooLarge = isPush && JSON.parse(request.body).mutations.length > 1 ? code(413, "too_large") : none;
    const all = [none, code(503, "upstream"), code(500, "internal"), { status: 403, body: null }, code(429, "rate_limited"), code(401, "token_expired"), code(408, "timeout"), none, tooLarge];
    // These say that nothing was done, which is not said of what was.
    const isUntrue = flight.answer !== null && [4, 5, 6].includes(kind);
    await this.comeBack({ ...flight, pages: [], answer: (isUntrue ? none : all[kind]) as Answer });
  }

  async runTimer(device: Device, which: number): Promise<void> {
    const tab = device.leader;
    if (!tab) return;
    const all = [...tab.timers];
    const [name, timer] = all[which % Math.max(1, all.length)] ?? [];
    if (!name || !timer) return;
    tab.timers.delete(name);
    this.now += 100_000;
    await this.tell(tab, timer.space, { type: "timer", name: timer.name });
  }

  async hearLive(device: Device, space: string): Promise<void> {
    const message = device.live.get(space)?.shift();
    if (message && device.leader) await this.tell(device.leader, space, { type: "live", message });
  }

  /** Everything works from here on: all is sent, answered and pulled, until nothing more happens. */
  async quiet(): Promise<void> {
    for (const device of this.devices) if (!device.leader) await this.open(device);
    for (let round = 0; round < 3; round += 1) {
      for (const device of this.devices) {
        for (const space of SPACES) {
          await this.tell(device.leader as Tab, space, { type: "online" });
          await this.tell(device.leader as Tab, space, { type: "resume" });
          await this.tell(device.leader as Tab, space, { type: "poll" });
        }
      }
      for (let steps = 0; ; steps += 1) {
        assert.ok(steps < QUIET_MAX, "the world comes to rest");
        const flight = this.flights[0];
        const device = this.devices.find(({ leader }) => (leader?.timers.size ?? 0) > 0);
        if (flight) {
          this.land(flight);
          if (!flight.answer) this.arrive(flight, Number.POSITIVE_INFINITY, false);
          await this.comeBack(flight);
        } else if (device) await this.runTimer(device, 0);
        else break;
      }
    }
  }

  /** After every transaction of a device. */
  checkDevice(device: Device): void {
    checkDevice(this, device);
  }
}

export async function run(steps: Step[]): Promise<World> {
  const world = new World();
  for (const device of world.devices) await world.open(device);
  for (const step of steps) await world.take(step);
  await world.quiet();
  checkEnd(world);
  return world;
}
