// A user of shared spaces, for tests: makes requests about one space, and keeps the grant that reads it.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { ISSUER } from "./harness.mjs";
import { sharedHash, userHash } from "./published.mjs";
import { mintToken } from "./token.mjs";

const JSON_TYPE = { "content-type": "application/json" };
let spaces = 0;

/** An id that nobody else in this run has. */
export const spaceId = (name = "space") => `${name}-${(spaces += 1)}-${randomBytes(4).toString("hex")}`;

/** A grant as the coordinator signs it, made without the code under test. */
export function mintGrant(runtime, { sub, iss = ISSUER, space, incarnation, role = "reader", exp, ...rest }, options = {}) {
  const claims = {
    exp: exp ?? Math.floor(Date.now() / 1000) + 300,
    user: userHash(iss, sub),
    space: sharedHash(space),
    incarnation,
    role,
    ...rest,
  };
  return mintToken(claims, { secret: `headwater grant\n${runtime.variables.GRANT_SECRET}`, ...options });
}

export class Member {
  grants = new Map();
  next = 1;

  constructor(runtime, name, { sub = runtime.subject(name), token = runtime.token(sub), client, at = "home" } = {}) {
    Object.assign(this, { runtime, sub, token, at, client: client ?? `c_${randomBytes(6).toString("hex")}` });
  }

  async ask(method, path, { body, grant, headers = {}, at = this.at } = {}) {
    const response = await this.runtime.fetch(at, path, {
      method,
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
      headers: {
        authorization: `Bearer ${this.token}`,
        ...(body !== undefined && JSON_TYPE),
        ...(grant !== undefined && { "headwater-grant": grant }),
        ...headers,
      },
    });
    const text = await response.text();
    const isJson = /json\b/.test(response.headers.get("content-type") ?? "") && !/ndjson/.test(response.headers.get("content-type"));
    return { status: response.status, text, body: isJson && text !== "" ? JSON.parse(text) : null, response };
  }

  /** Makes a space and returns its id. */
  async create(id = spaceId()) {
    const { status, text } = await this.ask("PUT", `/spaces/${id}`);
    assert.equal(status, 200, text);
    return id;
  }

  async set(id, other, role) {
    return this.ask("PUT", `/spaces/${id}/members/${encodeURIComponent(other.sub)}`, { body: { role } });
  }

  async remove(id, other) {
    return this.ask("DELETE", `/spaces/${id}/members/${encodeURIComponent(other.sub)}`);
  }

  /** Pushes one mutation, numbered by this client. */
  async push(id, changes, { client = this.client, number = this.next } = {}) {
    const body = { client, mutations: [{ id: number, changes }] };
    const answer = await this.ask("POST", `/sync/push?space=${id}`, { body });
    if (answer.status === 200) this.next = number + 1;
    return answer;
  }

  async put(id, record, value = {}, options = {}) {
    return this.push(id, [{ op: "put", collection: "c", id: record, value }], options);
  }

  /** The grant of a space, fetched once. */
  async grant(id) {
    if (!this.grants.has(id)) {
      const { status, body, text } = await this.ask("POST", `/spaces/${id}/grant`);
      assert.equal(status, 200, text);
      this.grants.set(id, body.grant);
    }
    return this.grants.get(id);
  }

  /** Reads with a grant; see `ask`. */
  async read(id, path, options = {}) {
    const grant = options.grant ?? (await this.grant(id));
    const joint = path.includes("?") ? "&" : "?";
    return this.ask("GET", `${path}${joint}space=${id}`, { ...options, grant });
  }

  /** Records of a whole pull, as `collection/id`. */
  async records(id, { query = "", ...options } = {}) {
    const { status, body, text } = await this.read(id, `/sync/pull?${query}`, options);
    assert.equal(status, 200, text);
    return body.changes.filter((change) => !change.deleted).map(({ collection, id: name }) => `${collection}/${name}`);
  }

  /** The spaces on this user's list, as `{id: role}`. */
  async spaces() {
    return Object.fromEntries((await this.list()).spaces.map(({ space, role }) => [space, role]));
  }

  /** The ids of the spaces that others have invited this user to. */
  async invitations() {
    return (await this.list()).invitations.map(({ space }) => space);
  }

  async list() {
    const { status, body, text } = await this.ask("GET", "/spaces");
    assert.equal(status, 200, text);
    return body;
  }
}
