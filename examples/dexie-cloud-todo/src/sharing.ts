// Lists that several people share. Each is a space of Headwater's, whose members sync with a `databaseUrl` of its own; the realms of
// dexie-cloud-addon are not mapped yet.

import { tokenOf } from "./users.ts";

async function ask<T>(user: string, method: string, path: string, body?: object): Promise<T> {
  const headers = { authorization: `Bearer ${await tokenOf(user)}`, "content-type": "application/json" };
  const answer = await fetch(path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail ?? said.title);
  return said;
}

/** Makes a list that its user owns, and gives the id of its space. */
export async function makeList(user: string): Promise<string> {
  const id = `todos-${crypto.randomUUID()}`;
  await ask(user, "PUT", `/spaces/${id}`);
  return id;
}

/** A code that makes one more person a member, for a week. */
export async function invite(user: string, space: string): Promise<string> {
  const { code } = await ask<{ code: string }>(user, "POST", `/spaces/${space}/invitations`, { role: "writer" });
  return code;
}

/** Makes the user a member, and gives the id of the space. */
export async function join(user: string, code: string): Promise<string> {
  const { space } = await ask<{ space: string }>(user, "POST", `/invitations/${code}`);
  return space;
}

/** The spaces of the lists that the user shares, as they were last where there is no network. */
export async function sharedLists(user: string): Promise<string[]> {
  const kept: string[] = JSON.parse(localStorage.getItem(`lists of ${user}`) ?? "[]");
  const found = await ask<{ spaces: { space: string }[] }>(user, "GET", "/spaces").catch(() => ({ spaces: [] }));
  return keepLists(user, [...kept, ...found.spaces.map(({ space }) => space)]);
}

export function keepLists(user: string, lists: string[]): string[] {
  const kept = [...new Set(lists)];
  localStorage.setItem(`lists of ${user}`, JSON.stringify(kept));
  return kept;
}
