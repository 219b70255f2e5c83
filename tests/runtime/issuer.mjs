// An issuer that publishes its keys over HTTP, and may be slow, down, or talk nonsense.

import { createServer } from "node:http";

export async function startIssuer() {
  const issuer = { asked: 0, answer: null, url: "", keys: [] };
  const server = createServer((request, response) => {
    issuer.asked += 1;
    if (issuer.answer) return issuer.answer(request, response);
    response.setHeader("content-type", "application/json").end(JSON.stringify({ keys: issuer.keys }));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  issuer.url = `http://127.0.0.1:${server.address().port}/.well-known/jwks.json`;
  issuer.stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return issuer;
}
