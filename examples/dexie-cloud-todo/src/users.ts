// Sign-in for development: `npm start` serves a file with users and their tokens. A real app asks its own sign-in service.

interface User {
  sub: string;
  token: string;
}

const DEMO_USERS = ["alice@demo.local", "bob@demo.local"];

async function developmentUsers(): Promise<User[]> {
  const answer = await fetch("/development-users.json", { cache: "no-store" });
  return ((await answer.json()) as { users: User[] }).users;
}

/** Who can be picked. */
export async function users(): Promise<string[]> {
  const found = await developmentUsers().catch(() => []);
  return [...found.map(({ sub }) => sub), ...DEMO_USERS];
}

/** They have no token, because the addon signs them in. */
export const isDemo = (user: string): boolean => user.endsWith("@demo.local");

export async function tokenOf(user: string): Promise<string> {
  const found = (await developmentUsers()).find(({ sub }) => sub === user);
  if (!found) throw new Error(`There is no user ${user}.`);
  return found.token;
}
