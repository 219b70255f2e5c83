// Shared spaces: who is in them, and which of them are synced on this device.

import type { Ports, TokenSource } from "../../core/src/ports.ts";
import { attempt } from "../../core/src/attempt.ts";
import { userOf } from "../../core/src/device.ts";
import { initOf } from "../../core/src/http.ts";
import { RefusedError } from "./errors.ts";

export type Role = "reader" | "writer" | "owner";

export interface Member {
  sub: string;
  user: string;
  role: Role;
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
    const pages = await this.#pages<{ spaces: { space: string; role: Role }[]; invitations?: { space: string }[] }>("spaces");
    return { spaces: pages.flatMap((page) => page.spaces), invitations: pages.flatMap((page) => page.invitations ?? []) };
  }

  /** Makes a space, owned by the user, and opens it. Gives its id. */
  async create(space: string = this.#options.ports.newId()): Promise<string> {
    await this.#ask("PUT", ["spaces", space]);
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
    return (await this.#pages<{ members: Member[] }>("spaces", space, "members")).flatMap((page) => page.members);
  }

  /** Makes somebody a member, or gives them another role. */
  async setMember(space: string, sub: string, role: Role): Promise<void> {
    await this.#ask("PUT", ["spaces", space, "members", sub], { role });
  }

  async removeMember(space: string, sub: string): Promise<void> {
    await this.#ask("DELETE", ["spaces", space, "members", sub]);
  }

  /**
   * Gives the code of an invitation, which whoever has it may `accept`: for one person and a week, unless it says otherwise.
   * `expiresIn` in milliseconds.
   */
  async invite(space: string, invitation: { role: Role; uses?: number; expiresIn?: number }): Promise<string> {
    return (await this.#ask<{ code: string }>("POST", ["spaces", space, "invitations"], invitation)).code;
  }

  /** Makes the user a member by a code, or by a link that ends with one, and opens the space. Gives its id. */
  async accept(link: string): Promise<string> {
    const { space } = await this.#ask<{ space: string }>("POST", ["invitations", link.replace(/^.*[/#=]/s, "")]);
    await this.open(space);
    return space;
  }

  /** The user is no member any more. The rows of the space leave this device, unless they are kept. */
  async leave(space: string, { keepRows = false }: { keepRows?: boolean } = {}): Promise<void> {
    await this.removeMember(space, userOf(await this.#token("start")).split(" ")[1] ?? "");
    await this.#options.close(space, keepRows);
  }

  /** Deletes the space for everybody, for ever. */
  async remove(space: string): Promise<void> {
    await this.#ask("DELETE", ["spaces", space]);
    await this.#options.close(space, false);
  }

  async #token(reason: "start" | "refused"): Promise<string> {
    const token = await this.#options.token({ reason });
    if (token === null) throw new RefusedError(401, "unauthenticated", "nobody is signed in");
    return token;
  }

  /** All pages of a list. */
  async #pages<Page>(...path: string[]): Promise<Page[]> {
    const pages: (Page & { cursor?: string | null })[] = [];
    for (let query = ""; ; ) {
      const page = await this.#ask<Page & { cursor?: string | null }>("GET", path, undefined, query);
      pages.push(page);
      if (!page.cursor) return pages;
      query = `?cursor=${encodeURIComponent(page.cursor)}`;
    }
  }

  /** Asks once more with another token, if the first one is refused. */
  async #ask<Told>(method: string, path: string[], body?: object, query = "", reason: "start" | "refused" = "start"): Promise<Told> {
    const { ports, url } = this.#options;
    const init = initOf(method, await this.#token(reason), body ? JSON.stringify(body) : "");
    const answer = await ports.fetch(`${url}/${path.map(encodeURIComponent).join("/")}${query}`, init);
    const { status } = answer;
    const text = await answer.text();
    if (status === 401 && reason === "start") return this.#ask(method, path, body, query, "refused");
    const told = attempt(() => JSON.parse(text));
    if (status >= 200 && status < 300) return told;
    throw new RefusedError(status, told?.code ?? "upstream", told?.detail ?? "not an answer of Headwater");
  }
}
