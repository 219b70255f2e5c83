// Sockets of an object. They sleep with it: the platform holds them, and keeps with each its number and what is known of it.

export class Sockets {
  constructor(state) {
    this.state = state;
    this.open = new Map();
    this.notes = [];
    for (const socket of state.getWebSockets()) {
      const kept = socket.deserializeAttachment();
      // One that was closed, and whose client has not answered yet.
      if (kept === null) continue;
      const [number, note] = kept;
      this.open.set(number, socket);
      this.notes.push(`${number} ${note}`);
    }
  }

  // Those that were there when the instance began, a line each: its number, and what is kept with it.
  remaining() {
    return this.notes.splice(0).join("\n");
  }

  // The answer to a request for a socket, which gets this number and is told this first, if anything. None where the platform takes
  // no more.
  accept(number, note, greeting, protocol, aside) {
    const { 0: client, 1: server } = new WebSocketPair();
    if (!this.accepted(server)) return undefined;
    this.open.set(number, server);
    this.keep(number, note);
    if (greeting !== "") server.send(greeting);
    return upgraded(client, protocol, aside);
  }

  // The same where the socket is closed at once.
  refuse(text, code, why, protocol) {
    const { 0: client, 1: server } = new WebSocketPair();
    if (!this.accepted(server)) return undefined;
    end(server, text, code, why);
    return upgraded(client, protocol);
  }

  // The platform has places for so many, those included whose clients have not answered the end.
  accepted(server) {
    try {
      this.state.acceptWebSocket(server);
      return true;
    } catch {
      return false;
    }
  }

  keep(number, note) {
    this.open.get(number)?.serializeAttachment([number, note]);
  }

  // The number of a socket, or -1 of one that was closed.
  numberOf(socket) {
    return socket.deserializeAttachment()?.[0] ?? -1;
  }

  send(numbers, text) {
    for (const number of numbers) {
      try {
        this.open.get(number)?.send(text);
      } catch {
        // It is closing: its end will be told.
      }
    }
  }

  close(numbers, text, code, why) {
    for (const number of numbers) {
      const socket = this.open.get(number);
      this.open.delete(number);
      if (socket !== undefined) end(socket, text, code, why);
    }
  }

  // A socket has ended: the platform waits for the other half of the end.
  ended(socket) {
    const number = this.numberOf(socket);
    this.open.delete(number);
    end(socket, undefined, NORMAL);
    return number;
  }

  // The platform answers pings by itself, also before what was written is durable: so it is told of that only after.
  answerPings(ping, pong) {
    const pair = new WebSocketRequestResponsePair(ping, pong);
    const set = () => this.state.setWebSocketAutoResponse(pair);
    this.state.storage.sync().then(set, () => {});
  }
}

// The code of an end that says nothing (RFC 6455, 7.4.1), unless the socket has ended already.
const NORMAL = 1_000;

function end(socket, text, code, why) {
  socket.serializeAttachment(null);
  try {
    if (text !== undefined) socket.send(text);
    socket.close(code, why);
  } catch {
    // The client was faster.
  }
}

// Without a protocol where the client has named none. `aside` is for the edge alone.
function upgraded(webSocket, protocol, aside) {
  const headers = {
    ...(protocol !== "" && { "Sec-WebSocket-Protocol": protocol }),
    ...(aside !== undefined && { "Headwater-Aside": aside }),
  };
  return new Response(null, { status: 101, webSocket, headers });
}

// The first characters of a message, and its last one; undefined of one that is no text.
export function edges(message, characters) {
  if (typeof message !== "string") return undefined;
  return message.length <= characters ? message : message.slice(0, characters) + message.slice(-1);
}

// A message as bytes; null if it has more than `limit`.
export function bytesOf(message, limit) {
  if (message.length > limit) return null;
  const bytes = new TextEncoder().encode(message);
  return bytes.length > limit ? null : bytes;
}

// A message that is a text of so many characters at most.
export function shortText(message, limit) {
  return typeof message === "string" && message.length <= limit ? message : undefined;
}
