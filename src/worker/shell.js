// The JavaScript half of the shell. Each function exists because one call from wasm is cheaper than several, or
// because what it handles (streams, cursors) should never enter wasm memory at all.

// Header and URL texts cannot hold a line break, so one string carries them all in a single crossing.
export function readRequest(request) {
  const headers = request.headers;
  return [
    request.method,
    request.url,
    headers.get("authorization") ?? "",
    headers.get("if-none-match") ?? "",
    headers.get("accept") ?? "",
    headers.get("origin") ?? "",
    headers.get("content-type") ?? "",
    headers.get("content-length") ?? "",
    headers.get("headwater-grant") ?? "",
    Date.now(),
    crypto.getRandomValues(new BigUint64Array(1))[0].toString(16).padStart(16, "0"),
  ].join("\n");
}

// `headers` is "name\nvalue\nname\nvalue"; a name may repeat. `body` is null, a string, bytes or a ReadableStream.
export function respond(status, body, headers) {
  const list = new Headers();
  if (headers) {
    const parts = headers.split("\n");
    for (let i = 0; i + 1 < parts.length; i += 2) list.append(parts[i], parts[i + 1]);
  }
  return new Response(body, { status, headers: list });
}

// All rows as arrays of cells, then how many rows SQLite read and wrote: those two are what storage is billed by.
export function query(sql, text, params) {
  const cursor = sql.exec(text, ...params);
  const rows = [...cursor.raw()];
  return [rows, cursor.rowsRead, cursor.rowsWritten];
}

// Joins the first column, a line break after each row, until the text is longer than `limit` characters.
// Returns the text, whether rows were left over, and the two counters of `query`.
export function text(sql, text, params, limit) {
  const cursor = sql.exec(text, ...params);
  const rows = cursor.raw();
  let out = "";
  let next = rows.next();
  while (!next.done && out.length <= limit) {
    out += next.value[0] + "\n";
    next = rows.next();
  }
  return [out, !next.done, cursor.rowsRead, cursor.rowsWritten];
}
