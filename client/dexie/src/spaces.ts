// Shared spaces: who is in them, and which of them are synced on this device.

import type { Ports, TokenSource } from "../../core/src/ports.ts";
import { userOf } from "../../core/src/device.ts";

export type Role = "reader" | "writer" | "owner";

export interface Member {
  sub: string;
  user: string;
  role: Role;
}

/** A refusal of the server, with its code. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, detail: string) {
    super(`${code}: ${detail}`);
    this.status = status;
    this.code = code;
  }
}

export interface SpacesOptions {
  /** Without a slash at the end. */
  url: string;
  ports: Pick<Ports, "fetch" | "newId">;
  token: TokenSource;
  open: (space: string) => Promise<void>;
  /** Stops syncing it, and takes its rows away unless they are kept. */
  close: (space: string, keepRows: boolean) => Promise<void>;
}

/** Every method asks the server at once, and rejects with `RefusedError` or with what `fetch` throws. */
export class Spaces {
  readonly #options: SpacesOptions;

  constructor(options: SpacesOptions) {
    this.#options = options;
  }

  /** The shared spaces of the user, and those to which somebody says to have invited the user. */
  async list(): Promise<{ spaces: { space: string; role: Role }[]; invitations: { space: string }[] }> {
    const all = { spaces: [] as { space: string; role: Role }[], invitations: [] as { space: string }[] };
    for (let cursor: string | null | undefined = null; cursor !== undefined; ) {
      const query: string = cursor ? `?cursor=${encodeURIComponent(cursor)}` : "";
      const page = (await this.#ask("GET", `/spaces${query}`)) as typeof all & { cursor?: string | null };
      all.spaces.push(...page.spaces);
      all.invitations.push(...(page.invitations ?? []));
      cursor = page.cursor ?? undefined;
    }
    return all;
  }

  /** Makes a space, owned by the user, and opens it. Gives its id. */
  async create(space: string = this.#options.ports.newId()): Promise<string> {
    await this.#ask("PUT", `/spaces/${encodeURIComponent(space)}`);
    await this.open(space);
    return space;
  }

  /** Syncs a space on this device from now on; one that is held, as after the user was removed, is tried again. */
  open(space: string): Promise<void> {
    return this.#options.open(space);
  }

  /** Stops syncing it on this device. Its rows stay. */
  close(space: string): Promise<void> {
    return this.#options.close(space, true);
  }

  async members(space: string): Promise<Member[]> {
    const all: Member[] = [];
    for (let cursor: string | null | undefined = null; cursor !== undefined; ) {
      const query: string = cursor ? `?cursor=${encodeURIComponent(cursor)}` : "";
      const page = (await this.#ask("GET", `/spaces/${encodeURIComponent(space)}/members${query}`)) as { members: Member[]; cursor?: string | null };
      all.push(...page.members);
      cursor = page.cursor ?? undefined;
    }
    return all;
  }

  /** Makes somebody a member, or gives them another role. */
  async setMember(space: string, sub: string, role: Role): Promise<void> {
    await this.#ask("PUT", memberPath(space, sub), { role });
  }

  async removeMember(space: string, sub: string): Promise<void> {
    await this.#ask("DELETE", memberPath(space, sub));
  }

  /**
   * Gives the code of an invitation, which whoever has it may `accept`: for one person and a week, unless it says otherwise.
   * `expiresIn` in milliseconds.
   */
  async invite(space: string, invitation: { role: Role; uses?: number; expiresIn?: number }): Promise<string> {
    const { code } = (await this.#ask("POST", `/spaces/${encodeURIComponent(space)}/invitations`, invitation)) as { code: string };
    return code;
  }

  /** Makes the user a member by a code, or by a link that ends with one, and opens the space. Gives its id. */
  async accept(link: string): Promise<string> {
    const code = link.slice(Math.max(link.lastIndexOf("/"), link.lastIndexOf("#"), link.lastIndexOf("=")) + 1);
    const { space } = (await this.#ask("POST", `/invitations/${encodeURIComponent(code)}`)) as { space: string };
    await this.open(space);
    return space;
  }

  /** The user is no member any more. The rows of the space leave this device, unless they are kept. */
  async leave(space: string, { keepRows = false }: { keepRows?: boolean } = {}): Promise<void> {
    const token = await this.#token("start");
    await this.#ask("DELETE", memberPath(space, userOf(token).split(" ")[1] ?? ""));
    await this.#options.close(space, keepRows);
  }

  /** Deletes the space for everybody, for ever. */
  async remove(space: string): Promise<void> {
    await this.#ask("DELETE", `/spaces/${encodeURIComponent(space)}`);
    await this.#options.close(space, false);
  }

  async #token(reason: "start" | "refused"): Promise<string> {
    const token = await this.#options.token({ reason });
    if (token === null) throw new RefusedError(401, "unauthenticated", "nobody is signed in");
    return token;
  }

  async #ask(method: string, path: string, body?: object): Promise<unknown> {
    for (const reason of ["start", "refused"] as const) {
      const headers = { authorization: `Bearer ${await this.#token(reason)}`, "content-type": "application/json" };
      const how = { redirect: "manual", credentials: "omit" } as const;
      const init = { ...how, method, headers, ...(body && { body: JSON.stringify(body) }) };
      const answer = await this.#options.ports.fetch(this.#options.url + path, init);
      const text = await answer.text();
      if (answer.status === 401 && reason === "start") continue;
      const told = parsed(text);
      if (answer.status >= 200 && answer.status < 300) return told;
      throw new RefusedError(answer.status, told?.code ?? "upstream", told?.detail ?? "not an answer of Headwater");
    }
    return undefined;
  }
}

const memberPath = (space: string, sub: string): string => `/spaces/${encodeURIComponent(space)}/members/${encodeURIComponent(sub)}`;

function parsed(text: string): { code?: string; detail?: string } | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
