// The bucket of files.

export function hasBlobs(env) {
  return typeof env.BLOBS === "object";
}

// What stands there already stays: names are made by chance, so it is the same file, whose answer was lost.
export async function putBlob(env, request, key, contentType) {
  const onlyIf = new Headers({ "if-none-match": "*" });
  await env.BLOBS.put(key, request.body ?? "", { onlyIf, httpMetadata: { contentType } });
}

// Resolves to [type, stream], or to null when there is none.
export async function openBlob(env, key) {
  const file = await env.BLOBS.get(key);
  return file === null ? null : [file.httpMetadata?.contentType ?? "", file.body];
}

// Deletes a thousand at most, of those that were put before. Resolves to the key behind which there are more, or to null.
export async function deleteBlobs(env, prefix, behind, before) {
  const { objects, truncated } = await env.BLOBS.list({ prefix, limit: 1000, ...(behind !== "" && { startAfter: behind }) });
  const old = objects.filter(({ uploaded }) => uploaded.getTime() < before).map(({ key }) => key);
  if (old.length > 0) await env.BLOBS.delete(old);
  return truncated ? objects.at(-1).key : null;
}

// Resolves to [what stands behind `prefix` in a thousand keys at most, with a space between each two, the last of them if there are more].
export async function listBlobs(env, prefix, behind) {
  const after = behind === "" ? {} : { startAfter: prefix + behind };
  const { objects, truncated } = await env.BLOBS.list({ prefix, limit: 1000, ...after });
  const ids = objects.map(({ key }) => key.slice(prefix.length));
  return [ids.join(" "), truncated ? ids.at(-1) : ""];
}

export function deleteEach(env, keys) {
  return env.BLOBS.delete(keys.split("\n"));
}
