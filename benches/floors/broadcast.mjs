// Floor (e): a Durable Object that sends what comes over one of its hibernating sockets to all others, and nothing else: nothing is
// stored, numbered or checked.
import { DurableObject } from "cloudflare:workers";

export class Room extends DurableObject {
  async fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(from, text) {
    for (const socket of this.ctx.getWebSockets()) if (socket !== from) socket.send(text);
  }
}

/** A room for each path. */
export default {
  fetch: (request, env) => env.ROOM.get(env.ROOM.idFromName(new URL(request.url).pathname)).fetch(request),
};
