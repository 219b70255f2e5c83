// Runs the machine of the private space against a server that is asked by a function: for tests of this package.

import type { Effect, Event } from "../../core/src/events.ts";
import { SpaceMachine } from "../../core/src/machine.ts";
import { StoreClosed, TermOver } from "../../core/src/store.ts";
import type { StartDriver } from "../src/driver.ts";
import type { Answered, Asked } from "./server.ts";

export const driverOf = (ask: (asked: Asked) => Promise<Answered>, newId: () => string): StartDriver => ({ store, term, stolen, tell, deposed }) => {
  const machine = new SpaceMachine({ space: "~", newId });
  const timers = new Map<string, ReturnType<typeof setTimeout>>();
  const waiting: { resolve: () => void; reject: (error: Error) => void; polled: boolean }[] = [];
  let isStopped = false;

  const on = (event: Event): void => {
    for (const effect of machine.on(event, performance.now())) carryOut(effect);
    const { phase, pending, held } = machine.status;
    for (const one of waiting.splice(0)) {
      if (held) one.reject(new Error(held.why));
      else if (phase === "idle" && pending === 0) one.resolve();
      else waiting.push(one);
    }
  };
  const carryOut = (effect: Effect): void => {
    if (isStopped) return;
    if (effect.type === "commit") {
      const { id, scope, body } = effect;
      store.commit(term, scope, body).then(
        (result) => on({ type: "committed", id, result }),
        (error) => {
          if (error instanceof TermOver || error instanceof StoreClosed) deposed();
          on({ type: "failed", id, error });
        },
      );
    } else if (effect.type === "send") {
      const { id, request } = effect;
      ask({ kind: request.kind, body: request.body }).then((answer) => on({ type: "answer", id, answer: { ...answer, position: null } }));
    } else if (effect.type === "timer") {
      const { name, ms } = effect;
      clearTimeout(timers.get(name));
      timers.set(name, setTimeout(() => on({ type: "timer", name }), ms));
    } else if (effect.type === "cancel") clearTimeout(timers.get(effect.name));
    else if (effect.type === "tell") tell(effect.tell);
  };

  on({ type: "open", user: "alice", stolen });
  const polls = setInterval(() => on({ type: "poll" }), 200);
  return {
    captured: () => on({ type: "captured" }),
    online: () => on({ type: "online" }),
    pause: () => on({ type: "pause" }),
    resume: () => on({ type: "resume" }),
    withdraw: () => on({ type: "withdraw" }),
    open: () => {},
    close: () => {},
    now: () => new Promise((resolve, reject) => {
      waiting.push({ resolve, reject, polled: false });
      on({ type: "captured" });
      on({ type: "poll", strong: true });
    }),
    stop: () => {
      clearInterval(polls);
      for (const timer of timers.values()) clearTimeout(timer);
      on({ type: "close" });
      isStopped = true;
    },
  };
};
