// Floor (a): `KV.get` streamed straight into a Response. No token, no headers, no version check.
//   GET /<key>              one value
//   GET /a,b,c              several values as one body, in order, for first loads
//   GET /gzip/a,b,c         the same, compressed by the runtime
export default {
  async fetch(request, env) {
    let path = request.url.slice(request.url.indexOf("/", 8) + 1);
    if (path.startsWith("gzip/")) {
      // The runtime compresses a body whose answer says that it is gzip.
      return new Response(await body(path.slice(5), env), { headers: { "content-encoding": "gzip" } });
    }
    return new Response(await body(path, env));
  },
};

async function body(path, env) {
  const keys = path.split(",");
  if (keys.length === 1) return env.KV.get(keys[0], "stream");
  // All gets start at once; the bodies then follow each other without passing through JavaScript.
  const values = keys.map((key) => env.KV.get(key, "stream"));
  const { readable, writable } = new IdentityTransformStream();
  (async () => {
    for (const value of values) await (await value).pipeTo(writable, { preventClose: true });
    await writable.close();
  })();
  return readable;
}
