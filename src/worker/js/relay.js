// Sockets of a client that has several spaces: one to it, and one to the object of each space. What goes from one to the others is
// said by the module.

import { askForSocket, passed } from "./calls.js";

// The numbers of the client's socket, and of that to its own space.
const [CLIENT, HOME] = [-1, 0];
// The code of an end that says nothing (RFC 6455, 7.4.1).
const NORMAL = 1_000;

// Resolves to what `passOn` does. Each call is [number of the space, object, name, caller, body, timeout]. `hear` is told a text of a
// socket, the code of its end, or for want of one the status of the answer, if there was any. It returns what is to be done: each time
// [socket, text], or [code] with which all is closed. `failed` is the code where the module does not say.
export async function relay(env, [[, ...home], ...realms], hear, failed) {
  const answer = await askForSocket(env, ...home);
  if (answer.webSocket === null) return passed(answer);
  const asked = realms.map(async ([number, ...call]) => {
    const { webSocket, status, body } = await askForSocket(env, ...call).catch(() => ({ webSocket: null, status: null }));
    // Nobody reads why.
    body?.cancel().catch(() => {});
    return [number, webSocket, status];
  });
  const { 0: client, 1: server } = new WebSocketPair();
  const sockets = new Map([
    [CLIENT, server],
    [HOME, answer.webSocket],
  ]);
  const heard = (number, said) => {
    try {
      for (const [to, text] of hear(number, said)) {
        if (text === undefined) closeAll(sockets, to);
        else send(sockets.get(to), text);
      }
    } catch {
      // The module has broken off, or what it said.
      closeAll(sockets, failed);
    }
  };
  for (const [number, webSocket, status] of await Promise.all(asked)) {
    if (webSocket === null) heard(number, status);
    else sockets.set(number, webSocket);
  }
  for (const [number, socket] of [...sockets]) begin(number, socket, heard);
  const [, ...rest] = passed(new Response(null, { headers: answer.headers }));
  return [new Response(null, { status: 101, webSocket: client }), ...rest];
}

function begin(number, socket, heard) {
  socket.addEventListener("message", ({ data }) => heard(number, data));
  socket.addEventListener("close", ({ code }) => {
    // The platform waits for the other half of the end.
    close(socket, NORMAL);
    heard(number, Math.max(code, NORMAL));
  });
  socket.addEventListener("error", () => heard(number, NORMAL));
  socket.accept();
}

function closeAll(sockets, code) {
  for (const [number, socket] of sockets) close(socket, number === CLIENT ? code : NORMAL);
}

function send(socket, text) {
  try {
    socket.send(text);
  } catch {
    // It is closing: its end will be told.
  }
}

function close(socket, code) {
  try {
    socket.close(code, "");
  } catch {
    // It has ended already.
  }
}
