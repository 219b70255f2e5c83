// Sign-in for development: `npm start` serves a file with users and their tokens. A real app asks its own sign-in service.

export interface User {
  sub: string;
  token: string;
}

const KEPT = "development users";
const WHO = "user";

/** The users, from the server or, offline, as they were last. */
export async function developmentUsers(): Promise<User[]> {
  try {
    const answer = await fetch("/development-users.json", { cache: "no-store" });
    const { users } = (await answer.json()) as { users: User[] };
    localStorage.setItem(KEPT, JSON.stringify(users));
    return users;
  } catch {
    return keptUsers();
  }
}

export const keptUsers = (): User[] => JSON.parse(localStorage.getItem(KEPT) ?? "[]");

export async function tokenOf(sub: string, reason: string): Promise<string | null> {
  const find = (users: User[]) => users.find((user) => user.sub === sub)?.token;
  const kept = reason === "start" ? find(keptUsers()) : undefined;
  return kept ?? find(await developmentUsers()) ?? null;
}

/** Each window may have another user, so that two can be put beside each other; a new window begins with the last one. */
export function currentUser(): string | null {
  const asked = new URLSearchParams(location.search).get("as");
  return asked ?? sessionStorage.getItem(WHO) ?? localStorage.getItem(WHO);
}

export function become(sub: string | null): void {
  if (sub) localStorage.setItem(WHO, sub);
  sessionStorage.setItem(WHO, sub ?? "");
  // The address keeps an invitation, which stands behind its #.
  location.replace(`/${sub ? `?as=${encodeURIComponent(sub)}` : ""}${location.hash}`);
}

/** The first word of the subject. */
export const nameOf = (sub: string): string => sub.charAt(0).toUpperCase() + sub.slice(1).split("-")[0];
