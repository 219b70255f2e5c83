// Messages of a socket, by the examples that the server's tests and its fuzz target read too.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import type { Ports, Socket } from "../src/ports.ts";
import type { Request } from "../src/requests.ts";
import { LiveSocket } from "../src/socket.ts";

const { sent, told } = JSON.parse(readFileSync(new URL("../../../fixtures/messages.json", import.meta.url), "utf8"));
const text = (name: string): string => told.find((one: { name: string }) => one.name === name).text;
const GREETING = text("greeting");

/** A socket whose other end is the test, and what was heard over it. */
function connected() {
  const heard: unknown[] = [];
  const said: string[] = [];
  const end: Socket = { readyState: 1, send: (text) => said.push(text), close: () => {}, onopen: null, onmessage: null, onclose: null };
  const ports = { chance: () => 0, setTimeout: () => 0, clearTimeout: () => {}, socket: () => end } as unknown as Ports;
  const socket = new LiveSocket(ports, "wss://sync.test", () => "a.b.c", {
    tell: (event) => heard.push(event),
    tokenEnds: (ms) => heard.push({ tokenEnds: ms }),
    expired: () => heard.push("expired"),
  });
  socket.open();
  const tell = (text: string) => end.onmessage?.({ data: text });
  return { socket, heard, said, tell };
}

describe("what a client sends", () => {
  for (const { name, text, type, n, body } of sent) {
    test(name, { skip: type === "conflict" ? "clients resolve by pushes" : false }, () => {
      const { socket, said, tell } = connected();
      tell(GREETING);
      if (type === "token") socket.renew(JSON.parse(body));
      else void socket.ask({ kind: type, space: "~", body, isStream: false } as Request);
      // Numbers are the client's own, and count from 1.
      assert.deepEqual(said, [text.replace(`"n":${n},`, '"n":1,')]);
    });
  }
});

describe("what a client hears", () => {
  const after = (name: string) => {
    const connection = connected();
    connection.tell(GREETING);
    connection.heard.length = 0;
    connection.tell(text(name));
    return connection.heard;
  };
  test("greetings say when the token ends, and bring a grant in a shared space", () => {
    for (const name of ["greeting", "greeting of a shared space"]) {
      const { socket, heard, tell } = connected();
      assert.ok(!socket.isOpen);
      tell(text(name));
      assert.ok(socket.isOpen);
      const grant = name === "greeting" ? [] : [{ type: "grant", grant: "a.b.c", expiresIn: 600_000 }];
      assert.deepEqual(heard, [{ tokenEnds: 3_600_000 }, ...grant, { type: "live", message: JSON.parse(text(name)) }]);
    }
  });
  for (const name of ["changes", "version", "pong"]) {
    test(`${name} is handed on as it is`, () => assert.deepEqual(after(name), [{ type: "live", message: JSON.parse(text(name)) }]));
  }
  test("the end of the token, and of the access", () => {
    assert.deepEqual(after("expired"), ["expired", { type: "poll" }]);
    assert.deepEqual(after("closed"), [{ type: "poll", strong: true }]);
  });
  for (const [name, answer] of [
    ["answer", { status: 200, body: { version: 57 } }],
    ["answer to a push that brings a grant", { status: 200, body: JSON.parse(text("answer to a push that brings a grant")).body }],
    ["nothing new", { status: 304, body: null }],
    ["refusal", { status: 429, body: JSON.parse(text("refusal")).body, retryAfter: 3_000 }],
    ["use HTTP", null],
  ] as const) {
    test(`${name} is the answer to the message of its number`, async () => {
      const { socket, tell } = connected();
      tell(GREETING);
      const asked = [1, 2, 3, 4, 5, 6, 7].map(() => socket.ask({ kind: "pull", space: "~", body: "{}", isStream: false }));
      tell(text(name));
      assert.deepEqual(await asked[6], answer);
    });
  }
});
