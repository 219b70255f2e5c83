// A panic ends the WebAssembly instance. This file and panic.rs see to it that nobody waits for it in vain; they can go
// when workers-rs unwinds on stable Rust.

import { respond } from "./request.js";

// A panic ends the WebAssembly instance, and with it everything in it that waits: nothing would ever settle those promises,
// and who asked would wait until a timeout of his own. So each of them leaves word here how it is to be ended. A stream
// needs none: the runtime ends it when it sees that nothing can write to it any more.
// Weakly, because a request whose client hangs up is dropped without a word.
const waiting = new Set();
const dropped = new FinalizationRegistry((entry) => waiting.delete(entry));

// Called by the panic itself, and by an instance that begins, for whatever an older one has left behind.
export function breakOff() {
  for (const entry of waiting) entry.deref()?.end();
  waiting.clear();
}

// Returns what ends the wait in good order; whoever waits holds it, and with it the word that was left.
function onBreak(then) {
  const word = {};
  // A promise of its own, because what follows has to run in the event that waits, not in the one that broke off.
  new Promise((resolve) => (word.end = resolve)).then(then);
  const entry = new WeakRef(word);
  waiting.add(entry);
  dropped.register(word, entry, word);
  return () => dropped.unregister(word) && waiting.delete(entry);
}

// A promise of the module's for a response; the other answer, should the module break off before.
export function orElse(promise, status, body, headers) {
  return new Promise((resolve, reject) => {
    const settled = onBreak(() => resolve(respond(status, body, headers)));
    promise.then(resolve, reject).finally(settled);
  });
}

// The events of an object that are under way. If the module breaks off meanwhile, the object does too: the platform tells
// whoever waits for it, rings an alarm again, and starts it anew with the next event.
export class Events {
  constructor(state) {
    this.state = state;
    this.count = 0;
    this.settled = null;
  }
  begin() {
    if (this.count === 0) this.settled = onBreak(() => this.state.abort("the module broke off"));
    this.count += 1;
  }
  end() {
    this.count -= 1;
    if (this.count === 0) this.settled();
  }
}
