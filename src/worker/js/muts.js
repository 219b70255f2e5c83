// Record lines of published objects as operations of Dexie Cloud, whose bytes do not enter wasm. `src/fronts/dexie/answer.rs` makes
// the same of lines that wasm has.

const LINE = /^\{"version":\d+,"collection":"([^"]+)","id":("(?:[^"\\]|\\.)*"),(?:"value":(\{.*\})|"deleted":true)\}$/s;
// Operations are so long at most: what is applied in one go takes memory at the client.
const KEYS_MAX = 500;

// Makes `,{"table":…,"muts":[…]}` of lines: neighbouring ones of one collection and kind are one operation. Values say that they
// belong to `sub`, before their own fields: the last of two equal names counts, so what a record says itself stays.
export function toMuts(sub) {
  const id = JSON.stringify(sub);
  const owned = `"realmId":${id},"owner":${id}`;
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let rest = "";
  return new TransformStream({
    transform(chunk, controller) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop();
      const text = mutsOf(lines, owned);
      if (text !== "") controller.enqueue(encoder.encode(text));
    },
    // What is left is no line: an object that is cut off has broken.
    flush(controller) {
      if (rest + decoder.decode() !== "") controller.error(new Error("an object ends within a line"));
    },
  });
}

function mutsOf(lines, owned) {
  const texts = [];
  let open;
  const close = () => {
    if (open === undefined) return;
    const values = open.values === undefined ? "" : `,"values":[${open.values.join(",")}]`;
    const type = open.values === undefined ? "delete" : "upsert";
    texts.push(`,{"table":"${open.table}","muts":[{"type":"${type}","keys":[${open.keys.join(",")}]${values}}]}`);
    open = undefined;
  };
  for (const line of lines) {
    const parts = LINE.exec(line);
    if (parts === null) throw new Error("this is no record line");
    const [, table, id, value] = parts;
    if (table.startsWith("$")) continue;
    const goesOn = open?.table === table && (open.values === undefined) === (value === undefined);
    if (!goesOn || open.keys.length === KEYS_MAX) {
      close();
      open = { table, keys: [], values: value === undefined ? undefined : [] };
    }
    open.keys.push(id);
    if (value !== undefined) open.values.push(value === "{}" ? `{${owned}}` : `{${owned},${value.slice(1)}`);
  }
  close();
  return texts.join("");
}
