// The canonical text of a mutation (PROTOCOL.md, "The same mutation"), as far as the numbers of JavaScript reach.

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

function ordered(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(ordered).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${ordered(value[name])}`).join(",")}}`;
}

function stripped(change: unknown): unknown {
  if (!isObject(change)) return change;
  const kept = Object.entries(change).filter(([name, value]) => {
    if (name === "base" || value === null) return false;
    if (name === "deleted") return value !== false;
    return name === "set" ? !isObject(value) || Object.keys(value).length > 0 : name !== "unset" || !Array.isArray(value) || value.length > 0;
  });
  const records = (value: unknown) => (Array.isArray(value) ? value.map(stripped) : value);
  return Object.fromEntries(kept.map(([name, value]) => [name, name === "records" ? records(value) : value]));
}

export function canonical({ at, changes }: { at?: unknown; changes?: unknown }): string {
  const all = { ...(at != null && { at }), ...(changes != null && { changes: Array.isArray(changes) ? changes.map(stripped) : changes }) };
  return ordered(all);
}
