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
