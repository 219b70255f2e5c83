// Places of pushes' bodies in the module, whose memory all objects of the isolate share and which never shrinks. A body waits
// where it is whole, at the edge that has received it, and nothing of it is read before it has its place: so who sends slowly takes
// none. One that is inside waits for none that is not.

// limits.rs says what these are.
let [shortMax, waitsMs, looksMs, looksMsMax, unseenMs, insideMs] = [0, 0, 0, 0, 0, 0];
// For short bodies, which so do not wait behind long ones, and for those.
let [short, long] = [null, null];
// An instance of the module that begins has bodies of its own.
export function configurePlaces(shortest, allShortMax, allMax, ...times) {
  shortMax = shortest;
  [waitsMs, looksMs, looksMsMax, unseenMs, insideMs] = times;
  [short, long] = [new Places(allShortMax), new Places(allMax)];
}

class Places {
  constructor(max) {
    this.max = max;
    this.bytes = 0;
    this.inside = new Set();
    // In the order in which they get in: of each user one, then of each the second, and so on. So who comes waits for one of
    // every other user at most, however many of those wait.
    this.waiting = [];
    this.round = 0;
  }

  line(place) {
    const last = [...this.inside, ...this.waiting].findLast(({ user }) => user === place.user);
    place.round = Math.max(this.round, last ? last.round + 1 : 0);
    const behind = this.waiting.findIndex(({ round }) => round > place.round);
    this.waiting.splice(behind < 0 ? this.waiting.length : behind, 0, place);
  }

  // Whoever was to say that it has ended may have been ended by the platform.
  forgetLost(now) {
    for (const place of this.inside) if (place.until < now) this.leave(place);
    if (this.waiting.some(({ until }) => until < now)) this.waiting = this.waiting.filter(({ until }) => until >= now);
  }

  // Whether the body is inside from now on.
  admits(place, now) {
    place.until = now + unseenMs;
    this.forgetLost(now);
    if (!this.waiting.includes(place)) this.line(place);
    const hasRoom = this.bytes === 0 || this.bytes + place.bytes <= this.max;
    if (this.waiting[0] !== place || !hasRoom) return false;
    this.waiting.shift();
    this.round = place.round;
    this.inside.add(place);
    this.bytes += place.bytes;
    place.until = now + insideMs;
    return true;
  }

  leave(place) {
    if (this.inside.delete(place)) this.bytes -= place.bytes;
    this.waiting = this.waiting.filter((other) => other !== place);
  }
}

// The place of a user's body, which has at most `limit` bytes.
export class Place {
  constructor(user, request, limit) {
    this.user = user;
    this.bytes = Math.min(Number(request.headers.get("content-length") ?? limit), limit);
    this.among = this.bytes <= shortMax ? short : long;
  }

  // Resolves to whether it has its place, which it has until `leave`. It looks by itself, again and again: whoever leaves may be
  // another object, whose events must not go on with this one's, and whoever has waited may be none any more.
  async enter() {
    const end = Date.now() + waitsMs;
    while (!this.among.admits(this, Date.now())) {
      if (Date.now() >= end) {
        this.leave();
        return false;
      }
      const far = 1 + this.among.waiting.indexOf(this);
      await new Promise((resolve) => setTimeout(resolve, Math.min(far * looksMs, looksMsMax)));
    }
    return true;
  }

  leave() {
    this.among.leave(this);
  }
}
